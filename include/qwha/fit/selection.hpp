// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Which coefficients of a row become trainable: the selection strategies that look at each coefficient by itself.

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include <qwha/base/config.hpp>
#include <qwha/base/random.hpp>

namespace qwha {

/// How the coefficients of a row are chosen within its budget. With C = E Tᵀ, B = E S Tᵀ and G = T S Tᵀ:
enum class selection {
  random,     ///< uniformly (LoCA before training, FourierFT, SHiRA)
  magnitude,  ///< the largest |C_ij|: the paper
  energy,     ///< the largest B_ij² / G_jj: what one coefficient alone takes from the row's squared error
  ssh,        ///< half the largest coefficients of the pre-trained weight |W0 Tᵀ|, half at random (SSH)
  pursuit,    ///< forward orthogonal least squares, then exchange (pursuit.hpp)
  reference   ///< the largest G_jj C_ij²: the paper's code
};

/// The positions of F's non-zeros: row r owns columns offsets[r] … offsets[r + 1] - 1, ascending.
struct sparse_support {
  std::size_t cols = 0;
  std::vector<std::size_t> offsets{0};
  std::vector<std::uint32_t> columns;

  /// Room for `budgets[r]` columns in each row, to be filled.
  sparse_support(std::span<const std::uint32_t> budgets, std::size_t cols_) : cols(cols_) {
    offsets.reserve(budgets.size() + 1);
    for (const std::uint32_t b : budgets) offsets.push_back(offsets.back() + b);
    columns.resize(offsets.back());
  }
  std::size_t rows() const noexcept { return offsets.size() - 1; }
  std::span<const std::uint32_t> row(std::size_t r) const noexcept {
    return {columns.data() + offsets[r], offsets[r + 1] - offsets[r]};
  }
  std::span<std::uint32_t> row(std::size_t r) noexcept {
    return {columns.data() + offsets[r], offsets[r + 1] - offsets[r]};
  }
};

}  // namespace qwha

namespace qwha::inline QWHA_ISA {

namespace detail {

/// The `chosen.size()` indices below n of largest key, ascending; of equal keys the lowest index. The smallest chosen
/// key is found bit by bit, by counting the keys that reach it.
/// @param key  unsigned key of an index, cheap and without side effects
/// @par Cost   at most one vectorised pass a bit, and one more
template <class Key, class KeyOf>
void take_largest(std::size_t n, const KeyOf& key, std::span<std::uint32_t> chosen) noexcept {
  if (chosen.empty()) return;
  Key all = 0;
  for (std::size_t i = 0; i < n; ++i) all |= key(i);
  const auto reach = [&](Key bound) {
    Key count = 0;
    for (std::size_t i = 0; i < n; ++i) count += key(i) >= bound ? Key{1} : Key{0};
    return static_cast<std::size_t>(count);
  };
  Key least = 0;  // the largest bound that enough keys reach
  for (Key bit = std::bit_floor(all); bit != 0; bit >>= 1) {
    const std::size_t count = reach(least | bit);
    if (count >= chosen.size()) least |= bit;
    if (count == chosen.size()) break;
  }
  std::size_t ties = chosen.size() - (least == std::numeric_limits<Key>::max() ? 0 : reach(least + 1));
  for (std::size_t i = 0, taken = 0; taken < chosen.size(); ++i) {
    const Key k = key(i);
    if (k < least || (k == least && ties == 0)) continue;
    if (k == least) --ties;
    chosen[taken++] = static_cast<std::uint32_t>(i);
  }
}

}  // namespace detail

/// The `chosen.size()` columns of largest score, ascending; of equal scores the lowest column.
/// @pre chosen.size() <= score.size(), no NaN. Cost: at most 66 vectorised passes over the scores
inline void select_largest(std::span<const double> score, std::span<std::uint32_t> chosen) noexcept {
  constexpr std::uint64_t sign = std::uint64_t{1} << 63;
  detail::take_largest<std::uint64_t>(
      score.size(),
      [s = score.data()](std::size_t j) {  // in the order of the scores; -0 like 0
        const auto bits = std::bit_cast<std::uint64_t>(s[j] + 0.0);
        return (bits & sign) != 0 ? ~bits : bits | sign;
      },
      chosen);
}

/// The same by magnitude. @pre chosen.size() <= values.size(), no NaN
inline void select_largest_magnitude(std::span<const float> values, std::span<std::uint32_t> chosen) noexcept {
  detail::take_largest<std::uint32_t>(
      values.size(), [v = values.data()](std::size_t j) { return std::bit_cast<std::uint32_t>(v[j]) & 0x7fffffffu; },
      chosen);
}

/// Fills `chosen` with columns drawn without replacement from those of [0, n) that are not in `taken` (ascending); all
/// ascending. The draw depends on (seed, row) only. @pre taken.size() + chosen.size() <= n
template <class Isa = isa>
void select_random(std::size_t n, std::span<const std::uint32_t> taken, std::uint64_t seed, std::size_t row,
                   std::span<std::uint32_t> chosen) {
  std::vector<std::uint32_t> rest;
  rest.reserve(n - taken.size());
  for (std::uint32_t j = 0, next = 0; j < n; ++j) {
    if (next < taken.size() && taken[next] == j)
      ++next;
    else
      rest.push_back(j);
  }
  const counter_random random(seed, row);
  for (std::size_t i = 0; i < chosen.size(); ++i) {  // the first steps of a Fisher-Yates shuffle
    std::swap(rest[i], rest[i + random.below(static_cast<std::uint32_t>(rest.size() - i), i)]);
    chosen[i] = rest[i];
  }
  std::sort(chosen.begin(), chosen.end());
}

}  // namespace qwha::inline QWHA_ISA
