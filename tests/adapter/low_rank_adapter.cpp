// SPDX-License-Identifier: MIT
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "catch.hpp"
#include "oracle.hpp"

#include <qwha/adapter/low_rank_adapter.hpp>
#include <qwha/quant/affine.hpp>
#include <qwha/quant/quantize.hpp>

namespace {

using base_format = qwha::affine<4, 64>;
using adapter_type = qwha::low_rank_adapter<base_format>;

qwha::quantized_matrix<base_format> random_base(std::size_t out, std::size_t in, std::uint64_t seed) {
  const oracle::strided w(out, in, 0, seed);
  return qwha::quantize<base_format>(w.view());
}

adapter_type random_adapter(const qwha::quantized_matrix<base_format>& base, std::size_t rank, std::uint64_t seed) {
  const qwha::counter_random random(seed);
  std::vector<float> values(rank * (base.rows() + base.cols()));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(random.uniform(i) - 0.5);
  return {base, rank, std::move(values)};
}

/// Every product here is a chain of at most three sums of at most n terms: three times 2 sqrt(n) eps, and eight more
/// roundings, of the products of magnitudes (oracle::forward_bound).
oracle::matrix bound_of(oracle::matrix magnitudes, std::size_t n) {
  for (double& v : magnitudes.at)
    v *= std::numeric_limits<float>::epsilon() * (6 * std::sqrt(static_cast<double>(n)) + 8);
  return magnitudes;
}

oracle::matrix transposed(const oracle::matrix& m) {
  oracle::matrix t(m.cols, m.rows);
  for (std::size_t i = 0; i < m.rows; ++i)
    for (std::size_t j = 0; j < m.cols; ++j) t(j, i) = m(i, j);
  return t;
}

}  // namespace

TEST_CASE("low rank: forward, gradients, dense forms", "[adapter]") {
  const std::size_t out = 75, in = 200;
  const auto base = random_base(out, in, 3);
  for (const std::size_t rank : {0, 1, 8, 19}) {
    const adapter_type adapter = random_adapter(base, rank, 5);
    const oracle::matrix wq = oracle::dense(base), a = oracle::dense(adapter.a()), b = oracle::dense(adapter.b());
    const oracle::matrix w = oracle::sum(oracle::product(b, a), wq);
    const oracle::matrix magnitude =
        oracle::sum(oracle::product(oracle::magnitudes(b), oracle::magnitudes(a)), oracle::magnitudes(wq));
    for (const std::size_t tokens : {0, 1, 2, 30, 67}) {
      INFO("rank " << rank << ", " << tokens << " tokens");
      const oracle::strided x(tokens, in, 3, 6), dy(tokens, out, 1, 7);
      const oracle::matrix x_ = oracle::dense(x.view()), dy_ = oracle::dense(dy.view());
      oracle::strided y(tokens, out, 2), dx(tokens, in, 2);
      REQUIRE(adapter.forward(x.view(), y.view()) == qwha::status::ok);
      CHECK(oracle::first_difference(y.view(), oracle::product_transposed(x_, w),
                                     bound_of(oracle::product_transposed(oracle::magnitudes(x_), magnitude), in)) ==
            "");

      std::vector<float> gradient(adapter.size(), 1.0f);
      REQUIRE(adapter.backward(x.view(), dy.view(), dx.view(), gradient) == qwha::status::ok);
      CHECK(oracle::first_difference(dx.view(), oracle::product(dy_, w),
                                     bound_of(oracle::product(oracle::magnitudes(dy_), magnitude), in)) == "");
      const auto expect = [&](qwha::rows_view<const float> got, const oracle::matrix& left,
                              const oracle::matrix& right) {
        oracle::matrix exact = oracle::product(left, right);
        oracle::matrix size = oracle::product(oracle::magnitudes(left), oracle::magnitudes(right));
        for (double& v : exact.at) v += 1;  // added to what was there
        for (double& v : size.at) v += 1;
        CHECK(oracle::first_difference(got, exact, bound_of(size, in)) == "");
      };
      const oracle::matrix g = oracle::product(dy_, b), h = oracle::product_transposed(x_, a);
      // Where g and h are themselves sums, magnitudes of their terms would be larger still: the bound is the tighter
      // one.
      expect({gradient.data(), rank, in}, transposed(g), x_);
      expect({gradient.data() + rank * in, out, rank}, transposed(dy_), h);

      oracle::team team(2);
      oracle::strided y2(tokens, out, 0), dx2(tokens, in, 0);
      std::vector<float> gradient2(adapter.size(), 1.0f);
      REQUIRE(adapter.forward(x.view(), y2.view(), team.executor()) == qwha::status::ok);
      REQUIRE(adapter.backward(x.view(), dy.view(), dx2.view(), gradient2, team.executor()) == qwha::status::ok);
      CHECK(oracle::same_bits(y.view(), y2.view()));
      CHECK(oracle::same_bits(dx.view(), dx2.view()));
      CHECK(gradient == gradient2);
    }
    oracle::strided merged(out, in, 1), delta(out, in, 0);
    adapter.merge(merged.view());
    adapter.delta(delta.view());
    CHECK(oracle::first_difference(merged.view(), w, bound_of(magnitude, rank)) == "");
    CHECK(oracle::first_difference(delta.view(), oracle::product(b, a), bound_of(magnitude, rank)) == "");
  }
}

TEST_CASE("low rank refuses what does not fit", "[adapter]") {
  const auto base = random_base(10, 64, 3);
  CHECK_THROWS_AS(adapter_type(base, 2, std::vector<float>(2 * 74 - 1)), qwha::shape_error);
  std::vector<float> bad(2 * 74, 0.0f);
  bad[100] = std::numeric_limits<float>::infinity();
  CHECK_THROWS_AS(adapter_type(base, 2, bad), qwha::value_error);
  const adapter_type adapter = random_adapter(base, 2, 1);
  std::vector<float> m(1000, 0.0f), gradient(adapter.size() + 1);
  using view = qwha::rows_view<float>;
  CHECK(adapter.forward(view(m.data(), 2, 63), view(m.data() + 500, 2, 10)) == qwha::status::shape_mismatch);
  CHECK(adapter.backward(view(m.data(), 2, 64), view(m.data() + 200, 2, 10), view(m.data() + 400, 2, 64), gradient) ==
        qwha::status::shape_mismatch);
  CHECK_THROWS_AS(adapter.merge(view(m.data(), 9, 64)), qwha::shape_error);
}
