// SPDX-License-Identifier: MIT
// 16-bit numbers: every value, and roundings against an oracle that searches instead of computing.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include <qwha/base/float16.hpp>
#include <qwha/base/random.hpp>

#include "catch.hpp"

using qwha::bfloat16;
using qwha::half;

namespace {

/// What the bits of a 16-bit format with `exponent_bits` and `mantissa_bits` mean, from the definition.
double meaning(unsigned bits, int exponent_bits, int mantissa_bits) {
  const unsigned mantissa = bits & ((1u << mantissa_bits) - 1);
  const int exponent = static_cast<int>(bits >> mantissa_bits & ((1u << exponent_bits) - 1));
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const double sign = (bits & 0x8000u) != 0 ? -1 : 1;
  if (exponent == (1 << exponent_bits) - 1)
    return mantissa == 0 ? sign * std::numeric_limits<double>::infinity() : std::numeric_limits<double>::quiet_NaN();
  if (exponent == 0) return sign * std::ldexp(mantissa, 1 - bias - mantissa_bits);
  return sign * std::ldexp((1u << mantissa_bits) + mantissa, exponent - bias - mantissa_bits);
}

/// Round to nearest, ties to even, by search among all non-negative values of the format.
struct nearest {
  int exponent_bits, mantissa_bits;
  std::vector<double>
      values;  // value[bits], ascending, then the first power of two beyond the largest: infinity's place
  nearest(int e, int m) : exponent_bits(e), mantissa_bits(m) {
    const unsigned infinity = ((1u << e) - 1) << m;
    for (unsigned b = 0; b < infinity; ++b) values.push_back(meaning(b, e, m));
    values.push_back(std::ldexp(1.0, 1 << (e - 1)));
  }
  unsigned operator()(float x) const {
    const unsigned sign = std::signbit(x) ? 0x8000u : 0;
    const double magnitude = std::abs(static_cast<double>(x));
    if (magnitude >= values.back()) return sign | static_cast<unsigned>(values.size() - 1);
    const auto above = std::upper_bound(values.begin(), values.end(), magnitude);
    auto bits = static_cast<unsigned>(above - values.begin()) - 1;
    const double to_below = magnitude - values[bits], to_above = *above - magnitude;
    if (to_above < to_below || (to_above == to_below && bits % 2 == 1)) ++bits;
    return sign | bits;
  }
};

template <class T>
constexpr int exponent_bits = std::is_same_v<T, half> ? 5 : 8;
template <class T>
constexpr int mantissa_bits = 15 - exponent_bits<T>;

}  // namespace

TEMPLATE_TEST_CASE("all 65536 numbers mean what the format says, and survive a round trip", "", half, bfloat16) {
  std::size_t wrong_value = 0, wrong_trip = 0;
  for (unsigned b = 0; b < 65536; ++b) {
    const TestType x = TestType::from_bits(static_cast<std::uint16_t>(b));
    const float f = x;
    const double want = meaning(b, exponent_bits<TestType>, mantissa_bits<TestType>);
    if (std::isnan(want)) {
      if (!std::isnan(f) || !std::isnan(static_cast<float>(TestType(f)))) ++wrong_value;
      continue;
    }
    if (static_cast<double>(f) != want || std::signbit(f) != std::signbit(want)) ++wrong_value;
    if (TestType(f).bits != b) ++wrong_trip;
  }
  CHECK(wrong_value == 0);
  CHECK(wrong_trip == 0);
}

TEMPLATE_TEST_CASE("rounding is to nearest even", "", half, bfloat16) {
  const nearest oracle(exponent_bits<TestType>, mantissa_bits<TestType>);
  std::size_t wrong = 0;
  const auto check = [&](float f) {
    if (TestType(f).bits != oracle(f)) ++wrong;
  };
  // around every value and every midpoint between two
  for (std::size_t b = 0; b + 1 < oracle.values.size(); ++b) {
    const auto low = static_cast<float>(oracle.values[b]);
    const double middle = (oracle.values[b] + oracle.values[b + 1]) / 2;
    for (const float f : {low, static_cast<float>(middle)})
      for (const float g : {f, std::nextafter(f, 0.0f), std::nextafter(f, std::numeric_limits<float>::infinity())})
        if (std::isfinite(g)) {
          check(g);
          check(-g);
        }
  }
  const qwha::counter_random random(11);
  for (std::uint64_t i = 0; i < 200000; ++i) {
    const auto f = std::bit_cast<float>(static_cast<std::uint32_t>(random.bits(i)));
    if (!std::isnan(f)) check(f);
  }
  CHECK(wrong == 0);
}

TEST_CASE("conversions hold at compile time") {
  static_assert(half(1.5f).bits == 0x3e00 && static_cast<float>(half::from_bits(0xc000)) == -2.0f);
  static_assert(bfloat16(1.0f).bits == 0x3f80 && static_cast<float>(bfloat16::from_bits(0xbf80)) == -1.0f);
  static_assert(std::is_same_v<qwha::arithmetic_t<const half>, float> &&
                std::is_same_v<qwha::arithmetic_t<double>, double>);
  CHECK(half(65520.0f).bits == 0x7c00);
  CHECK(half(std::nextafter(65520.0f, 0.0f)).bits == 0x7bff);
  CHECK(half(-0.0f).bits == 0x8000);
}
