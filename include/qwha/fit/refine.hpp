// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Value refinement (paper section 3.3): the coefficients on a support that minimise a row's layer-output error.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

#include <qwha/base/aligned_buffer.hpp>
#include <qwha/base/config.hpp>
#include <qwha/base/finite.hpp>
#include <qwha/fit/cholesky.hpp>
#include <qwha/fit/dot.hpp>
#include <qwha/fit/row_objective.hpp>

namespace qwha::inline QWHA_ISA {

/// Least squares on supports of one row after another: the workspace of refinement and of pursuit. One per thread.
///
/// Numerics: the normal equations (G_JJ + λ I) fᵀ = b_J + λ c_J by Cholesky in double. Where a pivot falls below 1e-12
/// of its diagonal (fewer tokens than inputs, no damping) a ridge of 1e-11 of the mean diagonal is added, and tenfold
/// more until the factorisation holds; what cannot be helped gives f = 0. Never NaN.
template <class Isa = isa>
class support_solver {
 public:
  /// Minimises the damped objective on the support. @param support  columns, in any order
  /// @returns f, valid until the next call; all zero when there is nothing to gain
  /// @par Cost  |J|³ / 6 fused multiply-adds and |J|² / 2 scattered reads of G
  std::span<const double> solve(const row_objective& row, std::span<const std::uint32_t> support) {
    gather(row, support);
    const std::size_t n = support.size();
    double mean = row.damping;
    for (std::size_t j = 0; j < n; ++j) mean += gram_.column(j)[j] / static_cast<double>(n);
    for (double ridge = 0; n != 0 && mean > 0 && ridge <= mean; ridge = ridge == 0 ? 1e-11 * mean : 10 * ridge) {
      if (!factor_.factorise(gram_, row.damping + ridge)) continue;
      factor_.solve(values());
      if (all_finite(values_.data(), n)) return values();
    }
    solved_ = false;
    return zeros();
  }

  /// Reads G_JJ, b_J and c_J of a row: what `squared_error` and `spectrum` then refer to.
  void gather(const row_objective& row, std::span<const std::uint32_t> support) {
    const std::size_t n = support.size();
    gram_.resize(n);
    detail::ensure_size(values_, n);
    detail::ensure_size(spectrum_, n);
    detail::ensure_size(product_, n);
    energy_ = row.energy;
    solved_ = true;
    for (std::size_t j = 0; j < n; ++j) {
      const double* QWHA_RESTRICT g = row.gram.row(support[j]);
      double* QWHA_RESTRICT to = gram_.column(j);
      for (std::size_t i = j; i < n; ++i) to[i] = g[support[i]];
      to[n] = row.damped_product(support[j]);
      gram_.clear_padding(j);
      product_[j] = row.product[support[j]];
      spectrum_[j] = static_cast<double>(row.spectrum[support[j]]);
    }
  }

  /// ‖(e - f T) X‖² of the undamped objective for values on the support read last; at least 0.
  double squared_error(std::span<const double> f) {
    detail::ensure_size(padded_, f.size() + detail::factor_panel);
    std::copy(f.begin(), f.end(), padded_.begin());
    std::fill_n(padded_.data() + f.size(), detail::factor_panel, 0.0);
    const double linear = detail::dot<Isa>(f.data(), product_.data(), f.size());
    return std::max(0.0, energy_ - 2 * linear + gram_.quadratic(padded_.data()));
  }

  /// c_J: the values that bring F T closest to E itself, whatever the activations.
  std::span<const double> spectrum() const noexcept { return {spectrum_.data(), gram_.order()}; }
  /// As many zeros, in place of the last solution.
  std::span<const double> zeros() noexcept {
    std::fill_n(values_.data(), gram_.order(), 0.0);
    return values();
  }

  /// diag((G_JJ + λ I)⁻¹) of the last `solve`: what a coefficient is worth is f_j² over it. Cost: |J|³ / 6
  std::span<const double> inverse_diagonal() {
    const std::size_t n = gram_.order();
    detail::ensure_size(inverse_diagonal_, n);
    detail::ensure_size(column_, n);
    for (std::size_t k = 0; k < n; ++k) {  // column k of L⁻¹ by forward substitution; its squares add up
      if (!solved_) {
        inverse_diagonal_[k] = 1;
        continue;
      }
      double* QWHA_RESTRICT x = column_.data();
      std::fill(x + k, x + n, 0.0);
      x[k] = 1;
      double squares = 0;
      for (std::size_t i = k; i < n; ++i) {
        const double solved = x[i] * factor_.inverse_pivot(i);
        squares += solved * solved;
        const double* QWHA_RESTRICT l = factor_.column(i);
        for (std::size_t m = i + 1; m < n; ++m) x[m] -= solved * l[m];
      }
      inverse_diagonal_[k] = squares;
    }
    return {inverse_diagonal_.data(), n};
  }

  /// By how much the damped objective lies below that of f = 0, for the last `solve`.
  double damped_gain() const {
    double gain = 0;
    for (std::size_t j = 0; j < gram_.order(); ++j) gain += values_[j] * gram_.column(j)[gram_.order()];
    return gain;
  }

 private:
  std::span<double> values() noexcept { return {values_.data(), gram_.order()}; }

  detail::bordered_columns gram_;  // G_JJ without damping, bordered by b_J + λ c_J
  detail::cholesky<Isa> factor_;
  aligned_buffer<double> values_, product_, spectrum_, padded_, inverse_diagonal_, column_;
  double energy_ = 0;
  bool solved_ = false;
};

/// Values on the support, valid until the solver's next call, and the squared error that they leave.
struct refined_row {
  std::span<const double> values;
  double squared_error;
};

/// Refined values of a row, or, where damping or rounding made them worse on the undamped objective, the better of the
/// unrefined values c_J and zero: a row's error is never raised.
template <class Isa>
refined_row refine_row(const row_objective& row, std::span<const std::uint32_t> support, support_solver<Isa>& solver) {
  refined_row best{solver.solve(row, support), 0};
  best.squared_error = solver.squared_error(best.values);
  if (const double e = solver.squared_error(solver.spectrum()); e < best.squared_error) best = {solver.spectrum(), e};
  if (row.energy < best.squared_error) best = {solver.zeros(), row.energy};
  return best;
}

}  // namespace qwha::inline QWHA_ISA
