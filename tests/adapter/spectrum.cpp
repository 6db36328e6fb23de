// SPDX-License-Identifier: MIT
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "catch.hpp"
#include "oracle.hpp"

#include <qwha/adapter/sparse_spectrum.hpp>

using spectrum = qwha::sparse_spectrum<float>;

TEST_CASE("a spectrum by rows", "[adapter]") {
  spectrum f(3, 5, {0, 2, 2, 3}, {1, 4, 0}, {1.5f, -2.0f, 3.0f});
  CHECK(f.rows() == 3);
  CHECK(f.cols() == 5);
  CHECK(f.size() == 3);
  CHECK(f.columns(0)[1] == 4);
  CHECK(f.values(0)[0] == 1.5f);
  CHECK(f.columns(1).empty());
  CHECK(f.values(2)[0] == 3.0f);
  f.values()[2] = 7;
  CHECK(f.values(2)[0] == 7.0f);
  CHECK(f.ref().size() == 3);
  CHECK(spectrum().rows() == 0);
  CHECK(spectrum().ref().size() == 0);
}

TEST_CASE("what a spectrum refuses, by name", "[adapter]") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  CHECK_THROWS_AS(spectrum(2, 4, {0, 1}, {0}, {1.0f}), qwha::shape_error);
  CHECK_THROWS_AS(spectrum(0, 4, {}, {}, {}), qwha::shape_error);
  CHECK_THROWS_AS(spectrum(static_cast<std::size_t>(-1), 4, {}, {}, {}), qwha::shape_error);
  CHECK_THROWS_AS(spectrum(1, 4, {1, 1}, {0}, {1.0f}), qwha::shape_error);
  CHECK_THROWS_AS(spectrum(1, 4, {0, 2}, {0}, {1.0f}), qwha::shape_error);
  CHECK_THROWS_AS(spectrum(1, 4, {0, 1}, {0}, {1.0f, 2.0f}), qwha::shape_error);
  CHECK_THROWS_AS(spectrum(2, 4, {0, 5, 1}, {0}, {1.0f}), qwha::shape_error);  // an offset beyond the end
  CHECK(oracle::refuses([&] { spectrum(2, 4, {0, 0, 1}, {4}, {1.0f}); }, "row 1"));
  CHECK(oracle::refuses([&] { spectrum(1, 4, {0, 2}, {2, 1}, {1.0f, 1.0f}); }, "ascend"));
  CHECK(oracle::refuses([&] { spectrum(1, 4, {0, 2}, {2, 2}, {1.0f, 1.0f}); }, "ascend"));
  CHECK_THROWS_AS(spectrum(1, 4, {0, 1}, {2}, {nan}), qwha::value_error);
  CHECK(oracle::refuses([&] { spectrum(1, 4, {0, 1}, {2}, {nan}); }, "row 0, column 2"));
}

TEST_CASE("from entries in any order", "[adapter]") {
  const auto f = qwha::spectrum_from_entries<float>(3, 5, {{2, 0, 3.0f}, {0, 4, -2.0f}, {0, 1, 1.5f}});
  CHECK(f == spectrum(3, 5, {0, 2, 2, 3}, {1, 4, 0}, {1.5f, -2.0f, 3.0f}));
  CHECK(qwha::spectrum_from_entries<float>(0, 0, {}).rows() == 0);
  CHECK(oracle::refuses([&] { qwha::spectrum_from_entries<float>(3, 5, {{2, 1, 1.0f}, {0, 0, 1.0f}, {2, 1, 2.0f}}); },
                        "(row 2, column 1) occurs twice"));
  CHECK(oracle::refuses([&] { qwha::spectrum_from_entries<float>(3, 5, {{3, 1, 1.0f}}); }, "(row 3, column 1)"));
  CHECK_THROWS_AS(qwha::spectrum_from_entries<float>(3, 5, {{0, 5, 1.0f}}), qwha::shape_error);
  CHECK_THROWS_AS(qwha::spectrum_from_entries<float>(3, 5, {{0, 0, -HUGE_VALF}}), qwha::value_error);
}

TEST_CASE("dense and back", "[adapter]") {
  const auto f = oracle::random_spectrum<float>(9, 33, 7, 4);
  std::vector<float> dense(9 * 40, 0.0f);
  for (std::size_t r = 0; r < 9; ++r)
    for (std::size_t k = 0; k < f.columns(r).size(); ++k) dense[r * 40 + f.columns(r)[k]] = f.values(r)[k];
  CHECK(qwha::spectrum_from_dense(qwha::rows_view<const float>(dense.data(), 9, 33, 40)) == f);
  dense[3] = std::numeric_limits<float>::quiet_NaN();
  CHECK_THROWS_AS(qwha::spectrum_from_dense(qwha::rows_view<float>(dense.data(), 9, 33, 40)), qwha::value_error);
}

TEST_CASE("equality sees shape, pattern and bits", "[adapter]") {
  const spectrum f(1, 4, {0, 2}, {0, 2}, {0.0f, 1.0f});
  CHECK(f == spectrum(1, 4, {0, 2}, {0, 2}, {0.0f, 1.0f}));
  CHECK_FALSE(f == spectrum(1, 5, {0, 2}, {0, 2}, {0.0f, 1.0f}));
  CHECK_FALSE(f == spectrum(1, 4, {0, 2}, {0, 3}, {0.0f, 1.0f}));
  CHECK_FALSE(f == spectrum(1, 4, {0, 2}, {0, 2}, {-0.0f, 1.0f}));
  CHECK_FALSE(f == spectrum(2, 4, {0, 2, 2}, {0, 2}, {0.0f, 1.0f}));
}

TEST_CASE("conversion rounds once", "[adapter]") {
  const auto f = oracle::random_spectrum<float>(20, 64, 30, 6);
  CHECK(qwha::convert_spectrum<float>(qwha::convert_spectrum<double>(f)) == f);
  const auto h = qwha::convert_spectrum<qwha::half>(f);
  for (std::size_t k = 0; k < f.size(); ++k) {
    const double error = std::fabs(oracle::number(h.values()[k]) - oracle::number(f.values()[k]));
    CHECK(error <= std::ldexp(std::fabs(oracle::number(f.values()[k])), -11) + std::ldexp(1.0, -25));
  }
  CHECK(qwha::convert_spectrum<qwha::half>(qwha::convert_spectrum<float>(h)) == h);

  // Just above the middle of two neighbours of 16 bits; rounded to float first it would be the middle, and go down.
  const auto once = [](double v) { return qwha::sparse_spectrum<double>(1, 1, {0, 1}, {0}, {v}); };
  const double half_ulp = std::ldexp(1.0, -11), bfloat_half_ulp = std::ldexp(1.0, -8), tiny = std::ldexp(1.0, -40);
  for (const double sign : {1.0, -1.0}) {
    CHECK(oracle::number(qwha::convert_spectrum<qwha::half>(once(sign * (1 + half_ulp + tiny))).values()[0]) ==
          sign * (1 + 2 * half_ulp));
    CHECK(oracle::number(qwha::convert_spectrum<qwha::half>(once(sign * (1 + half_ulp - tiny))).values()[0]) == sign);
    CHECK(oracle::number(qwha::convert_spectrum<qwha::half>(once(sign * (1 + 3 * half_ulp - tiny))).values()[0]) ==
          sign * (1 + 2 * half_ulp));
    CHECK(
        oracle::number(qwha::convert_spectrum<qwha::bfloat16>(once(sign * (1 + bfloat_half_ulp + tiny))).values()[0]) ==
        sign * (1 + 2 * bfloat_half_ulp));
  }
  CHECK_THROWS_AS(qwha::convert_spectrum<qwha::half>(once(1e6)), qwha::value_error);
  CHECK_THROWS_AS(qwha::convert_spectrum<float>(once(1e300)), qwha::value_error);
}

TEST_CASE("the pattern by columns", "[adapter]") {
  const auto f = oracle::random_spectrum<float>(23, 17, 5, 8);
  const qwha::spectrum_columns t = qwha::by_columns(f);
  REQUIRE(t.offsets.size() == 18);
  REQUIRE(t.offsets.back() == f.size());
  std::vector<int> seen(f.size(), 0);
  for (std::size_t c = 0; c < 17; ++c)
    for (std::size_t k = t.offsets[c]; k < t.offsets[c + 1]; ++k) {
      const std::size_t at = t.positions[k];
      ++seen[at];
      CHECK(f.columns()[at] == c);
      CHECK(f.offsets()[t.rows[k]] <= at);
      CHECK(at < f.offsets()[t.rows[k] + 1]);
      if (k > t.offsets[c]) CHECK(t.rows[k - 1] < t.rows[k]);
    }
  for (const int n : seen) CHECK(n == 1);
}
