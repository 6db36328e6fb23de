// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// The small floating-point numbers of the OCP formats: E2M1 elements, E4M3 and E8M0 scales.
/// Source: OCP Microscaling Formats (MX) 1.0 and OCP 8-bit Floating Point 1.0.

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>

#include <qwha/base/config.hpp>
#include <qwha/quant/bytes.hpp>

namespace qwha::inline QWHA_ISA {

/// The sixteen E2M1 numbers by code: sign, two exponent bits, one mantissa bit.
inline constexpr float e2m1_values[16] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6};

/// Nearest E2M1 code, ties to the even one; beyond 6 it saturates. NaN gives zero.
QWHA_ALWAYS_INLINE constexpr std::uint8_t e2m1_code(float x) noexcept {
  const float a = x < 0 ? -x : x;
  const int magnitude = (a > 0.25f) + (a >= 0.75f) + (a > 1.25f) + (a >= 1.75f) + (a > 2.5f) + (a >= 3.5f) + (a > 5.0f);
  return static_cast<std::uint8_t>(magnitude + (x < 0 ? 8 : 0));
}

/// E4M3 (the finite variety: bias 7, no infinities, 0x7f and 0xff are NaN); exact.
QWHA_ALWAYS_INLINE constexpr float e4m3_value(std::uint8_t code) noexcept {
  const std::uint32_t magnitude = code & 0x7fu;
  float value = 0;
  if (magnitude == 0x7fu)
    value = std::numeric_limits<float>::quiet_NaN();
  else if (magnitude < 8)
    value = static_cast<float>(magnitude) * 0x1p-9f;
  else
    value = std::bit_cast<float>((magnitude << 20) + ((127u - 7u) << 23));
  return (code & 0x80u) != 0 ? -value : value;
}

/// Nearest E4M3 code, ties to even; beyond 448 it saturates. NaN stays NaN.
QWHA_ALWAYS_INLINE constexpr std::uint8_t e4m3_code(float x) noexcept {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t sign = (bits >> 24) & 0x80u;
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<std::uint8_t>(sign | 0x7fu);
  const float a = std::min(std::bit_cast<float>(magnitude), 448.0f);
  if (a < 0x1p-6f)
    return static_cast<std::uint8_t>(sign | static_cast<std::uint32_t>(detail::round_to_code(a * 0x1p9f, 8.0f)));
  const std::uint32_t f = std::bit_cast<std::uint32_t>(a) - ((127u - 7u) << 23);
  return static_cast<std::uint8_t>(sign | ((f + 0x7ffffu + ((f >> 20) & 1u)) >> 20));
}

/// E8M0: 2^(code - 127); 0xff is NaN.
QWHA_ALWAYS_INLINE constexpr float e8m0_value(std::uint8_t code) noexcept {
  if (code == 0xff) return std::numeric_limits<float>::quiet_NaN();
  return std::bit_cast<float>(code == 0 ? 0x00400000u : static_cast<std::uint32_t>(code) << 23);
}

static_assert(e4m3_value(0x7e) == 448.0f && e4m3_code(448.0f) == 0x7e && e4m3_value(0x01) == 0x1p-9f);
static_assert(e2m1_code(2.5f) == 4 && e2m1_code(-5.1f) == 15 && e8m0_value(128) == 2.0f);

}  // namespace qwha::inline QWHA_ISA
