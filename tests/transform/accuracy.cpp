// SPDX-License-Identifier: MIT
// Every type and order against the definition in double, and the algebra that the transform must obey.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include <qwha/transform/wht.hpp>

#include "catch.hpp"
#include "oracle.hpp"
#include "samples.hpp"

using qwha::bfloat16;
using qwha::half;
using qwha::rows_view;
using qwha::scaling;
using qwha::status;
using samples::value;
using samples::values;

namespace {

std::vector<std::size_t> orders() {
  std::vector<std::size_t> all;
  for (std::size_t n = 1; n <= 264; ++n)
    if (qwha::supported_order(n)) all.push_back(n);
  // in-features of real models, every dense factor with several powers of two, and powers of two
  for (const std::size_t n :
       {288u,   428u,   512u,   540u,   576u,   640u,   684u,   768u,   896u,   924u,   960u,   1024u,  1040u,  1152u,
        1360u,  1376u,  1408u,  1536u,  1904u,  2048u,  2144u,  2304u,  2560u,  2880u,  3072u,  3200u,  3584u,  3840u,
        4096u,  4544u,  4608u,  4864u,  5120u,  5376u,  5440u,  5504u,  5632u,  5760u,  6144u,  6656u,  6912u,  7168u,
        8192u,  8640u,  8960u,  9216u,  9728u,  10240u, 10944u, 11008u, 12288u, 12800u, 13696u, 13824u, 14336u, 14848u,
        15360u, 16384u, 17408u, 17920u, 18176u, 18432u, 18944u, 20480u, 21504u, 22016u, 23040u, 24576u, 25600u, 27392u,
        27648u, 28672u, 29568u, 32768u, 33792u, 36864u, 53248u, 59392u, 65536u})
    all.push_back(n);
  return all;
}

template <class T>
void require_accurate(const std::vector<T>& got, const std::vector<double>& exact) {
  const double log_n = std::log2(static_cast<double>(exact.size()));
  if constexpr (sizeof(T) == 2) {  // one unit in the last place, and the error of the float row before the rounding
    double norm = 0;
    for (const double v : exact) norm += v * v;
    const double float_error = 6 * 2e-7 * log_n * std::sqrt(norm / static_cast<double>(exact.size()));
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < got.size(); ++i) {
      const T nearest(static_cast<float>(exact[i]));
      const T above = T::from_bits(static_cast<std::uint16_t>((nearest.bits & 0x7fffu) + 1u));
      const double ulp = value(above) - std::abs(value(nearest));
      if (!(std::abs(value(got[i]) - value(nearest)) <= ulp + float_error)) ++wrong;
    }
    CHECK(wrong == 0);
  } else {
    const double unit = sizeof(T) == 4 ? 2e-7 : 2e-7 * 0x1p-29;
    CHECK(samples::relative_error(values(got), exact) <= unit * log_n);
  }
}

template <class T>
std::vector<T> transformed(std::vector<T> x, bool transpose, scaling s = scaling::orthonormal) {
  const qwha::wht<> h(x.size());
  const rows_view<T> rows{x.data(), 1, x.size()};
  REQUIRE((transpose ? h.apply_transpose(rows, s) : h.apply(rows, s)) == status::ok);
  return x;
}

}  // namespace

TEST_CASE("the oracle's factored product is its dense definition") {
  for (const std::size_t n : {1u, 2u, 8u, 12u, 24u, 28u, 40u, 52u, 80u, 96u, 144u, 188u, 1360u}) {
    const std::string name = qwha::order_name(n);
    const auto x = samples::row<double>(n, n);
    for (const bool transpose : {false, true}) {
      INFO(name << (transpose ? " transposed" : ""));
      CHECK(samples::relative_error(oracle::product(name, x, transpose),
                                    oracle::dense_product(oracle::matrix(name), x, transpose)) < 1e-14);
    }
  }
}

TEMPLATE_TEST_CASE("every order is the definition", "", float, double, half, bfloat16) {
  for (const std::size_t n : orders()) {
    const std::string name = qwha::order_name(n);
    const auto x = samples::row<TestType>(n, n + 7);
    for (const bool transpose : {false, true}) {
      if (transpose && qwha::find_order(n).symmetric()) continue;
      INFO(n << " = " << name << (transpose ? " transposed" : "") << ", seed " << n + 7);
      auto exact = oracle::product(name, values(x), transpose);
      for (double& v : exact) v /= std::sqrt(static_cast<double>(n));
      require_accurate(transformed(x, transpose), exact);
    }
  }
}

TEST_CASE("order 24 gives the published numbers") {
  std::vector<float> x(24);
  for (std::size_t i = 0; i < 24; ++i) x[i] = static_cast<float>(i + 1);
  CHECK(transformed(x, false, scaling::none) == std::vector<float>{-294, 10, 54,  -2, 14, -2, 62, -2, 22, -2, -18, -2,
                                                                   -58,  -2, -10, -2, 38, -2, 86, -2, 46, -2, 94,  -2});
  CHECK(transformed(x, true, scaling::none) ==
        std::vector<float>{300, -12, -40, 0, 8, 0, -32, 0, 16, 0, 64, 0, 112, 0, 72, 0, 32, 0, -8, 0, 40, 0, 0, 0});
}

TEMPLATE_TEST_CASE("the orthonormal transform and its transpose undo each other", "", float, double) {
  const double unit = std::is_same_v<TestType, float> ? 2e-7 : 2e-7 * 0x1p-29;
  for (const std::size_t n :
       {1u, 2u, 4u, 12u, 16u, 20u, 40u, 52u, 96u, 512u, 640u, 1376u, 4096u, 5440u, 13696u, 65536u}) {
    const auto x = samples::row<TestType>(n, n);
    INFO(n);
    const double bound = 2 * unit * std::log2(static_cast<double>(n));
    CHECK(samples::relative_error(values(transformed(transformed(x, false), true)), values(x)) <= bound);
    CHECK(samples::relative_error(values(transformed(transformed(x, true), false)), values(x)) <= bound);
  }
}

TEST_CASE("<H x, y> = <x, Hᵀ y>") {
  for (const std::size_t n : {12u, 20u, 24u, 40u, 60u, 108u, 172u, 188u, 640u, 1360u, 1376u, 3072u, 8960u}) {
    const auto x = samples::row<double>(n, 1), y = samples::row<double>(n, 2);
    const double left = samples::dot(transformed(x, false), y), right = samples::dot(x, transformed(y, true));
    INFO(n);
    const double size = std::sqrt(samples::dot(x, x) * samples::dot(y, y));
    CHECK(std::abs(left - right) <= 1e-14 * size);
    // and the two orientations are not the same
    CHECK(std::abs(left - samples::dot(x, transformed(y, false))) > 1e-6 * size);
  }
}

TEST_CASE("the transform is linear") {
  for (const std::size_t n : {8u, 28u, 40u, 256u, 896u, 2048u}) {
    const auto x = samples::row<double>(n, 3), y = samples::row<double>(n, 4);
    std::vector<double> sum(n);
    for (std::size_t i = 0; i < n; ++i) sum[i] = 2 * x[i] - 3 * y[i];
    const auto hx = transformed(x, false), hy = transformed(y, false);
    std::vector<double> expected(n);
    for (std::size_t i = 0; i < n; ++i) expected[i] = 2 * hx[i] - 3 * hy[i];
    INFO(n);
    CHECK(samples::relative_error(transformed(sum, false), expected) <= 1e-15 * std::log2(static_cast<double>(n)));
  }
}

TEMPLATE_TEST_CASE("scalings differ by one multiplication at the end", "", float, double) {
  for (const std::size_t n : {1u, 2u, 12u, 16u, 40u, 128u, 512u, 896u, 4096u, 16384u}) {
    const auto x = samples::row<TestType>(n, 5);
    const auto plain = transformed(x, false, scaling::none), unit = transformed(x, false, scaling::orthonormal),
               inverse = transformed(x, false, scaling::inverse);
    const auto one_over_root = static_cast<TestType>(1 / std::sqrt(static_cast<double>(n)));
    const auto one_over_n = static_cast<TestType>(1 / static_cast<double>(n));
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < n; ++i) {
      if (unit[i] != plain[i] * one_over_root) ++wrong;
      if (inverse[i] != plain[i] * one_over_n) ++wrong;
    }
    INFO(n);
    CHECK(wrong == 0);
  }
}

TEMPLATE_TEST_CASE("16-bit rows are float rows rounded once", "", half, bfloat16) {
  for (const std::size_t n : {4u, 12u, 40u, 52u, 64u, 100u, 256u, 512u, 1024u, 3584u, 4096u, 8192u})
    for (const float size : {1.0f, 0x1p-22f, 0x1p-128f}) {  // down to subnormal results
      auto x = samples::row<TestType>(n, 6);
      for (TestType& v : x) v = TestType(v * size);
      std::vector<float> wide(n);
      for (std::size_t i = 0; i < n; ++i) wide[i] = x[i];
      const auto result = transformed(wide, false);
      std::vector<TestType> rounded(n);
      for (std::size_t i = 0; i < n; ++i) rounded[i] = TestType(result[i]);
      INFO(n << ", numbers of size " << size);
      CHECK(samples::same_bits(transformed(x, false), rounded));
    }
}

TEST_CASE("16-bit rows beyond the stack's scratch are transformed as well") {
  const std::size_t n = std::size_t{1} << 17;
  const auto x = samples::row<half>(n, 8);
  auto exact = oracle::product(qwha::order_name(n), values(x), false);
  for (double& v : exact) v /= std::sqrt(static_cast<double>(n));
  require_accurate(transformed(x, false), exact);
}

TEST_CASE("NaN and infinity stay in their row") {
  const qwha::wht<> h(96);
  std::vector<float> x(3 * 96, 1.0f);
  x[96 + 5] = std::numeric_limits<float>::infinity();
  const std::vector<float> clean(96, 1.0f);
  REQUIRE(h.apply(rows_view<float>{x.data(), 3, 96}) == status::ok);
  const auto expected = transformed(clean, false);
  CHECK(std::equal(expected.begin(), expected.end(), x.begin()));
  CHECK(std::equal(expected.begin(), expected.end(), x.begin() + 2 * 96));
  CHECK(std::none_of(x.begin() + 96, x.begin() + 2 * 96, [](float v) { return std::isfinite(v); }));
}
