// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Columns of 32-bit words turned into rows: checkpoints that pack codes along `in` store [in, out], matrices are
/// [out, in].

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <qwha/base/config.hpp>

#if QWHA_HAS_AVX2
#include <immintrin.h>
#endif

namespace qwha::io::inline QWHA_ISA::detail {

/// Whether what is written will be read soon, or is too much for any cache.
enum class destination { cache, memory };

#if QWHA_HAS_AVX2

template <destination To>
QWHA_ALWAYS_INLINE void put(std::byte* to, __m256i words) noexcept {
  if constexpr (To == destination::memory)
    _mm256_stream_si256(reinterpret_cast<__m256i*>(to), words);
  else
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), words);
}

/// Eight lines of eight words turned; strides in bytes. For memory `out` and its stride are multiples of 32.
template <destination To>
QWHA_ALWAYS_INLINE void turn_8x8(const std::byte* in, std::size_t in_stride, std::byte* out,
                                 std::size_t out_stride) noexcept {
  __m256i a[8], b[8];
  for (std::size_t i = 0; i < 8; ++i) a[i] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(in + i * in_stride));
  for (std::size_t i = 0; i < 4; ++i) {  // pairs of words
    b[2 * i] = _mm256_unpacklo_epi32(a[2 * i], a[2 * i + 1]);
    b[2 * i + 1] = _mm256_unpackhi_epi32(a[2 * i], a[2 * i + 1]);
  }
  for (std::size_t i = 0; i < 2; ++i)  // four words
    for (std::size_t h = 0; h < 2; ++h) {
      a[4 * i + 2 * h] = _mm256_unpacklo_epi64(b[4 * i + h], b[4 * i + 2 + h]);
      a[4 * i + 2 * h + 1] = _mm256_unpackhi_epi64(b[4 * i + h], b[4 * i + 2 + h]);
    }
  for (std::size_t j = 0; j < 4; ++j) put<To>(out + j * out_stride, _mm256_permute2x128_si256(a[j], a[j + 4], 0x20));
  for (std::size_t j = 0; j < 4; ++j)
    put<To>(out + (j + 4) * out_stride, _mm256_permute2x128_si256(a[j], a[j + 4], 0x31));
}

/// Sixteen lines of sixteen words. The halves of a column follow one another, so that streaming stores fill a cache line
/// before it leaves.
template <destination To>
QWHA_ALWAYS_INLINE void turn_16x16(const std::byte* in, std::size_t in_stride, std::byte* out,
                                   std::size_t out_stride) noexcept {
  for (std::size_t column = 0; column < 16; column += 8)
    for (std::size_t line = 0; line < 16; line += 8)
      turn_8x8<To>(in + line * in_stride + 4 * column, in_stride, out + column * out_stride + 4 * line, out_stride);
}

#endif

/// `bytes` of each of `columns` columns: two words a store, because stores are the bottleneck.
inline void turn_words(const std::byte* in, std::size_t in_stride, std::byte* out, std::size_t out_stride,
                       std::size_t columns, std::size_t bytes) noexcept {
  const auto word = [&](std::size_t line, std::size_t column) {
    std::uint32_t w;
    std::memcpy(&w, in + line * in_stride + 4 * column, sizeof w);
    return w;
  };
  std::size_t done = 0;
  for (; done + 8 <= bytes; done += 8)
    for (std::size_t j = 0; j < columns; ++j) {
      const std::uint64_t two = word(done / 4, j) | std::uint64_t{word(done / 4 + 1, j)} << 32;
      std::memcpy(out + j * out_stride + done, &two, sizeof two);
    }
  for (; done < bytes; done += 4)
    for (std::size_t j = 0; j < columns; ++j) {
      const std::uint32_t last = word(done / 4, j);
      std::memcpy(out + j * out_stride + done, &last, std::min(sizeof last, bytes - done));
    }
}

/// Columns first … first + count - 1 of a matrix of words [height, width], at any alignment, to `out`, one every
/// `out_stride` bytes. The matrix is read once, four of its cache lines at a time; where no vectors fit the edge of what
/// is left, they turn some columns again.
/// @param most   bytes to write of a column at most; fewer when the column is shorter
/// @param where  memory: written past the caches where the compiler has AVX2 and columns are aligned to 32 bytes
/// @par Cost  for memory with AVX2 about that of copying the words; without, two to three times that
inline void transpose_words(const std::byte* words, std::size_t width, std::size_t height, std::size_t first,
                            std::size_t count, std::byte* out, std::size_t out_stride, std::size_t most,
                            [[maybe_unused]] destination where = destination::cache) noexcept {
  constexpr std::size_t side = 16, band = 64;  // words: a cache line; a band of 32 or 128 is slower by a sixth
  const std::size_t bytes = std::min(4 * height, most), in_stride = 4 * width;
  const std::byte* const in = words + 4 * first;
  [[maybe_unused]] const bool past_caches =
      where == destination::memory && (reinterpret_cast<std::uintptr_t>(out) | out_stride) % 32 == 0;
  const std::size_t before_line = (64 - reinterpret_cast<std::uintptr_t>(in) % 64) % 64 / 4;
  for (std::size_t left = 0, right = 0; left < count; left = right) {
    right = std::min(count, left == 0 && before_line != 0 ? before_line : left + band);
    for (std::size_t h = 0; 4 * h < bytes; h += side) {
      const std::byte* const from = in + h * in_stride;
      std::byte* const to = out + 4 * h;
      if (QWHA_HAS_AVX2 && count >= side && 4 * (h + side) <= bytes) {
#if QWHA_HAS_AVX2
        for (std::size_t c = left; c < right; c += side) {
          const std::size_t column = std::min(c, count - side);
          if (past_caches)
            turn_16x16<destination::memory>(from + 4 * column, in_stride, to + column * out_stride, out_stride);
          else
            turn_16x16<destination::cache>(from + 4 * column, in_stride, to + column * out_stride, out_stride);
        }
#endif
      } else {
        turn_words(from + 4 * left, in_stride, to + left * out_stride, out_stride, right - left,
                   std::min(4 * side, bytes - 4 * h));
      }
    }
  }
#if QWHA_HAS_AVX2
  if (past_caches) _mm_sfence();  // streaming stores are ordered by nothing else
#endif
}

}  // namespace qwha::io::inline QWHA_ISA::detail
