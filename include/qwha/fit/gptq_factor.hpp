// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// What GPTQ needs to know about the inputs of a layer: the order of its columns and how errors feed forward.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include <qwha/base/aligned_buffer.hpp>
#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/base/finite.hpp>
#include <qwha/base/rows_view.hpp>
#include <qwha/fit/eigen.hpp>
#include <qwha/fit/second_moment.hpp>
#include <qwha/fit/single_thread.hpp>

namespace qwha {

/// The factor of a second moment that GPTQ works with. Layers that read the same inputs (query, key and value; gate and
/// up) share it, and so do repeated quantizations of one layer.
///
/// With A the damped second moment in the order of the steps and A = R Rᵀ, R upper triangular, the error of a row is
/// e A eᵀ = ‖e R‖², whose part j is R_jj (e_j + sum over k < j of e_k R_kj / R_jj). So the best weight at step j, given
/// the errors e = w - wq of the steps before, is w_j + sum e_k M_kj with M = R diag(R)⁻¹. This is GPTQ (Frantar et al.
/// 2022) without its inverse: with U the Cholesky factor of A⁻¹ that it uses, R = U⁻¹ (Chee et al. 2023, theorem 6).
class gptq_factor {
 public:
  /// @param moment     S = X Xᵀ [in, in] of at least one token; its scale does not matter
  /// @param damping    A = S + damping · mean(diag S) · I; a column that no token excites has mean(diag S) in its
  /// place.
  ///                   Where A is not safely positive definite (fewer tokens than inputs, and no damping) it is raised
  ///                   tenfold until it is
  /// @param act_order  steps by falling diagonal of S, the lower column first among equals; else in stored order
  /// @par Cost     in³ / 3 multiplications in double, in² floats kept
  /// @par Numerics factorised in double, stored as float: feedback is rounded once. The same bits on any number of
  /// threads
  /// @throws value_error when S holds NaN, infinity or a negative diagonal, has seen no tokens, or damping is not in
  ///         [0, infinity)
  template <class Isa = isa>
  explicit gptq_factor(const second_moment& moment, double damping = 0.01, bool act_order = false);

  std::size_t cols() const noexcept { return order_.size(); }
  bool act_order() const noexcept { return act_order_; }
  double damping() const noexcept { return damping_; }                      ///< as used: see the constructor
  std::span<const std::uint32_t> order() const noexcept { return order_; }  ///< column of each step
  /// What a squared rounding error costs in each column, in stored order, once later columns have made up for it: R_jj²
  /// over the largest.
  std::span<const float> importance() const noexcept { return importance_; }
  rows_view<const float> feedback() const noexcept {
    return {feedback_.data(), cols(), cols()};
  }  ///< M, zero for k >= j

 private:
  template <class Isa>
  bool factorise(rows_view<const double> s, double mean);

  std::vector<std::uint32_t> order_;
  std::vector<float> importance_;
  aligned_buffer<float> feedback_;
  double damping_;
  bool act_order_;
};

template <class Isa>
gptq_factor::gptq_factor(const second_moment& moment, double damping, bool act_order)
    : damping_(damping), act_order_(act_order) {
  const rows_view<const double> s = moment.values();
  const std::size_t n = s.rows;
  if (!is_finite(damping) || damping < 0)
    throw value_error("gptq: damping is " + std::to_string(damping) + ", but it must be finite and not negative");
  if (moment.tokens() == 0) throw value_error("gptq: the second moment has seen no tokens");
  if (const std::size_t row = first_non_finite_row(s); row < n)
    throw value_error("gptq: row " + std::to_string(row) + " of the second moment holds NaN or infinity");

  double mean = 0;
  for (std::size_t i = 0; i < n; ++i) {
    if (s(i, i) < 0) throw value_error("gptq: diagonal " + std::to_string(i) + " of the second moment is negative");
    mean += s(i, i) / static_cast<double>(n);
  }
  order_.resize(n);
  std::iota(order_.begin(), order_.end(), 0u);
  if (act_order)
    std::sort(order_.begin(), order_.end(),
              [&](std::uint32_t a, std::uint32_t b) { return s(a, a) > s(b, b) || (s(a, a) == s(b, b) && a < b); });

  importance_.assign(n, 1.0f);
  feedback_ = aligned_buffer<float>(n * n, 0.0f);
  if (!(mean > 0)) return;                         // no token excites anything: every weight stands alone
  constexpr double least_raise = 1e-8, most = 10;  // at 10 even a matrix with slightly negative eigenvalues is definite
  while (!factorise<Isa>(s, mean)) {
    damping_ = std::max(10 * damping_, least_raise);
    if (damping_ > std::max(most, damping))
      throw value_error("gptq: the second moment is not positive semidefinite, whatever the damping");
  }
}

template <class Isa>
bool gptq_factor::factorise(rows_view<const double> s, double mean) {
  // The Cholesky factor L of A with rows and columns reversed gives R(k, j) = L(n - 1 - k, n - 1 - j).
  const std::size_t n = s.rows;
  const detail::single_thread guard;
  Eigen::MatrixXd reversed(static_cast<Eigen::Index>(n), static_cast<Eigen::Index>(n));
  for (std::size_t j = 0; j < n; ++j) {
    const double* row = s.row(order_[n - 1 - j]);
    double* column = &reversed(0, static_cast<Eigen::Index>(j));
    for (std::size_t i = j; i < n; ++i) column[i] = row[order_[n - 1 - i]];
    column[j] = (column[j] > 0 ? column[j] : mean) + damping_ * mean;
  }
  const Eigen::VectorXd diagonal = reversed.diagonal();
  const Eigen::LLT<Eigen::Ref<Eigen::MatrixXd>> cholesky(reversed);
  if (cholesky.info() != Eigen::Success) return false;
  const double least = 4 * static_cast<double>(n) * std::numeric_limits<double>::epsilon();
  const Eigen::VectorXd pivots = reversed.diagonal().cwiseAbs2();
  if (!(pivots.array() > least * diagonal.array()).all()) return false;  // below what rounding leaves of it
  const double largest = pivots.maxCoeff();
  for (std::size_t j = 0; j < n; ++j)
    importance_[order_[n - 1 - j]] = static_cast<float>(pivots(static_cast<Eigen::Index>(j)) / largest);
  for (std::size_t j = 0; j < n; ++j) {
    const double* column = &reversed(0, static_cast<Eigen::Index>(n - 1 - j));
    for (std::size_t k = 0; k < j; ++k)
      feedback_[k * n + j] = static_cast<float>(column[n - 1 - k] / column[n - 1 - j]);
  }
  return true;
}

}  // namespace qwha
