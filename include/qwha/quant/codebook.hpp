// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Decoding of codes of up to four bits through a table of levels: the affine formats, NF4, MXFP4 and NVFP4 share it.

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

/// The sixteen weights (level - zero) * scale that the codes of a group stand for; in registers where a hardware
/// permutation can look them up.
class level_table {
 public:
  QWHA_ALWAYS_INLINE level_table(const float (&levels)[16], float zero, float scale) noexcept {
#if QWHA_HAS_AVX2
    const __m256 z = _mm256_set1_ps(zero);
    const __m256 s = _mm256_set1_ps(scale);
    lower_ = _mm256_mul_ps(_mm256_sub_ps(_mm256_loadu_ps(levels), z), s);
    upper_ = _mm256_mul_ps(_mm256_sub_ps(_mm256_loadu_ps(levels + 8), z), s);
#else
    for (std::size_t c = 0; c < 16; ++c) values_[c] = (levels[c] - zero) * scale;
#endif
  }

  /// out[i] = weight of code i, from a little-endian stream of codes of 2, 3 or 4 bits.
  /// @tparam Count  codes that fill whole bytes
  /// @pre    the levels given to the constructor repeat every 2^Bits
  template <int Bits, std::size_t Count, nibble_order Order = nibble_order::low_first>
  QWHA_ALWAYS_INLINE void decode(const std::byte* codes, float* QWHA_RESTRICT out) const noexcept {
    static_assert(Bits >= 2 && Bits <= 4 && Count * static_cast<std::size_t>(Bits) % 8 == 0);
    static_assert(Order == nibble_order::low_first || Bits == 4);
    constexpr bool low_first = Order == nibble_order::low_first;
    std::size_t i = 0;
#if QWHA_HAS_AVX2
    const __m256i shifts = low_first
                               ? _mm256_setr_epi32(0, Bits, 2 * Bits, 3 * Bits, 4 * Bits, 5 * Bits, 6 * Bits, 7 * Bits)
                               : _mm256_setr_epi32(4, 0, 12, 8, 20, 16, 28, 24);
    for (; i + 8 <= Count; i += 8) {
      const std::uint32_t word = load_bytes<static_cast<std::size_t>(Bits)>(codes);
      codes += Bits;
      const __m256i index = _mm256_srlv_epi32(_mm256_set1_epi32(static_cast<int>(word)), shifts);
      _mm256_storeu_ps(out + i, look_up<Bits>(index));
    }
#endif
    constexpr std::size_t codes_per_word = Bits == 3 ? 8 : 8 / static_cast<std::size_t>(Bits);
    constexpr std::size_t bytes_per_word = Bits == 3 ? 3 : 1;
    constexpr std::uint32_t mask = (1u << Bits) - 1u;
    for (; i < Count; i += codes_per_word) {
      const std::uint32_t word = load_bytes<bytes_per_word>(codes);
      codes += bytes_per_word;
      for (std::size_t j = 0; j < codes_per_word; ++j)
        out[i + j] = at(word >> (static_cast<std::size_t>(Bits) * (low_first ? j : j ^ 1u)) & mask);
    }
  }

 private:
#if QWHA_HAS_AVX2
  /// The permutations read the three or four low bits of a lane: what stands above them does not matter.
  template <int Bits>
  QWHA_ALWAYS_INLINE __m256 look_up(__m256i index) const noexcept {
    if constexpr (Bits < 4) return _mm256_permutevar8x32_ps(lower_, index);
#if QWHA_HAS_AVX512
    return _mm256_permutex2var_ps(lower_, index, upper_);
#else
    const __m256 pick_upper = _mm256_castsi256_ps(_mm256_slli_epi32(index, 28));  // bit 3 to the sign
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(lower_, index), _mm256_permutevar8x32_ps(upper_, index),
                            pick_upper);
#endif
  }
  QWHA_ALWAYS_INLINE float at(std::uint32_t code) const noexcept {
    float values[16];
    _mm256_storeu_ps(values, lower_);
    _mm256_storeu_ps(values + 8, upper_);
    return values[code];
  }
  __m256 lower_, upper_;
#else
  QWHA_ALWAYS_INLINE float at(std::uint32_t code) const noexcept { return values_[code]; }
  float values_[16];
#endif
};

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
