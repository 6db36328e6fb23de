// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Exchange for one row: coefficients that cost little make room for those that promise more.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <span>
#include <vector>

#include <qwha/base/aligned_buffer.hpp>
#include <qwha/base/config.hpp>
#include <qwha/fit/refine.hpp>
#include <qwha/fit/row_objective.hpp>
#include <qwha/fit/selection.hpp>
#include <qwha/fit/spectral_correlation.hpp>

namespace qwha::inline QWHA_ISA {

/// Exchange: the coefficients that cost least to lose make room for those that promise most, as long as the damped
/// error falls (in the spirit of CoSaMP; Needell, Tropp 2009). One object per thread; its memory is reused.
///
/// A round drops the m smallest f_j² / (G_JJ⁻¹)_jj, adds the m largest r_j² / G_jj and solves; a round that gains
/// nothing is undone and m halved.
/// Numerics: what to try is found in float, what it brings in double.
template <class Isa = isa>
class support_exchange {
 public:
  /// Refers to `gram`, which must outlive it.
  explicit support_exchange(const spectral_correlation& gram) : gram_(&gram), residual_(gram.padded()) {}

  /// @param rounds  at most this many; 0 leaves the support alone
  /// @pre `row` has the Gram and the damping of the constructor
  /// @par Cost  a round: in |J| + |J|³ / 2 fused multiply-adds
  void improve(const row_objective& row, std::span<std::uint32_t> chosen, support_solver<Isa>& solver, int rounds) {
    const std::size_t n = row.in(), size = chosen.size();
    if (rounds == 0 || size == 0 || size == n) return;
    current_.assign(chosen.begin(), chosen.end());
    trial_.resize(size);
    order_.resize(size);
    worth_.resize(size);
    double best_gain = 0;
    bool fresh = true;
    for (std::size_t m = std::min(std::max<std::size_t>(size / 8, 1), n - size); rounds > 0 && m > 0; --rounds) {
      if (fresh) {  // r, and what each member is worth, for a support that was not looked at yet
        const std::span<const double> f = solver.solve(row, current_);
        best_gain = solver.damped_gain();
        const std::span<const double> inverse = solver.inverse_diagonal();
        for (std::size_t k = 0; k < size; ++k) worth_[k] = f[k] * f[k] / inverse[k];
        correlate(row, f);
        fresh = false;
      }
      std::iota(order_.begin(), order_.end(), 0u);
      std::nth_element(
          order_.begin(), order_.begin() + static_cast<std::ptrdiff_t>(m), order_.end(),
          [&](std::uint32_t a, std::uint32_t b) { return worth_[a] < worth_[b] || (worth_[a] == worth_[b] && a < b); });
      for (std::size_t k = m; k < size; ++k) trial_[k] = current_[order_[k]];
      select_largest_magnitude(std::span<const float>(residual_.data(), n), std::span(trial_).first(m));
      solver.solve(row, trial_);
      if (solver.damped_gain() > best_gain * (1 + 1e-9)) {
        current_.swap(trial_);
        fresh = true;
      } else {
        m /= 2;
      }
    }
    std::copy(current_.begin(), current_.end(), chosen.begin());
    std::sort(chosen.begin(), chosen.end());
  }

 private:
  /// |r| = |b - G f| with every column of G scaled to unit length; 0 for the members of J and above for all others.
  void correlate(const row_objective& row, std::span<const double> f) {
    constexpr std::size_t together = 8;
    float* QWHA_RESTRICT r = residual_.data();
    for (std::size_t j = 0; j < row.in(); ++j) r[j] = static_cast<float>(row.damped_product(j) * gram_->scale(j));
    for (std::size_t j = row.in(); j < gram_->padded(); ++j) r[j] = 0;
    // f_k in the units of the correlations; a column without activity has f_k = 0 and a row of zeros.
    const auto weight = [&](std::size_t k) {
      return gram_->active(current_[k]) ? static_cast<float>(f[k] / gram_->scale(current_[k])) : 0.0f;
    };
    std::size_t k = 0;
    for (; k + together <= f.size(); k += together) {
      const float *g0 = gram_->row(current_[k]), *g1 = gram_->row(current_[k + 1]), *g2 = gram_->row(current_[k + 2]),
                  *g3 = gram_->row(current_[k + 3]), *g4 = gram_->row(current_[k + 4]),
                  *g5 = gram_->row(current_[k + 5]), *g6 = gram_->row(current_[k + 6]),
                  *g7 = gram_->row(current_[k + 7]);
      const float w0 = weight(k), w1 = weight(k + 1), w2 = weight(k + 2), w3 = weight(k + 3), w4 = weight(k + 4),
                  w5 = weight(k + 5), w6 = weight(k + 6), w7 = weight(k + 7);
      for (std::size_t j = 0; j < gram_->padded(); ++j)
        r[j] -= ((w0 * g0[j] + w1 * g1[j]) + (w2 * g2[j] + w3 * g3[j])) +
                ((w4 * g4[j] + w5 * g5[j]) + (w6 * g6[j] + w7 * g7[j]));
    }
    for (; k < f.size(); ++k) {
      const float* g = gram_->row(current_[k]);
      const float w = weight(k);
      for (std::size_t j = 0; j < gram_->padded(); ++j) r[j] -= w * g[j];
    }
    for (std::size_t j = 0; j < row.in(); ++j) r[j] = std::abs(r[j]) + std::numeric_limits<float>::min();
    for (const std::uint32_t j : current_) r[j] = 0;
  }

  const spectral_correlation* gram_;
  aligned_buffer<float> residual_;
  std::vector<std::uint32_t> current_, trial_, order_;
  std::vector<double> worth_;
};

}  // namespace qwha::inline QWHA_ISA
