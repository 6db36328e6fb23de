// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Greedy selection for one row: forward orthogonal least squares, then exchange.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include <qwha/base/aligned_buffer.hpp>
#include <qwha/base/config.hpp>
#include <qwha/fit/refine.hpp>
#include <qwha/fit/row_objective.hpp>
#include <qwha/fit/selection.hpp>

namespace qwha::inline QWHA_ISA {

/// Forward orthogonal least squares on the damped objective of a row: at each step the coefficient that lowers the
/// least squares error most, exactly. One object per thread; its memory is reused from row to row.
///
/// Invariants after the choice of J, in units of mean(diag G) and of the largest |b_j|:
///   r = b - G_:J f      correlation of every column with the residual
///   d_j                 squared length of column j outside the span of the columns in J
///   q_k                 k-th chosen column of G, orthogonalised (a row of the Cholesky factor of G): r and d lose
///                       q_k times its coefficient and q_k² when k joins
/// Adding j lowers the squared error by r_j² / d_j.
///
/// Numerics: float; the values are solved for in double afterwards. A column with d_j below 1e-5 of G_jj is spent.
/// Cost: in |J|² / 2 fused multiply-adds; 4 in |J| bytes.
template <class Isa = isa>
class orthogonal_pursuit {
 public:
  /// Steps made one at a time; what a budget asks beyond them is taken at once by r_j² / d_j, so that a row whose
  /// budget nears `in` does not cost in³.
  static constexpr std::size_t max_steps = 4096;

  /// Fills `chosen` (ascending). @pre chosen.size() <= row.in()
  void select(const row_objective& row, std::span<std::uint32_t> chosen) {
    if (chosen.size() == row.in()) {
      std::iota(chosen.begin(), chosen.end(), 0u);
      return;
    }
    const std::size_t steps = start(row, std::min(chosen.size(), max_steps));
    std::size_t count = 0;
    while (count < steps && candidate_ < row.in()) {
      chosen[count] = static_cast<std::uint32_t>(candidate_);
      take(row, count++);
    }
    if (count < chosen.size()) fill(row, chosen, count);
    std::sort(chosen.begin(), chosen.end());
  }

 private:
  static constexpr std::size_t chunk = 128;    // columns updated together: what is read and written stays in L1
  static constexpr float spent = 1e30f;        // d of a column that cannot be taken any more
  static constexpr float least_share = 1e-5f;  // of G_jj that must lie outside the span

  /// Sets r and d for J empty and the first candidate. @returns the number of steps there is memory for: `steps`
  std::size_t start(const row_objective& row, std::size_t steps) {
    const std::size_t n = row.in();
    padded_ = (n + chunk - 1) / chunk * chunk;
    steps_ = steps;
    if (columns_.size() < steps * padded_) columns_ = aligned_buffer<float>(steps * padded_);
    residual_.assign(padded_, 0.0f);
    outside_.assign(padded_, spent);
    least_.assign(padded_, 0.0f);
    double gram_sum = 0, largest = 0;
    for (std::size_t j = 0; j < n; ++j) {
      gram_sum += row.damped_gram(j);
      largest = std::max(largest, std::abs(row.damped_product(j)));
    }
    gram_scale_ = gram_sum > 0 ? static_cast<double>(n) / gram_sum : 0;
    const double product_scale = largest > 0 ? 1 / largest : 0;
    for (std::size_t j = 0; j < n; ++j) {
      const auto g = static_cast<float>(gram_scale_ * row.damped_gram(j));
      residual_[j] = static_cast<float>(product_scale * row.damped_product(j));
      least_[j] = least_share * g;
      outside_[j] = g > least_share ? g : spent;
    }
    best_ = {};
    candidate_ = n;
    for (std::size_t first = 0; first < padded_; first += chunk) look_for_better(first);
    return steps;
  }

  /// Adds the candidate as member `k` of J, updates r and d in one pass and finds the next candidate.
  void take(const row_objective& row, std::size_t k) {
    const std::size_t j = candidate_;
    const float scale = 1 / std::sqrt(outside_[j]);
    const float coefficient = residual_[j] * scale;
    weights_.resize(steps_);
    for (std::size_t i = 0; i < k; ++i) weights_[i] = column(j / chunk, i)[j % chunk];
    best_ = {};
    candidate_ = row.in();
    for (std::size_t first = 0; first < padded_; first += chunk) {
      float* QWHA_RESTRICT q = column(first / chunk, k);
      gram_chunk(row, j, first, q);
      project_out(first / chunk, k, q);
      float* QWHA_RESTRICT r = residual_.data() + first;
      float* QWHA_RESTRICT d = outside_.data() + first;
      const float* QWHA_RESTRICT least = least_.data() + first;
      for (std::size_t i = 0; i < chunk; ++i) {
        q[i] *= scale;
        r[i] -= coefficient * q[i];
        const float left = d[i] - q[i] * q[i];
        d[i] = left > least[i] ? left : spent;
      }
      if (j / chunk == first / chunk) outside_[j] = spent;
      look_for_better(first);
    }
  }

  /// q <- the chunk of column j of G in float.
  void gram_chunk(const row_objective& row, std::size_t j, std::size_t first, float* QWHA_RESTRICT q) const {
    const double* QWHA_RESTRICT g = row.gram.row(j) + first;
    const std::size_t count = std::min(chunk, row.in() - first);
    for (std::size_t i = 0; i < count; ++i) q[i] = static_cast<float>(gram_scale_ * g[i]);
    for (std::size_t i = count; i < chunk; ++i) q[i] = 0;
    if (j >= first && j < first + chunk) q[j - first] = static_cast<float>(gram_scale_ * row.damped_gram(j));
  }

  /// q -= sum over i < k of weights_i q_i, on one chunk; eight columns a pass, so that q is seldom written.
  void project_out(std::size_t block, std::size_t k, float* QWHA_RESTRICT q) const {
    std::size_t i = 0;
    for (; i + 8 <= k; i += 8) {
      const float* QWHA_RESTRICT p = column(block, i);
      const float* w = weights_.data() + i;
      const float w0 = w[0], w1 = w[1], w2 = w[2], w3 = w[3], w4 = w[4], w5 = w[5], w6 = w[6], w7 = w[7];
      for (std::size_t l = 0; l < chunk; ++l)
        q[l] -= ((w0 * p[l] + w1 * p[l + chunk]) + (w2 * p[l + 2 * chunk] + w3 * p[l + 3 * chunk])) +
                ((w4 * p[l + 4 * chunk] + w5 * p[l + 5 * chunk]) + (w6 * p[l + 6 * chunk] + w7 * p[l + 7 * chunk]));
    }
    for (; i < k; ++i) {
      const float* QWHA_RESTRICT p = column(block, i);
      const float w = weights_[i];
      for (std::size_t l = 0; l < chunk; ++l) q[l] -= w * p[l];
    }
  }

  /// Updates the candidate from one chunk. Divides only where something beats the best so far; of equals the lowest.
  void look_for_better(std::size_t first) {
    const float* QWHA_RESTRICT r = residual_.data() + first;
    const float* QWHA_RESTRICT d = outside_.data() + first;
    int better = 0;
    for (std::size_t i = 0; i < chunk; ++i) better |= r[i] * r[i] > best_ * d[i] && d[i] < spent;
    if (better == 0) return;
    for (std::size_t i = 0; i < chunk; ++i) {
      if (const float gain = r[i] * r[i] / d[i]; d[i] < spent && gain > best_) {
        best_ = gain;
        candidate_ = first + i;
      }
    }
  }

  /// Takes the rest by r_j² / d_j, and of columns without gain the largest |c_j|.
  void fill(const row_objective& row, std::span<std::uint32_t> chosen, std::size_t count) {
    std::vector<double> score(row.in());
    float largest = 0;
    for (const float c : row.spectrum) largest = std::max(largest, std::abs(c));
    for (std::size_t j = 0; j < row.in(); ++j) {
      const float gain = outside_[j] < spent ? residual_[j] * residual_[j] / outside_[j] : 0.0f;
      const float share = largest > 0 ? std::abs(row.spectrum[j]) / largest : 0.0f;
      score[j] = gain > 0 ? gain : share - 1.0f;
    }
    for (std::size_t k = 0; k < count; ++k) score[chosen[k]] = -2.0;
    select_largest(score, chosen.subspan(count));
  }

  float* column(std::size_t block, std::size_t k) noexcept { return columns_.data() + (block * steps_ + k) * chunk; }
  const float* column(std::size_t block, std::size_t k) const noexcept {
    return columns_.data() + (block * steps_ + k) * chunk;
  }

  std::size_t padded_ = 0, steps_ = 0, candidate_ = 0;
  double gram_scale_ = 0;
  float best_ = 0;
  aligned_buffer<float> columns_;  // [padded / chunk, steps, chunk]: a step streams each chunk's part once
  std::vector<float> residual_, outside_, least_, weights_;
};

/// Exchange: the coefficients that cost least to lose make room for those that promise most, as long as the damped
/// error falls (in the spirit of CoSaMP; Needell, Tropp 2009).
///
/// A round drops the m smallest f_j² / (G_JJ⁻¹)_jj, adds the m largest r_j² / G_jj and solves; a round that gains
/// nothing is undone and m halved.
/// @param rounds  at most this many; 0 leaves the support alone
/// @par Cost  a round: in |J| + |J|³ / 2 fused multiply-adds
template <class Isa>
void exchange(const row_objective& row, std::span<std::uint32_t> chosen, support_solver<Isa>& solver, int rounds) {
  const std::size_t n = row.in(), size = chosen.size();
  if (rounds == 0 || size == 0 || size == n) return;
  std::vector<std::uint32_t> current(chosen.begin(), chosen.end()), trial(size), order(size);
  std::vector<double> residual(n), worth(size), gain(n);
  double best_gain = 0;
  bool fresh = true;
  for (std::size_t m = std::min(std::max<std::size_t>(size / 8, 1), n - size); rounds > 0 && m > 0; --rounds) {
    if (fresh) {  // r, and what each member is worth, for a support that was not looked at yet
      const std::span<const double> f = solver.solve(row, current);
      best_gain = solver.damped_gain();
      const std::span<const double> inverse = solver.inverse_diagonal();
      for (std::size_t k = 0; k < size; ++k) worth[k] = f[k] * f[k] / inverse[k];
      for (std::size_t j = 0; j < n; ++j) residual[j] = row.damped_product(j);
      for (std::size_t k = 0; k < size; ++k) {
        const double* g = row.gram.row(current[k]);
        for (std::size_t j = 0; j < n; ++j) residual[j] -= f[k] * g[j];
      }
      for (std::size_t j = 0; j < n; ++j)
        gain[j] = row.damped_gram(j) > 0 ? residual[j] * residual[j] / row.damped_gram(j) : 0;
      for (const std::uint32_t j : current) gain[j] = -1;
      fresh = false;
    }
    std::iota(order.begin(), order.end(), 0u);
    std::nth_element(
        order.begin(), order.begin() + static_cast<std::ptrdiff_t>(m), order.end(),
        [&](std::uint32_t a, std::uint32_t b) { return worth[a] < worth[b] || (worth[a] == worth[b] && a < b); });
    for (std::size_t k = m; k < size; ++k) trial[k] = current[order[k]];
    select_largest(gain, std::span(trial).first(m));
    solver.solve(row, trial);
    if (solver.damped_gain() > best_gain * (1 + 1e-9)) {
      current = trial;
      fresh = true;
    } else {
      m /= 2;
    }
  }
  std::copy(current.begin(), current.end(), chosen.begin());
  std::sort(chosen.begin(), chosen.end());
}

}  // namespace qwha::inline QWHA_ISA
