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
  for (std::size_t h = 0; 4 * h < bytes; h += side) {
    const std::size_t end = std::min(h + side, (bytes + 3) / 4);
    for (std::size_t c = 0; c < count; c += side) {
      const std::size_t columns = std::min(side, count - c);
      const auto word = [&](std::size_t line, std::size_t j) {
        std::uint32_t w;
        std::memcpy(&w, words + 4 * (line * width + first + c + j), sizeof w);
        return w;
      };
      std::byte* to[side];
      for (std::size_t j = 0; j < columns; ++j) to[j] = row(c + j);
      std::size_t line = h;
      for (; line + 2 <= end && 4 * (line + 2) <= bytes; line += 2)  // two words a store: stores are the bottleneck
        for (std::size_t j = 0; j < columns; ++j) {
          const std::uint64_t two = word(line, j) | std::uint64_t{word(line + 1, j)} << 32;
          std::memcpy(to[j] + 4 * line, &two, sizeof two);
        }
      for (; line < end; ++line)
        for (std::size_t j = 0; j < columns; ++j) {
          const std::uint32_t last = word(line, j);
          std::memcpy(to[j] + 4 * line, &last, std::min(sizeof last, bytes - 4 * line));
        }
    }
  }
}

}  // namespace qwha::io::inline QWHA_ISA::detail
