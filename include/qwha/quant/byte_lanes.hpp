// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Sixteen bytes at a time: how packed small codes are taken apart before they become floats.

#include <cstddef>
#include <cstdint>
#include <cstring>

#include <qwha/base/config.hpp>

#if QWHA_HAS_SSE
#include <immintrin.h>
#endif

namespace qwha::inline QWHA_ISA::detail {

/// Sixteen bytes in two 64-bit words, in one register where the compiler has vectors.
class byte_lanes {
 public:
  static constexpr std::size_t size = 16;

  QWHA_ALWAYS_INLINE static byte_lanes load(const std::byte* p) noexcept {
    byte_lanes b;
    std::memcpy(&b.words_, p, size);
    return b;
  }

  /// Lane i is `value` where bit i of `bits` is set, else 0. @pre value is a power of two below 128
  QWHA_ALWAYS_INLINE static byte_lanes spread(std::uint32_t bits, std::uint64_t value) noexcept {
    const std::uint64_t low = select(bits & 0xffu), high = select(bits >> 8 & 0xffu);
    byte_lanes b;
    b.words_[0] = low * value;
    b.words_[1] = high * value;
    return b;
  }

  /// Each lane shifted right, then masked. @pre mask < 2^(8 - shift), so that nothing of a neighbour remains
  QWHA_ALWAYS_INLINE byte_lanes field(std::size_t shift, std::uint64_t mask) const noexcept {
    byte_lanes b;
    const std::uint64_t all = ones * mask;
#if QWHA_HAS_VECTOR_EXTENSIONS
    b.words_ = (words_ >> static_cast<std::uint64_t>(shift)) & all;
#else
    for (int i = 0; i < 2; ++i) b.words_[i] = (words_[i] >> shift) & all;
#endif
    return b;
  }

  /// Each lane times 2^shift. @pre no lane overflows
  QWHA_ALWAYS_INLINE byte_lanes shifted_left(std::size_t shift) const noexcept {
    byte_lanes b;
#if QWHA_HAS_VECTOR_EXTENSIONS
    b.words_ = words_ << static_cast<std::uint64_t>(shift);
#else
    for (int i = 0; i < 2; ++i) b.words_[i] = words_[i] << shift;
#endif
    return b;
  }

  friend QWHA_ALWAYS_INLINE byte_lanes operator|(const byte_lanes& a, const byte_lanes& b) noexcept {
    byte_lanes c;
#if QWHA_HAS_VECTOR_EXTENSIONS
    c.words_ = a.words_ | b.words_;
#else
    for (int i = 0; i < 2; ++i) c.words_[i] = a.words_[i] | b.words_[i];
#endif
    return c;
  }

  /// out[i] = level(lane i as float). @param level  takes a float or a vector of floats
  template <class Level>
  QWHA_ALWAYS_INLINE void write(Level&& level, float* QWHA_RESTRICT out) const noexcept {
#if QWHA_HAS_AVX512
    constexpr __mmask16 all = 0xffff;  // the forms without a mask make GCC 12 warn of an undefined operand
    store(level(_mm512_maskz_cvtepi32_ps(all, _mm512_maskz_cvtepu8_epi32(all, bytes()))), out);
#elif QWHA_HAS_AVX2
    store(level(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes()))), out);
    store(level(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(bytes(), 8)))), out + 8);
#elif QWHA_HAS_SSE
    const __m128i zero = _mm_setzero_si128();
    const __m128i low = _mm_unpacklo_epi8(bytes(), zero), high = _mm_unpackhi_epi8(bytes(), zero);
    store(level(_mm_cvtepi32_ps(_mm_unpacklo_epi16(low, zero))), out);
    store(level(_mm_cvtepi32_ps(_mm_unpackhi_epi16(low, zero))), out + 4);
    store(level(_mm_cvtepi32_ps(_mm_unpacklo_epi16(high, zero))), out + 8);
    store(level(_mm_cvtepi32_ps(_mm_unpackhi_epi16(high, zero))), out + 12);
#else
    std::uint8_t lanes[size];
    std::memcpy(lanes, &words_, size);
    for (std::size_t i = 0; i < size; ++i) out[i] = level(static_cast<float>(lanes[i]));
#endif
  }

 private:
  static constexpr std::uint64_t ones = 0x0101010101010101u;

  /// Byte i (in memory order of a little-endian word) is 1 where bit i is set.
  QWHA_ALWAYS_INLINE static constexpr std::uint64_t select(std::uint64_t bits) noexcept {
    const std::uint64_t own_bit = bits * ones & 0x8040201008040201u;  // 2^i or 0 in byte i
    return (own_bit + ones * 0x7f) >> 7 & ones;
  }

#if QWHA_HAS_SSE
  QWHA_ALWAYS_INLINE __m128i bytes() const noexcept {
    __m128i b;
    std::memcpy(&b, &words_, size);
    return b;
  }
  template <class Vector>
  QWHA_ALWAYS_INLINE static void store(const Vector& v, float* out) noexcept {
    std::memcpy(out, &v, sizeof(v));
  }
#endif
#if QWHA_HAS_VECTOR_EXTENSIONS
  typedef std::uint64_t words __attribute__((vector_size(16)));
  words words_;
#else
  std::uint64_t words_[2];
#endif
};

}  // namespace qwha::inline QWHA_ISA::detail
