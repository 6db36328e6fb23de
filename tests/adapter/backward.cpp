// SPDX-License-Identifier: MIT
// Gradients against their formulas in double, against finite differences, and their habits: dvalues is added to.
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <vector>

#include "catch.hpp"
#include "layers.hpp"
#include "oracle.hpp"

#include <qwha/adapter/sparse_spectral_adapter.hpp>

namespace {

double norm_of_row(const oracle::matrix& m, std::size_t row) {
  double sum = 0;
  for (std::size_t c = 0; c < m.cols; ++c) sum += m(row, c) * m(row, c);
  return std::sqrt(sum);
}

}  // namespace

TEMPLATE_TEST_CASE("backward is the formula", "[adapter]", float, qwha::half, qwha::bfloat16, double) {
  const auto s = GENERATE(shape{1, 64, 9}, shape{7, 64, 64}, shape{37, 96, 5}, shape{33, 80, 11}, shape{5, 64, 0},
                          shape{101, 640, 21});
  const std::uint64_t seed = 29 + s.in;
  INFO("out " << s.out << ", in " << s.in << ", about " << s.per_row << " coefficients a row, seed " << seed);
  const auto base = random_base(s.out, s.in, seed);
  const qwha::sparse_spectral_adapter<TestType, base_format> adapter(
      base, oracle::random_spectrum<TestType>(s.out, s.in, s.per_row, seed));
  const auto& f = adapter.spectrum();
  const oracle::matrix t = oracle::transform(s.in), wq = oracle::dense(base);
  const oracle::matrix w = oracle::sum(oracle::delta(f, t), wq);
  const double eps = std::numeric_limits<float>::epsilon();

  for (const std::size_t tokens : {0, 1, 3, 17, 150}) {
    INFO(tokens << " tokens");
    const oracle::strided x(tokens, s.in, 5, seed + 1), dy(tokens, s.out, 2, seed + 2);
    const oracle::matrix dx_, x_ = oracle::dense(x.view()), dy_ = oracle::dense(dy.view());
    oracle::strided dx(tokens, s.in, 3);
    std::vector<float> dvalues(f.size());
    for (std::size_t k = 0; k < f.size(); ++k) dvalues[k] = static_cast<float>(k % 7);
    REQUIRE(adapter.backward(x.view(), dy.view(), dx.view(), dvalues) == qwha::status::ok);

    // dF_ij = Σ_t dy_ti (T x_t)_j. Rounding: of the transform and of a sum over tokens.
    const oracle::matrix hat = oracle::product_transposed(x_, t);
    for (std::size_t r = 0, k = 0; r < s.out; ++r)
      for (const std::uint32_t c : f.columns(r)) {
        double exact = static_cast<double>(k % 7), magnitude = exact;
        for (std::size_t token = 0; token < tokens; ++token) {
          exact += dy_(token, r) * hat(token, c);
          magnitude += std::fabs(dy_(token, r)) * norm_of_row(x_, token);
        }
        const double levels = std::log2(static_cast<double>(s.in)) + 12,
                     sums = 2 * std::sqrt(static_cast<double>(tokens));
        INFO("row " << r << ", column " << c);
        CHECK(std::fabs(static_cast<double>(dvalues[k]) - exact) <= eps * (levels + sums + 8) * magnitude);
        ++k;
      }

    // dx = dy (WQ + F T). Rounding: of a sum over rows for WQ, and for F of a sum over rows and a transform.
    const oracle::matrix exact = oracle::product(dy_, w);
    const oracle::matrix through_base = oracle::product(oracle::magnitudes(dy_), oracle::magnitudes(wq));
    oracle::matrix spectrum(s.out, s.in), bound(tokens, s.in);
    for (std::size_t r = 0; r < s.out; ++r)
      for (std::size_t k = 0; k < f.columns(r).size(); ++k)
        spectrum(r, f.columns(r)[k]) = std::fabs(oracle::number(f.values(r)[k]));
    const oracle::matrix through_spectrum = oracle::product(oracle::magnitudes(dy_), spectrum);
    const double sums = 2 * std::sqrt(static_cast<double>(s.out)), levels = std::log2(static_cast<double>(s.in)) + 12;
    for (std::size_t token = 0; token < tokens; ++token)
      for (std::size_t c = 0; c < s.in; ++c)
        bound(token, c) =
            eps * ((sums + 8) * through_base(token, c) + (sums + levels + 8) * norm_of_row(through_spectrum, token));
    CHECK(oracle::first_difference(dx.view(), exact, bound) == "");
    for (std::size_t token = 0; token + 1 < tokens; ++token) CHECK(std::isnan(dx.view().row(token)[s.in]));
  }
}

TEST_CASE("backward is the derivative of a loss", "[adapter]") {
  // L = Σ g_tr y_tr with y from the library in float: central differences see the library's own forward pass.
  const std::size_t out = 12, in = 96, tokens = 4;
  const auto base = random_base(out, in, 3);
  qwha::sparse_spectral_adapter<float, base_format> adapter(base, oracle::random_spectrum<float>(out, in, 6, 3));
  oracle::strided x(tokens, in, 0, 4), y(tokens, out, 0);
  const oracle::strided g(tokens, out, 0, 5);
  const auto loss = [&] {
    REQUIRE(adapter.forward(x.view(), y.view()) == qwha::status::ok);
    double sum = 0;
    for (std::size_t t = 0; t < tokens; ++t)
      for (std::size_t r = 0; r < out; ++r)
        sum += static_cast<double>(g.view()(t, r)) * static_cast<double>(y.view()(t, r));
    return sum;
  };
  std::vector<float> dvalues(adapter.spectrum().size(), 0.0f);
  oracle::strided dx(tokens, in, 0);
  REQUIRE(adapter.backward(x.view(), g.view(), dx.view(), dvalues) == qwha::status::ok);
  // y is linear in each argument, so the difference quotient errs by rounding only: eps |y| summed, over a step of 1.
  double tolerance = 0;
  static_cast<void>(loss());
  for (std::size_t t = 0; t < tokens; ++t)
    for (std::size_t r = 0; r < out; ++r)
      tolerance += std::fabs(static_cast<double>(y.view()(t, r))) + std::sqrt(double{in});
  tolerance *= 40 * static_cast<double>(std::numeric_limits<float>::epsilon());
  const auto check = [&](float& parameter, float derivative) {
    const float at = parameter;
    parameter = at + 0.5f;
    const double above = loss();
    const double from = static_cast<double>(parameter);
    parameter = at - 0.5f;
    const double below = loss(), width = from - static_cast<double>(parameter);
    parameter = at;
    CHECK(std::fabs((above - below) / width - static_cast<double>(derivative)) <= tolerance);
  };
  for (std::size_t k = 0; k < dvalues.size(); ++k) check(adapter.values()[k], dvalues[k]);
  for (std::size_t t = 0; t < tokens; ++t)
    for (std::size_t c = 0; c < in; c += 5) check(x.view()(t, c), dx.view()(t, c));
}

TEST_CASE("backward: same bits on any executor and workspace; dx may be skipped", "[adapter]") {
  const std::size_t out = 205, in = 640, tokens = 70;
  const auto base = random_base(out, in, 5);
  const qwha::sparse_spectral_adapter<float, base_format> adapter(base, oracle::random_spectrum<float>(out, in, 12, 5));
  const oracle::strided x(tokens, in, 0, 6), dy(tokens, out, 0, 7);
  oracle::strided dx(tokens, in, 0), other_dx(tokens, in, 6);
  std::vector<float> dvalues(adapter.spectrum().size(), 0.0f);
  REQUIRE(adapter.backward(x.view(), dy.view(), dx.view(), dvalues, {}, qwha::executor::serial()) == qwha::status::ok);
  for (const std::size_t threads : {1, 2, 5}) {
    oracle::team team(threads);
    std::vector<float> other(dvalues.size(), 0.0f);
    REQUIRE(adapter.backward(x.view(), dy.view(), other_dx.view(), other, {}, team.executor()) == qwha::status::ok);
    CHECK(other == dvalues);
    CHECK(oracle::same_bits(dx.view(), other_dx.view()));
  }
  std::vector<std::byte> memory(adapter.backward_workspace_bytes(tokens));
  std::vector<float> other(dvalues.size(), 0.0f);
  REQUIRE(adapter.backward(x.view(), dy.view(), other_dx.view(), other, {.workspace = memory}) == qwha::status::ok);
  CHECK(other == dvalues);
  CHECK(oracle::same_bits(dx.view(), other_dx.view()));
  CHECK(adapter.backward(x.view(), dy.view(), other_dx.view(), other,
                         {.workspace = std::span(memory).first(memory.size() - 1)}) ==
        qwha::status::workspace_too_small);

  std::vector<float> alone(dvalues.size(), 0.0f);
  REQUIRE(adapter.backward(x.view(), dy.view(), {}, alone) == qwha::status::ok);
  CHECK(alone == dvalues);
}

TEST_CASE("backward refuses shapes that do not fit", "[adapter]") {
  const auto base = random_base(10, 64, 1);
  const qwha::sparse_spectral_adapter<float, base_format> adapter(base, oracle::random_spectrum<float>(10, 64, 4, 1));
  std::vector<float> memory(4096, 0.0f), dvalues(adapter.spectrum().size() + 1, 0.0f);
  float* m = memory.data();
  using view = qwha::rows_view<float>;
  const std::span<float> right = std::span(dvalues).first(adapter.spectrum().size());
  CHECK(adapter.backward(view(m, 2, 64), view(m + 200, 2, 10), view(m + 400, 2, 64), right) == qwha::status::ok);
  CHECK(adapter.backward(view(m, 2, 64), view(m + 200, 2, 10), view(m + 400, 2, 64), dvalues) ==
        qwha::status::shape_mismatch);
  CHECK(adapter.backward(view(m, 2, 64), view(m + 200, 2, 10), view(m + 400, 2, 63), right) ==
        qwha::status::shape_mismatch);
  CHECK(adapter.backward(view(m, 2, 64), view(m + 200, 3, 10), view(m + 400, 2, 64), right) ==
        qwha::status::shape_mismatch);
  CHECK(adapter.backward(view(m, 2, 63), view(m + 200, 2, 10), view(m + 400, 2, 64), right) ==
        qwha::status::shape_mismatch);
  CHECK(adapter.backward(view(m, 2, 64), view(nullptr, 2, 10), view(m + 400, 2, 64), right) == qwha::status::null_data);
  CHECK(adapter.backward(view(m, 2, 64), view(m + 200, 2, 10), view(m + 100, 2, 64), right) ==
        qwha::status::overlapping);
}
