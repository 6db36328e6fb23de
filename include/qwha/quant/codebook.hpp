// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Decoding of four-bit codes through a table of sixteen levels: NF4, MXFP4 and NVFP4 share it.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include <qwha/base/config.hpp>
#include <qwha/quant/bytes.hpp>

#if QWHA_HAS_AVX2
#include <immintrin.h>
#endif

namespace qwha::inline QWHA_ISA::detail {

/// Which nibble of a byte is the element of even index.
enum class nibble_order { low_first, high_first };

/// out[i] = levels[code i] * scale. Numerics: one rounding, the same bits with and without the hardware's permutation.
/// @tparam Count  elements; even
template <std::size_t Count, nibble_order Order>
QWHA_ALWAYS_INLINE void decode_codebook(const std::byte* codes, const float (&levels)[16], float scale,
                                        float* QWHA_RESTRICT out) noexcept {
  static_assert(Count % 2 == 0);
  constexpr bool low_first = Order == nibble_order::low_first;
  std::size_t i = 0;
#if QWHA_HAS_AVX2
  const __m256 factor = _mm256_set1_ps(scale);
  const __m256 lower = _mm256_mul_ps(_mm256_loadu_ps(levels), factor);
  const __m256 upper = _mm256_mul_ps(_mm256_loadu_ps(levels + 8), factor);
  const __m256i shifts =
      low_first ? _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28) : _mm256_setr_epi32(4, 0, 12, 8, 20, 16, 28, 24);
  for (; i + 8 <= Count; i += 8) {
    const __m256i word = _mm256_set1_epi32(static_cast<int>(load_bytes<4>(codes + i / 2)));
    const __m256i index = _mm256_srlv_epi32(word, shifts);  // the permutations read the low three or four bits only
#if QWHA_HAS_AVX512
    const __m256 value = _mm256_permutex2var_ps(lower, index, upper);
#else
    const __m256 pick_upper = _mm256_castsi256_ps(_mm256_slli_epi32(index, 28));  // bit 3 to the sign
    const __m256 value =
        _mm256_blendv_ps(_mm256_permutevar8x32_ps(lower, index), _mm256_permutevar8x32_ps(upper, index), pick_upper);
#endif
    _mm256_storeu_ps(out + i, value);
  }
#endif
  for (; i < Count; i += 2) {
    const auto byte = std::to_integer<unsigned>(codes[i / 2]);
    out[i] = levels[low_first ? byte & 15u : byte >> 4] * scale;
    out[i + 1] = levels[low_first ? byte >> 4 : byte & 15u] * scale;
  }
}

template <std::size_t Count, nibble_order Order>
QWHA_ALWAYS_INLINE void pack_nibbles(const std::uint8_t* codes, std::byte* out) noexcept {
  constexpr std::size_t low = Order == nibble_order::low_first ? 0 : 1;
  for (std::size_t i = 0; i < Count; i += 2)
    out[i / 2] = static_cast<std::byte>(codes[i + low] | (codes[i + 1 - low] << 4));
}

template <std::size_t Count, nibble_order Order>
QWHA_ALWAYS_INLINE void unpack_nibbles(const std::byte* in, std::uint8_t* codes) noexcept {
  constexpr std::size_t low = Order == nibble_order::low_first ? 0 : 1;
  for (std::size_t i = 0; i < Count; i += 2) {
    const auto byte = std::to_integer<unsigned>(in[i / 2]);
    codes[i + low] = static_cast<std::uint8_t>(byte & 15u);
    codes[i + 1 - low] = static_cast<std::uint8_t>(byte >> 4);
  }
}

inline float largest_magnitude(std::span<const float> weights) noexcept {
  float largest = 0;
  for (const float w : weights) largest = std::max(largest, w < 0 ? -w : w);
  return largest;
}

}  // namespace qwha::inline QWHA_ISA::detail
