// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// 16-bit floating-point storage types. Arithmetic is done in float; these only convert, with one rounding.

#include <bit>
#include <cstdint>
#include <type_traits>

#include <qwha/base/config.hpp>

#if QWHA_HAS_AVX2
#include <immintrin.h>
#endif

namespace qwha::inline QWHA_ISA::detail {

/// IEEE binary16 from float, round to nearest even; overflow to infinity, NaN stays NaN.
QWHA_HD constexpr std::uint16_t half_bits(float value) noexcept {
  const std::uint32_t f = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (f >> 16) & 0x8000u;
  const std::uint32_t magnitude = f & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<std::uint16_t>(sign | 0x7e00u);   // NaN
  if (magnitude >= 0x477ff000u) return static_cast<std::uint16_t>(sign | 0x7c00u);  // 65520 and above round to infinity
  if (magnitude < 0x38800000u) {                                                    // below 2^-14: subnormal
    if (magnitude < 0x33000000u) return static_cast<std::uint16_t>(sign);           // below 2^-25: zero
    const std::uint32_t mantissa = (magnitude & 0x7fffffu) | 0x800000u;
    const std::uint32_t shift = 126u - (magnitude >> 23);  // 14 … 24
    const std::uint32_t kept = mantissa >> shift;
    const std::uint32_t rest = mantissa & ((1u << shift) - 1u);
    const std::uint32_t tie = 1u << (shift - 1u);
    return static_cast<std::uint16_t>(sign | (kept + ((rest > tie || (rest == tie && (kept & 1u))) ? 1u : 0u)));
  }
  const std::uint32_t rebased = magnitude - 0x38000000u;
  return static_cast<std::uint16_t>(sign | ((rebased + 0xfffu + ((rebased >> 13) & 1u)) >> 13));
}

/// Float from IEEE binary16; exact.
QWHA_HD constexpr float half_value(std::uint16_t h) noexcept {
  const std::uint32_t sign = static_cast<std::uint32_t>(h & 0x8000u) << 16;
  const std::uint32_t exponent = (h >> 10) & 0x1fu;
  const std::uint32_t mantissa = h & 0x3ffu;
  if (exponent == 0x1fu) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 112u) << 23) | (mantissa << 13));
  const float subnormal = static_cast<float>(mantissa) * 0x1p-24f;
  return sign ? -subnormal : subnormal;
}

/// bfloat16 from float, round to nearest even; NaN stays NaN.
QWHA_HD constexpr std::uint16_t bfloat16_bits(float value) noexcept {
  const std::uint32_t f = std::bit_cast<std::uint32_t>(value);
  if ((f & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>((f >> 16) | 0x40u);
  return static_cast<std::uint16_t>((f + 0x7fffu + ((f >> 16) & 1u)) >> 16);
}

QWHA_HD constexpr float bfloat16_value(std::uint16_t b) noexcept {
  return std::bit_cast<float>(static_cast<std::uint32_t>(b) << 16);
}

}  // namespace qwha::inline QWHA_ISA::detail

namespace qwha {

/// IEEE 754 binary16 storage. Conversion rounds to nearest even; the hardware's instruction where the file has it, with
/// the same bits (except NaN payloads).
struct half {
  std::uint16_t bits = 0;

  constexpr half() = default;
  QWHA_ALWAYS_INLINE constexpr explicit half(float value) noexcept : bits(from(value)) {}
  QWHA_ALWAYS_INLINE constexpr operator float() const noexcept { return to(bits); }
  static constexpr half from_bits(std::uint16_t b) noexcept {
    half h;
    h.bits = b;
    return h;
  }

 private:
  // Inlined always: a weak symbol of this type, which crosses files, must not carry one file's instructions.
  QWHA_ALWAYS_INLINE static constexpr std::uint16_t from(float value) noexcept {
#if QWHA_HAS_AVX2
    if (!std::is_constant_evaluated()) return static_cast<std::uint16_t>(_cvtss_sh(value, _MM_FROUND_TO_NEAREST_INT));
#endif
    return detail::half_bits(value);
  }
  QWHA_ALWAYS_INLINE static constexpr float to(std::uint16_t b) noexcept {
#if QWHA_HAS_AVX2
    if (!std::is_constant_evaluated()) return _cvtsh_ss(b);
#endif
    return detail::half_value(b);
  }
};

/// bfloat16 storage: the upper half of a float. Conversion rounds to nearest even.
struct bfloat16 {
  std::uint16_t bits = 0;

  constexpr bfloat16() = default;
  QWHA_ALWAYS_INLINE constexpr explicit bfloat16(float value) noexcept : bits(detail::bfloat16_bits(value)) {}
  QWHA_ALWAYS_INLINE constexpr operator float() const noexcept { return detail::bfloat16_value(bits); }
  static constexpr bfloat16 from_bits(std::uint16_t b) noexcept {
    bfloat16 h;
    h.bits = b;
    return h;
  }
};

static_assert(sizeof(half) == 2 && sizeof(bfloat16) == 2);
static_assert(std::is_trivially_copyable_v<half> && std::is_trivially_copyable_v<bfloat16>);
static_assert(detail::half_bits(1.0f) == 0x3c00 && detail::half_bits(65504.0f) == 0x7bff);
static_assert(detail::half_value(0x0001) == 0x1p-24f && detail::bfloat16_bits(1.0f) == 0x3f80);

/// What a value of type T is computed in: double for double, float for float and the 16-bit types.
template <class T>
using arithmetic_t = std::conditional_t<std::is_same_v<std::remove_cv_t<T>, double>, double, float>;

}  // namespace qwha
