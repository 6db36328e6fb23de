// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Greedy selection for one row: forward orthogonal least squares.

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <span>
#include <vector>

#include <qwha/base/aligned_buffer.hpp>
#include <qwha/base/backend.hpp>
#include <qwha/base/config.hpp>
#include <qwha/base/simd.hpp>
#include <qwha/fit/cholesky.hpp>
#include <qwha/fit/row_objective.hpp>
#include <qwha/fit/selection.hpp>
#include <qwha/fit/spectral_correlation.hpp>

namespace qwha::inline QWHA_ISA {

/// Forward orthogonal least squares on the damped objective of a row: at each step the coefficient that lowers the
/// least squares error most, exactly. One object per thread; its memory is reused from row to row.
///
/// Everything is in units in which G has a unit diagonal and the largest |b_j| is 1. Invariants after the choice of J:
///   r = b - G_:J f      correlation of every column with the residual
///   d_j                 squared length of column j outside the span of the columns in J
///   q_k                 k-th chosen column of G, orthogonalised (a row of the Cholesky factor of G): r and d lose
///                       q_k times its coefficient and q_k² when k joins
/// Adding j lowers the squared error by r_j² / d_j.
///
/// A step streams all earlier q once, which is more than caches near the core hold. So the columns that gain most are
/// orthogonalised together, in advance, with several products for each number read; a step whose winner is among them,
/// as most are, only has to take out the q that came since.
///
/// Numerics: float; the values are solved for in double afterwards. A column with d_j below 1e-5 is spent.
/// Cost: in |J|² / 2 fused multiply-adds, about twice; 4 in |J| bytes.
template <class Isa = isa>
class orthogonal_pursuit {
 public:
  /// Steps made one at a time; what a budget asks beyond them is taken at once by r_j² / d_j, so that a row whose
  /// budget nears `in` does not cost in³.
  static constexpr std::size_t max_steps = 4096;

  /// Refers to `gram`, which must outlive it.
  explicit orthogonal_pursuit(const spectral_correlation& gram) : gram_(&gram) {
    detail::ensure_size(residual_, padded());
    detail::ensure_size(outside_, padded());
    detail::ensure_size(gains_, padded());
    detail::ensure_size(chunk_best_, padded() / chunk);
    detail::ensure_size(ahead_, ahead_columns * padded());
  }

  /// Fills `chosen` (ascending). @pre chosen.size() <= row.in(), `row` has the Gram and the damping of the constructor
  void select(const row_objective& row, std::span<std::uint32_t> chosen) {
    if (chosen.size() == row.in()) {
      std::iota(chosen.begin(), chosen.end(), 0u);
      return;
    }
    start(row, std::min(chosen.size(), max_steps));
    std::size_t count = 0;
    for (std::size_t j = best(); count < steps_ && j < row.in(); j = best()) {
      chosen[count] = static_cast<std::uint32_t>(j);
      take(j, count++);
    }
    if (count < chosen.size()) fill(row, chosen, count);
    std::sort(chosen.begin(), chosen.end());
  }

 private:
  using v = vec<float, lanes<native, float>>;
  static constexpr std::size_t chunk = spectral_correlation::chunk;  // columns updated together, in L1
  static constexpr std::size_t ahead_columns = 16;                   // orthogonalised in advance
  static constexpr std::size_t together = 8;                         // of those, in one pass over the q
  static constexpr float spent = 1e30f;                              // d of a column that cannot be taken any more
  static constexpr float least = 1e-5f;                              // of a column that must lie outside the span
  static constexpr float least_gain = 1e-20f;                        // below, far, what rounding of the first leaves

  /// A column of G without its parts along the first `level` of the q.
  struct ahead_column {
    std::size_t column, level;
  };
  static constexpr std::size_t none = std::numeric_limits<std::size_t>::max();

  std::size_t padded() const noexcept { return gram_->padded(); }
  float* chosen_column(std::size_t block, std::size_t k) noexcept {
    return columns_.data() + (block * steps_ + k) * chunk;
  }
  float entry(std::size_t k, std::size_t j) noexcept { return chosen_column(j / chunk, k)[j % chunk]; }

  /// r and d for J empty.
  void start(const row_objective& row, std::size_t steps) {
    steps_ = steps;
    detail::ensure_size(columns_, steps * padded());
    detail::ensure_size(weights_, together * steps);
    for (ahead_column& a : ahead_list_) a.column = none;
    double largest = 0;
    for (std::size_t j = 0; j < row.in(); ++j)
      largest = std::max(largest, std::abs(row.damped_product(j) * gram_->scale(j)));
    const double unit = largest > 0 ? 1 / largest : 0;
    for (std::size_t j = 0; j < row.in(); ++j) {
      residual_[j] = static_cast<float>(row.damped_product(j) * gram_->scale(j) * unit);
      outside_[j] = gram_->active(j) ? 1.0f : spent;
    }
    for (std::size_t j = row.in(); j < padded(); ++j) {
      residual_[j] = 0;
      outside_[j] = spent;
    }
    for (std::size_t first = 0; first < padded(); first += chunk) weigh(first);
  }

  /// Gains r² / d of a chunk and their maximum.
  void weigh(std::size_t first) noexcept {
    const float* QWHA_RESTRICT r = residual_.data() + first;
    const float* QWHA_RESTRICT d = outside_.data() + first;
    float* QWHA_RESTRICT gain = gains_.data() + first;
    for (std::size_t i = 0; i < chunk; ++i) gain[i] = r[i] * r[i] / d[i];
    find_best_of(first / chunk);
  }
  void find_best_of(std::size_t block) noexcept {
    const float* QWHA_RESTRICT gain = gains_.data() + block * chunk;
    std::uint32_t most = 0;  // the bits of numbers that are not negative order like the numbers
    for (std::size_t i = 0; i < chunk; ++i) most = std::max(most, std::bit_cast<std::uint32_t>(gain[i]));
    chunk_best_[block] = std::bit_cast<float>(most);
  }

  /// The column of largest gain, the first of equals; `none` when nothing is to be gained.
  std::size_t best() const noexcept {
    const float* const winner = std::max_element(chunk_best_.begin(), chunk_best_.begin() + padded() / chunk);
    if (!(*winner > least_gain)) return none;
    const float* gain = gains_.data() + static_cast<std::size_t>(winner - chunk_best_.begin()) * chunk;
    while (*gain != *winner) ++gain;
    return static_cast<std::size_t>(gain - gains_.data());
  }

  /// Adds column j as member k of J: q_k, and r, d and gains after it, in one pass.
  void take(std::size_t j, std::size_t k) {
    const std::size_t slot = slot_of(j, k);
    const std::size_t level = ahead_list_[slot].level;
    ahead_list_[slot].column = none;
    const float* column = ahead_.data() + slot * padded();
    const float scale = 1 / std::sqrt(outside_[j]);
    const float coefficient = residual_[j] * scale;
    for (std::size_t i = level; i < k; ++i) weights_[i - level] = -entry(i, j);
    for (std::size_t first = 0; first < padded(); first += chunk) {
      float* QWHA_RESTRICT q = chosen_column(first / chunk, k);
      take_out<1>(first / chunk, level, k, {column + first}, {q});
      float* QWHA_RESTRICT r = residual_.data() + first;
      float* QWHA_RESTRICT d = outside_.data() + first;
      for (std::size_t i = 0; i < chunk; ++i) {
        q[i] *= scale;
        r[i] -= coefficient * q[i];
        const float left = d[i] - q[i] * q[i];
        d[i] = left > least ? left : spent;
      }
      if (j / chunk == first / chunk) outside_[j] = spent;
      weigh(first);
    }
  }

  /// Where column j was orthogonalised in advance; it is now, with others that promise most, if it was not.
  std::size_t slot_of(std::size_t j, std::size_t k) {
    const auto find = [&] {
      return static_cast<std::size_t>(std::ranges::find(ahead_list_, j, &ahead_column::column) - ahead_list_.begin());
    };
    if (const std::size_t slot = find(); slot < ahead_columns) return slot;
    look_ahead(k);
    return find();
  }

  /// Orthogonalises the columns of largest gain that are not ahead yet. Makes room among those that are: the ones that
  /// promise most stay.
  void look_ahead(std::size_t k) {
    std::array<std::size_t, ahead_columns> seen{};
    std::array<std::size_t, together> fresh{};
    std::array<bool, ahead_columns> keep{};
    const std::size_t wanted = std::min(together, steps_ - k);
    std::size_t visited = 0, made = 0;
    for (std::size_t j = best(); j != none && made < wanted && visited < ahead_columns; j = best()) {
      seen[visited++] = j;
      gains_[j] = 0;  // for now: the next best is wanted
      find_best_of(j / chunk);
      const auto slot = std::ranges::find(ahead_list_, j, &ahead_column::column);
      if (slot == ahead_list_.end())
        fresh[made++] = j;
      else if (visited - made <= ahead_columns - together)
        keep[static_cast<std::size_t>(slot - ahead_list_.begin())] = true;
    }
    for (std::size_t i = 0; i < visited; ++i) weigh(seen[i] / chunk * chunk);
    std::array<std::size_t, together> slots{};
    for (std::size_t slot = 0, c = 0; slot < ahead_columns; ++slot) {
      if (keep[slot]) continue;
      ahead_list_[slot] = c < made ? ahead_column{fresh[c], k} : ahead_column{none, 0};
      if (c < made) slots[c++] = slot;
    }
    if (made == 1)
      orthogonalise<1>(std::span(slots).first(made), k);
    else if (made <= together / 2)
      orthogonalise<together / 2>(std::span(slots).first(made), k);
    else
      orthogonalise<together>(std::span(slots).first(made), k);
  }

  /// Columns of G into at most C slots, without their parts along the first k of the q.
  template <std::size_t C>
  void orthogonalise(std::span<const std::size_t> slots, std::size_t k) {
    float spare[chunk];
    std::array<float*, C> target;
    std::array<const float*, C> source;
    for (std::size_t c = 0; c < C; ++c) {  // of fewer than C, the first again
      const std::size_t slot = slots[c < slots.size() ? c : 0], j = ahead_list_[slot].column;
      source[c] = gram_->row(j);
      for (std::size_t i = 0; i < k; ++i) weights_[i * C + c] = -entry(i, j);
    }
    for (std::size_t first = 0; first < padded(); first += chunk) {
      for (std::size_t c = 0; c < C; ++c)
        target[c] = c < slots.size() ? ahead_.data() + slots[c] * padded() + first : spare;
      take_out<C>(first / chunk, 0, k, source, target);
      for (const float*& from : source) from += chunk;
    }
  }

  /// target_c = source_c + sum over q from `begin` to `end` of its weight times q, on one chunk, for C columns.
  template <std::size_t C>
  void take_out(std::size_t block, std::size_t begin, std::size_t end, const std::array<const float*, C>& source,
                const std::array<float*, C>& target) noexcept {
    constexpr std::size_t width = v::size, registers = width >= 16 ? 16 : 8;  // of sums
    constexpr std::size_t vectors = std::clamp<std::size_t>(registers / C, 1, std::min<std::size_t>(4, chunk / width));
    for (std::size_t at = 0; at < chunk; at += vectors * width) {
      v sum[C][vectors];
      for (std::size_t c = 0; c < C; ++c)
        for (std::size_t i = 0; i < vectors; ++i) sum[c][i] = v::load(source[c] + at + i * width);
      const float* q = chosen_column(block, begin) + at;
      const float* w = weights_.data();
      for (std::size_t k = begin; k < end; ++k, q += chunk, w += C)
        for (std::size_t i = 0; i < vectors; ++i) {
          const v column = v::load(q + i * width);
          for (std::size_t c = 0; c < C; ++c) sum[c][i] = fma(column, v::splat(w[c]), sum[c][i]);
        }
      for (std::size_t c = 0; c < C; ++c)
        for (std::size_t i = 0; i < vectors; ++i) sum[c][i].store(target[c] + at + i * width);
    }
  }

  /// Takes the rest by r_j² / d_j, and of columns without gain the largest |c_j|.
  void fill(const row_objective& row, std::span<std::uint32_t> chosen, std::size_t count) {
    std::vector<double> score(row.in());
    float largest = 0;
    for (const float c : row.spectrum) largest = std::max(largest, std::abs(c));
    for (std::size_t j = 0; j < row.in(); ++j) {
      const float share = largest > 0 ? std::abs(row.spectrum[j]) / largest : 0.0f;
      score[j] = gains_[j] > least_gain ? gains_[j] : share - 1.0f;
    }
    for (std::size_t k = 0; k < count; ++k) score[chosen[k]] = -2.0;
    select_largest(score, chosen.subspan(count));
  }

  const spectral_correlation* gram_;
  std::size_t steps_ = 0;
  aligned_buffer<float> columns_;  // [padded / chunk, steps, chunk]: a step streams each chunk's part once
  aligned_buffer<float> ahead_;    // [ahead_columns, padded]
  std::array<ahead_column, ahead_columns> ahead_list_{};  // what they are
  aligned_buffer<float> residual_, outside_, gains_, chunk_best_, weights_;
};

}  // namespace qwha::inline QWHA_ISA
