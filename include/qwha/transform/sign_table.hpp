// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// The signs of a dense Hadamard factor, as lists of the shared sums that each output adds and subtracts.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include <qwha/base/config.hpp>
#include <qwha/transform/hadamard_matrix.hpp>

namespace qwha::inline QWHA_ISA {

/// How a kernel adds up y = H x, for any H of signs.
///
/// Five inputs, a group, have 16 sums x0 ± x1 ± x2 ± x3 ± x4 up to sign: sum s subtracts input b where bit b - 1 of s is
/// set, and the last group is filled up with zeros. Groups are taken in chunks whose sums fit a first-level cache.
/// Within a chunk an output first adds the sums that it wants as they are, then subtracts the others; four outputs, a
/// tile, of about as many of each go together, and number 0, which is zero, fills their lists.
/// Of P2(q) = [[C + I, C - I], [C - I, -C - I]] the table holds C + I: see `halved`.
/// Memory about 2 m² / 5 bytes; immutable, so any number of threads may read it.
class sign_table {
 public:
  static constexpr std::size_t group = 5, sums = 16, tile_outputs = 4, chunk_groups = 36;

  struct tile {
    std::array<std::uint32_t, tile_outputs> output;
    std::size_t first;  ///< of `numbers()`: [plus + minus, tile_outputs]
    std::uint32_t plus, minus;
  };
  struct chunk {
    std::size_t first_group, last_group, first_tile, last_tile;
  };

  sign_table(const hadamard_matrix& h, bool transposed)
      : halved_(h.factor().kind == construction::paley_2), order_(halved_ ? h.order() / 2 : h.order()) {
    const std::size_t groups = (order_ + group - 1) / group, count = (groups + chunk_groups - 1) / chunk_groups;
    for (std::size_t c = 0; c < count; ++c) append_chunk(h, transposed, groups * c / count, groups * (c + 1) / count);
  }

  /// Rows and columns of the table: m, or m / 2 where it is halved.
  std::size_t order() const noexcept { return order_; }
  /// Whether the factor is P2: with u = x1 + x2 and v = x1 - x2 its outputs are (C + I) u + v - u and (C + I) v - u - v.
  bool halved() const noexcept { return halved_; }
  const std::vector<chunk>& chunks() const noexcept { return chunks_; }
  const std::vector<tile>& tiles() const noexcept { return tiles_; }
  /// Number 1 + 16 g + s is sum s of group g of a chunk, 0 is zero.
  const std::vector<std::uint16_t>& numbers() const noexcept { return numbers_; }

 private:
  struct output_sums {
    std::uint32_t output;
    std::vector<std::uint16_t> plus, minus;
  };

  output_sums sums_of(const hadamard_matrix& h, bool transposed, std::size_t i, std::size_t first,
                      std::size_t last) const {
    output_sums found{static_cast<std::uint32_t>(i), {}, {}};
    for (std::size_t g = first; g < last; ++g) {
      unsigned code = 0;  // bit b: input b is subtracted
      for (std::size_t b = 0; b < group && g * group + b < order_; ++b)
        if (transposed ? h.negative(g * group + b, i) : h.negative(i, g * group + b)) code |= 1u << b;
      const bool minus = (code & 1u) != 0;
      const std::size_t sum = (minus ? ~code : code) >> 1 & (sums - 1);
      (minus ? found.minus : found.plus).push_back(static_cast<std::uint16_t>(1 + (g - first) * sums + sum));
    }
    return found;
  }

  void append_chunk(const hadamard_matrix& h, bool transposed, std::size_t first, std::size_t last) {
    std::vector<output_sums> outputs;
    for (std::size_t i = 0; i < order_; ++i) outputs.push_back(sums_of(h, transposed, i, first, last));
    std::sort(outputs.begin(), outputs.end(), [](const output_sums& a, const output_sums& b) {
      return std::pair(a.plus.size(), a.output) < std::pair(b.plus.size(), b.output);
    });
    while (outputs.size() % tile_outputs != 0) outputs.push_back(outputs.back());  // written twice, the same
    const std::size_t first_tile = tiles_.size();
    for (std::size_t i = 0; i < outputs.size(); i += tile_outputs) append_tile(outputs.data() + i);
    chunks_.push_back({first, last, first_tile, tiles_.size()});
  }

  void append_tile(const output_sums* outputs) {
    tile t{{}, numbers_.size(), 0, 0};
    const auto append = [&](std::vector<std::uint16_t> output_sums::* list) {
      std::size_t longest = 0;
      for (std::size_t k = 0; k < tile_outputs; ++k) longest = std::max(longest, (outputs[k].*list).size());
      for (std::size_t s = 0; s < longest; ++s)
        for (std::size_t k = 0; k < tile_outputs; ++k) {
          const auto& numbers = outputs[k].*list;
          numbers_.push_back(s < numbers.size() ? numbers[s] : std::uint16_t{0});
        }
      return static_cast<std::uint32_t>(longest);
    };
    for (std::size_t k = 0; k < tile_outputs; ++k) t.output[k] = outputs[k].output;
    t.plus = append(&output_sums::plus);
    t.minus = append(&output_sums::minus);
    tiles_.push_back(t);
  }

  bool halved_;
  std::size_t order_;
  std::vector<chunk> chunks_;
  std::vector<tile> tiles_;
  std::vector<std::uint16_t> numbers_;
};

/// The table of a factor, made at the first request and shared by the whole process from then on. Thread safe.
/// @throws std::bad_alloc
inline std::shared_ptr<const sign_table> shared_sign_table(hadamard_factor factor, bool transposed) {
  static std::mutex mutex;
  static std::map<std::pair<hadamard_factor, bool>, std::shared_ptr<const sign_table>> tables;
  const std::lock_guard lock(mutex);
  auto& entry = tables[{factor, transposed && !factor.symmetric()}];
  if (!entry) entry = std::make_shared<const sign_table>(hadamard_matrix(factor), transposed);
  return entry;
}

}  // namespace qwha::inline QWHA_ISA
