// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// A dense Hadamard factor across columns: y = H_m x for a tile of columns, m rows of it at a time in the first-level
/// cache.
///
/// Four inputs have 16 signed sums, one of each pair the negative of the other, that all m outputs share: 12 additions
/// for four inputs, then m / 4 additions an output. An output adds its sums in ascending order of the inputs, so every
/// width and every path below gives the same bits.

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include <qwha/base/config.hpp>
#include <qwha/base/simd.hpp>
#include <qwha/transform/cpu/dense_sums.hpp>
#include <qwha/transform/cpu/scratch.hpp>
#include <qwha/transform/sign_table.hpp>

namespace qwha::inline QWHA_ISA::detail {

// --- any factor: signs from a table
// -----------------------------------------------------------------------------------

/// Groups of four inputs whose sums lie in the cache together.
inline constexpr std::size_t dense_chunk = 32;

/// H on `columns` columns (a multiple of W) of rows `in_pitch` apart, to rows `out_pitch` apart. False where scratch
/// could not be allocated.
template <class T, std::size_t W>
QWHA_NO_SANITIZE QWHA_NOINLINE bool table_dense(const sign_table& h, std::size_t columns, const T* in,
                                                std::size_t in_pitch, T* out, std::size_t out_pitch) noexcept {
  using V = vec<T, W>;
  const std::size_t m = h.order(), groups = m / 4;
  const auto all = [&](T* partial) QWHA_NO_SANITIZE {
    V sums[16 * dense_chunk];
    for (std::size_t c = 0; c < columns; c += W) {
      for (std::size_t first = 0; first < groups; first += dense_chunk) {
        const std::size_t count = groups - first < dense_chunk ? groups - first : dense_chunk;
        for (std::size_t g = 0; g < count; ++g) {
          const T* x = in + c + 4 * (first + g) * in_pitch;
          V eight[8];
          signed_sums(V::load(x), V::load(x + in_pitch), V::load(x + 2 * in_pitch), V::load(x + 3 * in_pitch), eight);
          for (unsigned code = 0; code < 16; code += 2) {
            sums[16 * g + code] = eight[code / 2];
            sums[16 * g + (15 - code)] = -eight[code / 2];
          }
        }
        const bool last = first + count == groups;
        for (std::size_t i = 0; i < m; ++i) {
          const std::uint8_t* code = h.row(i) + first;
          V y = first == 0 ? sums[code[0]] : V::load(partial + i * W) + sums[code[0]];
          for (std::size_t g = 1; g < count; ++g) y = y + sums[16 * g + code[g]];
          if (last && first == 0)
            y.store(out + c + i * out_pitch);
          else
            y.store(partial + i * W);
        }
      }
      if (groups > dense_chunk)
        for (std::size_t i = 0; i < m; ++i) V::load(partial + i * W).store(out + c + i * out_pitch);
    }
    return true;
  };
  return m <= 4 * dense_chunk ? all(nullptr) : with_scratch<T, 1024 * W>(m * W, all);
}

}  // namespace qwha::inline QWHA_ISA::detail
