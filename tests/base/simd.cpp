// SPDX-License-Identifier: MIT
// vec<T, W>: every width that a register of this file's best back end holds, lane by lane.

#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include <qwha/base/random.hpp>
#include <qwha/base/simd.hpp>

#include "catch.hpp"

using qwha::bfloat16;
using qwha::half;
using qwha::vec;

namespace {

/// Calls body(width) for W = 1, 2, … up to a full register of T.
template <class T, std::size_t W = 1, class Body>
void for_widths(const Body& body) {
  body(std::integral_constant<std::size_t, W>{});
  if constexpr (2 * W <= qwha::lanes<qwha::native, T>) for_widths<T, 2 * W>(body);
}

template <class T, std::size_t W, std::size_t H>
bool lanes_swap() {
  std::vector<T> x(W);
  for (std::size_t i = 0; i < W; ++i) x[i] = static_cast<T>(i + 1);
  const auto v = vec<T, W>::load(x.data());
  const auto swapped = qwha::swap_lanes<H>(v);
  const auto signs = qwha::lane_signs<H, T, W>();
  for (std::size_t i = 0; i < W; ++i)
    if (swapped[i] != x[i ^ H] || signs[i] != static_cast<T>((i & H) != 0 ? -1 : 1)) return false;
  return true;
}

}  // namespace

TEMPLATE_TEST_CASE("arithmetic is that of the lanes", "", float, double) {
  for_widths<TestType>([](auto width) {
    constexpr std::size_t W = width();
    const qwha::counter_random random(W);
    std::vector<TestType> a(W + 1), b(W + 1), out(W + 1);
    for (std::size_t i = 0; i <= W; ++i) {
      a[i] = static_cast<TestType>(random.uniform(2 * i));
      b[i] = static_cast<TestType>(random.uniform(2 * i + 1));
    }
    const auto x = vec<TestType, W>::load(a.data() + 1), y = vec<TestType, W>::load(b.data() + 1);  // not aligned
    const auto matches = [&](vec<TestType, W> v, auto of) {
      v.store(out.data() + 1);
      for (std::size_t i = 1; i <= W; ++i)
        if (out[i] != of(a[i], b[i]) || v[i - 1] != out[i]) return false;
      return true;
    };
    CHECK(matches(x + y, [](TestType p, TestType q) { return p + q; }));
    CHECK(matches(x - y, [](TestType p, TestType q) { return p - q; }));
    CHECK(matches(x * y, [](TestType p, TestType q) { return p * q; }));
    CHECK(matches(-x, [](TestType p, TestType) { return -p; }));
    CHECK(matches(vec<TestType, W>::splat(TestType(3)), [](TestType, TestType) { return TestType(3); }));
    const auto two = vec<TestType, W>::splat(TestType(-2));
    CHECK(matches(fma(x, two, y), [](TestType p, TestType q) { return std::fma(p, TestType(-2), q); }));
  });
}

#if QWHA_HAS_VECTOR_EXTENSIONS
TEMPLATE_TEST_CASE("lanes swap by one bit of their index", "", float, double) {
  for_widths<TestType>([](auto width) {
    constexpr std::size_t W = width();
    if constexpr (W > 1) CHECK(lanes_swap<TestType, W, 1>());
    if constexpr (W > 2) CHECK(lanes_swap<TestType, W, 2>());
    if constexpr (W > 4) CHECK(lanes_swap<TestType, W, 4>());
    if constexpr (W > 8) CHECK(lanes_swap<TestType, W, 8>());
  });
}
#endif

TEMPLATE_TEST_CASE("16-bit loads and stores are the conversions of one number, for every bit pattern", "", half,
                   bfloat16) {
  for_widths<float>([](auto width) {
    constexpr std::size_t W = width();
    std::size_t wrong = 0;
    for (unsigned b = 0; b < 65536; b += W) {
      TestType x[W], back[W];
      for (std::size_t i = 0; i < W; ++i) x[i] = TestType::from_bits(static_cast<std::uint16_t>(b + i));
      const auto v = qwha::load_as<float, W>(x);
      qwha::store_as(back, v);
      for (std::size_t i = 0; i < W; ++i) {
        const float one = x[i];
        if (std::isnan(one) ? !std::isnan(v[i]) || !std::isnan(static_cast<float>(back[i]))
                            : v[i] != one || back[i].bits != x[i].bits)
          ++wrong;
      }
    }
    CHECK(wrong == 0);

    const qwha::counter_random random(W);
    for (std::uint64_t k = 0; k < 100000; k += W) {  // floats of any exponent
      float f[W];
      TestType rounded[W];
      for (std::size_t i = 0; i < W; ++i) f[i] = std::bit_cast<float>(static_cast<std::uint32_t>(random.bits(k + i)));
      qwha::store_as(rounded, vec<float, W>::load(f));
      for (std::size_t i = 0; i < W; ++i)
        if (!std::isnan(f[i]) && rounded[i].bits != TestType(f[i]).bits) ++wrong;
    }
    CHECK(wrong == 0);
  });
}

TEMPLATE_TEST_CASE("registers that are stored by pairs are the conversions of one number", "", bfloat16) {
  constexpr std::size_t W = qwha::lanes<qwha::native, float>, registers = 4;
  if constexpr (qwha::stores_by_pairs<TestType, float, W>) {
    const qwha::counter_random random(3);
    std::size_t wrong = 0;
    for (std::uint64_t k = 0; k < 2000; ++k) {
      // ordinary numbers only; any exponent, with infinity and NaN; zeros and subnormal numbers between ordinary ones
      vec<float, W> v[registers];
      float f[registers * W];
      for (std::size_t i = 0; i < registers * W; ++i) {
        const auto bits = static_cast<std::uint32_t>(random.bits(k * registers * W + i));
        f[i] = std::bit_cast<float>(k % 3 == 1 ? bits : (bits & 0x807fffffu) | 0x3f800000u);
        if (k % 3 == 2 && bits % 16 == 0) f[i] = std::bit_cast<float>(bits & (bits % 32 == 0 ? 0x807fffffu : 1u << 31));
      }
      for (std::size_t r = 0; r < registers; ++r) v[r] = vec<float, W>::load(f + r * W);
      for (const std::size_t stride : {W, W + 3, 5 * W}) {
        std::vector<TestType> stored(registers * stride);
        qwha::store_all_as<registers>(stored.data(), stride, v);
        for (std::size_t i = 0; i < registers * W; ++i) {
          const TestType got = stored[i / W * stride + i % W];
          if (std::isnan(f[i]) ? !std::isnan(static_cast<float>(got)) : got.bits != TestType(f[i]).bits) ++wrong;
        }
      }
    }
    CHECK(wrong == 0);
  } else {
    WARN("this file is not compiled for AVX512-BF16");
  }
}

TEST_CASE("8-bit codes and the other float width load exactly") {
  for_widths<float>([](auto width) {
    constexpr std::size_t W = width();
    std::size_t wrong = 0;
    for (unsigned b = 0; b < 256; b += W) {
      std::uint8_t u[W];
      std::int8_t s[W];
      for (std::size_t i = 0; i < W; ++i) {
        u[i] = static_cast<std::uint8_t>(b + i);
        s[i] = static_cast<std::int8_t>(static_cast<int>(b + i) - 128);
      }
      const auto x = qwha::load_as<float, W>(u), y = qwha::load_as<float, W>(s);
      for (std::size_t i = 0; i < W; ++i)
        if (x[i] != static_cast<float>(u[i]) || y[i] != static_cast<float>(s[i])) ++wrong;
    }
    CHECK(wrong == 0);
  });
  for_widths<double>([](auto width) {
    constexpr std::size_t W = width();
    float f[W], back[W];
    half h[W];
    for (std::size_t i = 0; i < W; ++i) f[i] = 0.1f * static_cast<float>(i + 1);
    for (std::size_t i = 0; i < W; ++i) h[i] = half(f[i]);
    const auto wide = qwha::load_as<double, W>(f);
    qwha::store_as(back, wide);
    const auto from_half = qwha::load_as<double, W>(h);
    for (std::size_t i = 0; i < W; ++i) {
      CHECK(wide[i] == static_cast<double>(f[i]));
      CHECK(back[i] == f[i]);
      CHECK(from_half[i] == static_cast<double>(static_cast<float>(h[i])));
    }
  });
}
