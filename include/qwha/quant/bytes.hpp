// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Little-endian fields of packed formats, at any alignment.

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <qwha/base/config.hpp>
#include <qwha/base/float16.hpp>

namespace qwha::inline QWHA_ISA::detail {

/// The first `Bytes` bytes (1 … 4) as an unsigned number.
template <std::size_t Bytes>
QWHA_ALWAYS_INLINE constexpr std::uint32_t load_bytes(const std::byte* p) noexcept {
  static_assert(Bytes >= 1 && Bytes <= 4);
  std::uint32_t x = 0;
  for (std::size_t i = 0; i < Bytes; ++i) x |= std::to_integer<std::uint32_t>(p[i]) << (8 * i);
  return x;
}
template <std::size_t Bytes>
QWHA_ALWAYS_INLINE constexpr void store_bytes(std::byte* p, std::uint32_t x) noexcept {
  static_assert(Bytes >= 1 && Bytes <= 4);
  for (std::size_t i = 0; i < Bytes; ++i) p[i] = static_cast<std::byte>(x >> (8 * i));
}

/// A stored scalar (half, bfloat16 or float) as float.
template <class T>
QWHA_ALWAYS_INLINE constexpr float load_scalar(const std::byte* p) noexcept {
  if constexpr (sizeof(T) == 2)
    return T::from_bits(static_cast<std::uint16_t>(load_bytes<2>(p)));
  else
    return std::bit_cast<float>(load_bytes<4>(p));
}
/// @pre  `value` is representable in T, or its rounding to T is wanted
template <class T>
QWHA_ALWAYS_INLINE constexpr void store_scalar(std::byte* p, float value) noexcept {
  if constexpr (sizeof(T) == 2)
    store_bytes<2>(p, T(value).bits);
  else
    store_bytes<4>(p, std::bit_cast<std::uint32_t>(value));
}

/// Nearest whole number, ties to even, of x cut to 0 … top, where 0 < top < 2^22; NaN becomes one of the ends. Floats
/// that are not negative are ordered as their bits, so the cuts are of integers, which compilers make vectors of; the
/// number is then the low bits of t + 2^23, which needs no instruction set and survives -ffast-math.
QWHA_ALWAYS_INLINE constexpr std::int32_t round_to_code(float x, float top) noexcept {
  const std::int32_t not_negative = std::max(std::bit_cast<std::int32_t>(x), 0);
  const float t = std::bit_cast<float>(std::min(not_negative, std::bit_cast<std::int32_t>(top)));
  return std::bit_cast<std::int32_t>(t + 0x1p23f) & 0x3fffff;
}

}  // namespace qwha::inline QWHA_ISA::detail
