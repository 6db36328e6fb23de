// SPDX-License-Identifier: MIT
// y = x (WQ + F T)ᵀ against its definition, for every coefficient type, path and shape.
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "catch.hpp"
#include "layers.hpp"
#include "oracle.hpp"

#include <qwha/adapter/sparse_spectral_adapter.hpp>

TEMPLATE_TEST_CASE("forward is the definition, on every path", "[adapter]", float, double, qwha::half, qwha::bfloat16) {
  const auto s = GENERATE(shape{1, 64, 9}, shape{7, 64, 64}, shape{37, 96, 5}, shape{33, 80, 11}, shape{130, 112, 6},
                          shape{5, 64, 0}, shape{101, 640, 21}, shape{29, 2048, 40});
  const std::uint64_t seed = 11 + s.in;
  INFO("out " << s.out << ", in " << s.in << ", about " << s.per_row << " coefficients a row, seed " << seed);
  const auto base = random_base(s.out, s.in, seed);
  const qwha::sparse_spectral_adapter<TestType, base_format> adapter(
      base, oracle::random_spectrum<TestType>(s.out, s.in, s.per_row, seed));
  const oracle::matrix t = oracle::transform(s.in), wq = oracle::dense(base);
  const oracle::matrix w = oracle::sum(oracle::delta(adapter.spectrum(), t), wq);

  for (const std::size_t tokens : {std::size_t{0}, std::size_t{1}, std::size_t{3}, std::size_t{17}, std::size_t{200}}) {
    if (tokens == 200 && s.in > 640) continue;  // the oracle's time
    INFO(tokens << " tokens");
    const oracle::strided x(tokens, s.in, 5, seed + tokens + 1);
    const oracle::matrix exact = oracle::product_transposed(oracle::dense(x.view()), w);
    const oracle::matrix bound = oracle::forward_bound(oracle::dense(x.view()), wq, adapter.spectrum());
    for (const auto path :
         {qwha::adapter_path::automatic, qwha::adapter_path::activations, qwha::adapter_path::weights}) {
      INFO("path " << static_cast<int>(path));
      oracle::strided y(tokens, s.out, 3);
      const std::vector<float> before = y.memory;
      REQUIRE(adapter.forward(x.view(), y.view(), {.path = path}) == qwha::status::ok);
      CHECK(oracle::first_difference(y.view(), exact, bound) == "");
      for (std::size_t r = 0; r + 1 < tokens; ++r)
        for (std::size_t c = s.out; c < y.stride; ++c) CHECK(std::isnan(y.view().row(r)[c]));  // gaps untouched
    }
  }
}

TEST_CASE("forward gives the same bits on any executor, with any workspace and from any row of a batch", "[adapter]") {
  const std::size_t out = 307, in = 320, tokens = 45;
  const auto base = random_base(out, in, 5);
  const qwha::sparse_spectral_adapter<float, base_format> adapter(base, oracle::random_spectrum<float>(out, in, 12, 5));
  const oracle::strided x(tokens, in, 0, 6);
  for (const auto path : {qwha::adapter_path::activations, qwha::adapter_path::weights}) {
    oracle::strided expected(tokens, out, 0), y(tokens, out, 9);
    REQUIRE(adapter.forward(x.view(), expected.view(), {.path = path}, qwha::executor::serial()) == qwha::status::ok);
    for (const std::size_t threads : {1, 2, 5}) {
      oracle::team team(threads);
      REQUIRE(adapter.forward(x.view(), y.view(), {.path = path}, team.executor()) == qwha::status::ok);
      CHECK(oracle::same_bits(expected.view(), y.view()));
    }
    REQUIRE(adapter.forward(x.view(), y.view(), {.path = path, .slab_rows = 5}) == qwha::status::ok);
    CHECK(oracle::same_bits(expected.view(), y.view()));

    qwha::adapter_options options{.path = path};
    std::vector<std::byte> memory(adapter.workspace_bytes(tokens, options) + 1);
    options.workspace = std::span(memory).subspan(1);  // the least aligned one
    REQUIRE(adapter.forward(x.view(), y.view(), options) == qwha::status::ok);
    CHECK(oracle::same_bits(expected.view(), y.view()));
    options.workspace = std::span(memory).subspan(2);
    CHECK(adapter.forward(x.view(), y.view(), options) == qwha::status::workspace_too_small);

    // Tokens 20 and on alone: the same panel width, other neighbours.
    oracle::strided part(tokens - 20, out, 0);
    REQUIRE(adapter.forward(x.view().rows_from(20, tokens - 20), part.view(), {.path = path}) == qwha::status::ok);
    CHECK(oracle::same_bits(part.view(), expected.view().rows_from(20, tokens - 20)));
  }
}

TEST_CASE("forward takes the engine's product", "[adapter]") {
  const std::size_t out = 70, in = 96, tokens = 6;
  const auto base = random_base(out, in, 8);
  const qwha::sparse_spectral_adapter<float, base_format> adapter(base, oracle::random_spectrum<float>(out, in, 7, 8));
  const oracle::strided x(tokens, in, 1, 9);
  const oracle::matrix w = oracle::sum(oracle::delta(adapter.spectrum(), oracle::transform(in)), oracle::dense(base));
  const oracle::matrix exact = oracle::product_transposed(oracle::dense(x.view()), w);
  const oracle::matrix bound = oracle::forward_bound(oracle::dense(x.view()), oracle::dense(base), adapter.spectrum());
  const auto product = [](qwha::rows_view<const float> slab, qwha::rows_view<const float> a, qwha::rows_view<float> y) {
    for (std::size_t t = 0; t < a.rows; ++t)
      for (std::size_t r = 0; r < slab.rows; ++r) {
        double sum = 0;
        for (std::size_t c = 0; c < a.cols; ++c) sum += static_cast<double>(a(t, c)) * static_cast<double>(slab(r, c));
        y(t, r) = static_cast<float>(sum);
      }
  };
  for (const auto path : {qwha::adapter_path::activations, qwha::adapter_path::weights}) {
    oracle::strided y(tokens, out, 2);
    REQUIRE(adapter.forward_with(product, x.view(), y.view(), {.path = path}) == qwha::status::ok);
    CHECK(oracle::first_difference(y.view(), exact, bound) == "");
  }
}

TEST_CASE("a token that is not finite stays in its own row", "[adapter]") {
  const std::size_t out = 40, in = 64, tokens = 20;
  const auto base = random_base(out, in, 3);
  const qwha::sparse_spectral_adapter<float, base_format> adapter(base, oracle::random_spectrum<float>(out, in, 64, 3));
  oracle::strided x(tokens, in, 0, 4), clean(tokens, out, 0), y(tokens, out, 0);
  for (const auto path : {qwha::adapter_path::activations, qwha::adapter_path::weights}) {
    x.view()(7, 5) = 0.5f;
    REQUIRE(adapter.forward(x.view(), clean.view(), {.path = path}) == qwha::status::ok);
    x.view()(7, 5) = std::numeric_limits<float>::quiet_NaN();
    REQUIRE(adapter.forward(x.view(), y.view(), {.path = path}) == qwha::status::ok);
    CHECK(oracle::same_bits(clean.view().rows_from(0, 7), y.view().rows_from(0, 7)));
    CHECK(oracle::same_bits(clean.view().rows_from(8, 12), y.view().rows_from(8, 12)));
    CHECK(std::isnan(y.view()(7, 0)));
  }
}

TEST_CASE("shapes that do not fit are refused", "[adapter]") {
  const auto base = random_base(10, 64, 1);
  using adapter_type = qwha::sparse_spectral_adapter<float, base_format>;
  const adapter_type adapter(base, oracle::random_spectrum<float>(10, 64, 4, 1));
  std::vector<float> memory(4096, 0.0f);
  float* m = memory.data();
  using view = qwha::rows_view<float>;
  CHECK(adapter.forward(view(m, 3, 63), view(m + 1000, 3, 10)) == qwha::status::shape_mismatch);
  CHECK(adapter.forward(view(m, 3, 64), view(m + 1000, 2, 10)) == qwha::status::shape_mismatch);
  CHECK(adapter.forward(view(m, 3, 64), view(m + 1000, 3, 11)) == qwha::status::shape_mismatch);
  CHECK(adapter.forward(view(m, 3, 64, 63), view(m + 1000, 3, 10)) == qwha::status::shape_mismatch);
  CHECK(adapter.forward(view(m, 3, 64), view(m + 1000, 3, 10, 9)) == qwha::status::shape_mismatch);
  CHECK(adapter.forward(view(nullptr, 3, 64), view(m, 3, 10)) == qwha::status::null_data);
  CHECK(adapter.forward(view(m, 3, 64), view(nullptr, 3, 10)) == qwha::status::null_data);
  CHECK(adapter.forward(view(m, 3, 64), view(m + 60, 3, 10)) == qwha::status::overlapping);
  CHECK(adapter.forward(view(m, 3, 64, 74), view(m + 64, 3, 10, 74)) == qwha::status::ok);  // columns of one matrix
  CHECK(adapter.forward(view(m, 3, 64, 74), view(m + 63, 3, 10, 74)) == qwha::status::overlapping);
  CHECK(adapter.forward(view(m + 10, 3, 64, 74), view(m, 3, 10, 74)) == qwha::status::ok);
  CHECK(adapter.forward(view(m + 9, 3, 64, 74), view(m, 3, 10, 74)) == qwha::status::overlapping);

  CHECK_THROWS_AS(adapter_type(base, oracle::random_spectrum<float>(11, 64, 4, 1)), qwha::shape_error);
  CHECK_THROWS_AS(adapter_type(base, oracle::random_spectrum<float>(10, 128, 4, 1)), qwha::shape_error);
  const auto odd = random_base(4, 7, 1);
  CHECK_THROWS_AS(adapter_type(odd, qwha::sparse_spectrum<float>(4, 7, {0, 0, 0, 0, 0}, {}, {})),
                  qwha::unsupported_order);
}

TEST_CASE("an adapter outlives the matrix object that it was made from", "[adapter]") {
  oracle::strided x(2, 64, 0, 2), y(2, 10, 0), expected(2, 10, 0);
  auto base = random_base(10, 64, 1);
  const qwha::sparse_spectral_adapter<float, base_format> adapter(base, oracle::random_spectrum<float>(10, 64, 4, 1));
  REQUIRE(adapter.forward(x.view(), expected.view()) == qwha::status::ok);
  base = {};
  REQUIRE(adapter.forward(x.view(), y.view()) == qwha::status::ok);
  CHECK(oracle::same_bits(y.view(), expected.view()));
}

namespace {

/// T = identity, with the two members that contract.md names and no others.
class identity_transform {
 public:
  explicit identity_transform(std::size_t n) : n_(n) {}
  std::size_t order() const noexcept { return n_; }
  template <class T>
  qwha::status apply(qwha::rows_view<T>, qwha::scaling = qwha::scaling::orthonormal) const noexcept {
    return qwha::status::ok;
  }
  template <class T>
  qwha::status apply_transpose(qwha::rows_view<T>, qwha::scaling = qwha::scaling::orthonormal) const noexcept {
    return qwha::status::ok;
  }

 private:
  std::size_t n_;
};

}  // namespace

TEST_CASE("the transform is a policy", "[adapter]") {
  const std::size_t out = 21, in = 70, tokens = 4;  // 70: no Hadamard order
  const auto base = random_base(out, in, 2);
  const qwha::sparse_spectral_adapter<float, base_format, identity_transform> adapter(
      base, oracle::random_spectrum<float>(out, in, 6, 2));
  oracle::matrix one(in, in);
  for (std::size_t i = 0; i < in; ++i) one(i, i) = 1;
  const oracle::strided x(tokens, in, 0, 3);
  const oracle::matrix w = oracle::sum(oracle::delta(adapter.spectrum(), one), oracle::dense(base));
  for (const auto path : {qwha::adapter_path::activations, qwha::adapter_path::weights}) {
    oracle::strided y(tokens, out, 0);
    REQUIRE(adapter.forward(x.view(), y.view(), {.path = path}) == qwha::status::ok);
    CHECK(oracle::first_difference(
              y.view(), oracle::product_transposed(oracle::dense(x.view()), w),
              oracle::forward_bound(oracle::dense(x.view()), oracle::dense(base), adapter.spectrum())) == "");
  }
}

TEST_CASE("a static order serves its own length only", "[adapter]") {
  using adapter_type = qwha::sparse_spectral_adapter<float, base_format, qwha::wht<qwha::native, 64>>;
  const auto base = random_base(6, 64, 2), longer = random_base(6, 128, 2);
  const adapter_type fixed(base, oracle::random_spectrum<float>(6, 64, 6, 2));
  const qwha::sparse_spectral_adapter<float, base_format> dynamic(base, oracle::random_spectrum<float>(6, 64, 6, 2));
  const oracle::strided x(3, 64, 0, 3);
  oracle::strided y(3, 6, 0), z(3, 6, 0);
  REQUIRE(fixed.forward(x.view(), y.view()) == qwha::status::ok);
  REQUIRE(dynamic.forward(x.view(), z.view()) == qwha::status::ok);
  CHECK(oracle::same_bits(y.view(), z.view()));
  CHECK_THROWS_AS(adapter_type(longer, oracle::random_spectrum<float>(6, 128, 6, 2)), qwha::shape_error);
}
