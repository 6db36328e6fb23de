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

namespace qwha::io::inline QWHA_ISA::detail {

/// Columns first … first + count - 1 of a matrix of words [height, width], at any alignment, each to where
/// `row(column - first)` says. The file's bytes are read a cache line at a time, once.
/// @param most  bytes to write of a column at most; fewer when the column is shorter
template <class Row>
void transpose_words(const std::byte* words, std::size_t width, std::size_t height, std::size_t first,
                     std::size_t count, const Row& row, std::size_t most) {
  constexpr std::size_t side = 16;  // words in a cache line
  const std::size_t bytes = std::min(4 * height, most);
  std::uint32_t in[side][side], out[side][side];
  for (std::size_t h = 0; 4 * h < bytes; h += side) {
    const std::size_t lines = std::min(side, height - h);
    for (std::size_t c = 0; c < count; c += side) {
      const std::size_t columns = std::min(side, count - c);
      for (std::size_t i = 0; i < lines; ++i)
        std::memcpy(in[i], words + 4 * ((h + i) * width + first + c), 4 * columns);
      for (std::size_t i = 0; i < lines; ++i)
        for (std::size_t j = 0; j < columns; ++j) out[j][i] = in[i][j];
      for (std::size_t j = 0; j < columns; ++j)
        std::memcpy(row(c + j) + 4 * h, out[j], std::min(4 * lines, bytes - 4 * h));
    }
  }
}

}  // namespace qwha::io::inline QWHA_ISA::detail
