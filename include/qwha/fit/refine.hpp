// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Value refinement (paper section 3.3): the coefficients on a support that minimise a row's layer-output error.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <qwha/base/config.hpp>
#include <qwha/fit/eigen.hpp>
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
    const Eigen::Index n = gram_.rows();
    const double mean = n == 0 ? 0 : gram_.diagonal().mean();
    for (double ridge = 0; mean > 0 && ridge <= mean; ridge = ridge == 0 ? 1e-11 * mean : 10 * ridge) {
      factor_ = gram_;
      factor_.diagonal().array() += ridge;
      if (!factorise()) continue;
      values_ = product_;
      factor_.triangularView<Eigen::Lower>().solveInPlace(values_);
      factor_.triangularView<Eigen::Lower>().transpose().solveInPlace(values_);
      if (values_.allFinite()) return {values_.data(), support.size()};
    }
    factor_.setIdentity(n, n);
    values_.setZero(n);
    return {values_.data(), support.size()};
  }

  /// diag((G_JJ + λ I)⁻¹) of the last `solve`: what a coefficient is worth is f_j² over it. Cost: |J|³ / 6
  std::span<const double> inverse_diagonal() {
    const Eigen::Index n = factor_.rows();
    inverse_diagonal_.setZero(n);
    for (Eigen::Index k = 0; k < n; ++k) {  // column k of L⁻¹ by forward substitution; its squares add up
      column_.setZero(n);
      column_(k) = 1;
      double squares = 0;
      for (Eigen::Index i = k; i < n; ++i) {
        const double x = column_(i) / factor_(i, i);
        squares += x * x;
        const double* l = &factor_(0, i);
        for (Eigen::Index m = i + 1; m < n; ++m) column_(m) -= x * l[m];
      }
      inverse_diagonal_(k) = squares;
    }
    return {inverse_diagonal_.data(), static_cast<std::size_t>(n)};
  }

  /// By how much the damped objective lies below that of f = 0, for the last `solve`.
  double damped_gain() const { return values_.dot(product_); }

 private:
  using matrix = Eigen::MatrixXd;
  using vector = Eigen::VectorXd;

  void gather(const row_objective& row, std::span<const std::uint32_t> support) {
    const auto n = static_cast<Eigen::Index>(support.size());
    gram_.resize(n, n);
    product_.resize(n);
    for (Eigen::Index j = 0; j < n; ++j) {
      const std::uint32_t column = support[static_cast<std::size_t>(j)];
      const double* g = row.gram.row(column);
      for (Eigen::Index i = j; i < n; ++i) gram_(i, j) = g[support[static_cast<std::size_t>(i)]];
      gram_(j, j) += row.damping;
      product_(j) = row.damped_product(column);
    }
  }

  /// Cholesky in place; false when a pivot shows that the system is singular to working precision.
  bool factorise() {
    diagonal_ = factor_.diagonal();
    const Eigen::LLT<Eigen::Ref<matrix>, Eigen::Lower> cholesky(factor_);
    return cholesky.info() == Eigen::Success && (factor_.diagonal().array().square() > 1e-12 * diagonal_.array()).all();
  }

  matrix gram_, factor_;
  vector product_, values_, inverse_diagonal_, diagonal_, column_;
};

/// ‖(e - f T) X‖² of the undamped objective; at least 0. @pre values.size() == support.size()
template <class T>
double squared_error(const row_objective& row, std::span<const std::uint32_t> support, std::span<const T> values) {
  double linear = 0, quadratic = 0;
  for (std::size_t j = 0; j < support.size(); ++j) {
    const double* g = row.gram.row(support[j]);
    const auto value = static_cast<double>(values[j]);
    double sum = 0.5 * g[support[j]] * value;
    for (std::size_t i = 0; i < j; ++i) sum += g[support[i]] * static_cast<double>(values[i]);
    quadratic += value * sum;
    linear += value * row.product[support[j]];
  }
  return std::max(0.0, row.energy - 2 * (linear - quadratic));
}

/// Values on the support and the squared error that they leave.
struct refined_row {
  std::vector<double> values;
  double squared_error;
};

/// c_J: the values that bring F T closest to E itself, whatever the activations.
inline std::vector<double> unrefined(const row_objective& row, std::span<const std::uint32_t> support) {
  std::vector<double> values(support.size());
  for (std::size_t k = 0; k < support.size(); ++k) values[k] = static_cast<double>(row.spectrum[support[k]]);
  return values;
}

/// Refined values of a row, or, where damping or rounding made them worse on the undamped objective, the better of the
/// unrefined values c_J and zero: a row's error is never raised.
template <class Isa>
refined_row refine_row(const row_objective& row, std::span<const std::uint32_t> support, support_solver<Isa>& solver) {
  const std::span<const double> f = solver.solve(row, support);
  refined_row best{{f.begin(), f.end()}, 0};
  best.squared_error = squared_error<double>(row, support, best.values);
  std::vector<double> plain = unrefined(row, support);
  if (const double e = squared_error<double>(row, support, plain); e < best.squared_error) best = {std::move(plain), e};
  if (row.energy < best.squared_error) best = {std::vector<double>(support.size(), 0.0), row.energy};
  return best;
}

}  // namespace qwha::inline QWHA_ISA
