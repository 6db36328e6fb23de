// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Which coefficients of a row become trainable: the selection strategies that look at each coefficient by itself.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
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

/// The `chosen.size()` columns of largest score, ascending; of equal scores the lowest column.
/// @pre chosen.size() <= score.size(), no NaN. Cost: O(n) expected, n = score.size()
inline void select_largest(std::span<const double> score, std::span<std::uint32_t> chosen) {
  std::vector<std::uint32_t> order(score.size());
  std::iota(order.begin(), order.end(), 0u);
  const auto better = [&](std::uint32_t a, std::uint32_t b) {
    return score[a] > score[b] || (score[a] == score[b] && a < b);
  };
  const auto end = order.begin() + static_cast<std::ptrdiff_t>(chosen.size());
  if (end != order.end()) std::nth_element(order.begin(), end, order.end(), better);
  std::copy(order.begin(), end, chosen.begin());
  std::sort(chosen.begin(), chosen.end());
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
