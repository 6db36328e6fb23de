// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// MagR: weights moved to a smaller range where the layer's inputs do not notice, before they are quantized.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>

#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/base/executor.hpp>
#include <qwha/base/finite.hpp>
#include <qwha/base/random.hpp>
#include <qwha/base/rows_view.hpp>
#include <qwha/fit/eigen.hpp>
#include <qwha/fit/row_tile.hpp>
#include <qwha/fit/second_moment.hpp>

namespace qwha {

/// Defaults: the paper's, for one penalty per row. With one per group of 64 or so it takes alpha = 1e-5. On grids that
/// are searched for least squared error anyway, 1e-4 did better than the paper's 1e-3 (Gemma 3 270M, 2 bit).
struct magr_options {
  double alpha = 1e-3;           ///< weight of the l-infinity norm, against X with largest singular value 1
  std::size_t group = 0;         ///< columns that share a norm; 0: the whole row
  std::size_t iterations = 200;  ///< accelerated proximal gradient steps
};

}  // namespace qwha

namespace qwha::inline QWHA_ISA::detail {

/// Largest eigenvalue of a positive semidefinite matrix, by power iteration from a fixed start. Numerics: a lower
/// bound, the Rayleigh quotient, once it has grown by less than one part in 10^6 in a step.
template <class Isa = isa>  // a template: Eigen's products are compiled where they are used
double largest_eigenvalue(rows_view<const double> s) {
  const auto matrix = eigen_map(s);
  Eigen::VectorXd x(matrix.rows());
  const counter_random random(0);
  for (Eigen::Index i = 0; i < x.size(); ++i) x(i) = random.uniform(static_cast<std::uint64_t>(i)) - 0.5;
  constexpr int steps = 200;
  double value = 0;
  for (int i = 0; i < steps; ++i) {
    x.normalize();
    const Eigen::VectorXd next = matrix * x;
    const double quotient = x.dot(next);
    x = next;
    if (quotient <= value * (1 + 1e-6)) return std::max(value, quotient);
    value = quotient;
  }
  return value;
}

/// The bound t of prox(v) = clamp(v, -t, t), the proximal map of alpha ‖·‖∞: v minus its projection onto the l1 ball of
/// radius alpha, so that sum max(|v_i| - t, 0) = alpha, or t = 0 inside the ball. Newton's method on that convex
/// piecewise linear function, from the left, is monotone and ends at the exact segment.
template <class Vector>
float clipping_bound(const Eigen::ArrayBase<Vector>& v, float alpha) noexcept {
  float t = std::max(v.abs().maxCoeff() - alpha, 0.0f);
  for (Eigen::Index last = v.size() + 1;;) {  // the number of entries above t falls until the segment is the root's
    const Eigen::Index count = (v.abs() > t).count();
    if (count >= last || count == 0) return t;
    t = std::max(t + ((v.abs() - t).max(0.0f).sum() - alpha) / static_cast<float>(count), 0.0f);
    last = count;
  }
}

/// Accelerated proximal gradient of up to `tile_rows` rows, each with its own momentum.
template <class Isa>
class magr_tile {
 public:
  /// @param s  S over its largest eigenvalue, symmetric
  magr_tile(rows_view<float> w, const square_matrix<float>& s, const magr_options& how)
      : w_(w), s_(s), how_(how), origin_(row_tile<float>::Zero(tile_rows, s.rows())) {
    for (std::size_t r = 0; r < w.rows; ++r) std::copy_n(w.row(r), w.cols, &origin_(static_cast<Eigen::Index>(r), 0));
  }

  void run() {
    row_tile<float> x = origin_, ahead = origin_, moved = origin_, slope(tile_rows, s_.rows());
    double momentum[tile_rows];
    std::fill(std::begin(momentum), std::end(momentum), 1.0);
    for (std::size_t i = 0; i < how_.iterations; ++i) {
      moved = ahead - origin_;
      slope.noalias() = moved * s_;
      for (Eigen::Index r = 0; r < static_cast<Eigen::Index>(w_.rows); ++r) {
        moved.row(r) = ahead.row(r) - slope.row(r);
        shrink(moved.row(r));
        step(x.row(r), ahead.row(r), moved.row(r), momentum[r]);
      }
    }
    moved = x - origin_;
    slope.noalias() = moved * s_;
    for (Eigen::Index r = 0; r < static_cast<Eigen::Index>(w_.rows); ++r) keep_if_better(r, x, moved, slope);
  }

 private:
  template <class Row, class Visit>
  void for_each_group(Row row, Visit&& visit) const {
    const Eigen::Index size = how_.group == 0 ? row.size() : static_cast<Eigen::Index>(how_.group);
    for (Eigen::Index i = 0; i < row.size(); i += size) visit(row.segment(i, std::min(size, row.size() - i)));
  }

  /// row <- prox of alpha times the sum of the groups' l-infinity norms.
  template <class Row>
  void shrink(Row row) const {
    for_each_group(row, [&](auto group) {
      const float bound = clipping_bound(group.array(), static_cast<float>(how_.alpha));
      group = group.cwiseMax(-bound).cwiseMin(bound);
    });
  }

  /// Nesterov's step from x to `next`; momentum starts anew where it points uphill (O'Donoghue and Candes 2015).
  template <class Row>
  static void step(Row x, Row ahead, Row next, double& momentum) {
    if ((ahead - next).dot(next - x) > 0) momentum = 1;
    const double following = 0.5 * (1 + std::sqrt(1 + 4 * momentum * momentum));
    ahead = next + static_cast<float>((momentum - 1) / following) * (next - x);
    x = next;
    momentum = following;
  }

  /// Writes the row back unless its objective, with room for rounding, is no lower than that of the input.
  void keep_if_better(Eigen::Index r, row_tile<float>& x, const row_tile<float>& moved, const row_tile<float>& slope) {
    double norms = 0, norms_before = 0;
    for_each_group(x.row(r), [&](auto group) { norms += static_cast<double>(group.cwiseAbs().maxCoeff()); });
    for_each_group(origin_.row(r),
                   [&](auto group) { norms_before += static_cast<double>(group.cwiseAbs().maxCoeff()); });
    const double misfit = 0.5 * moved.row(r).cast<double>().dot(slope.row(r).cast<double>());
    constexpr double rounding = 1e-4;
    if (misfit * (1 + rounding) + how_.alpha * norms < how_.alpha * norms_before)
      std::copy_n(&x(r, 0), w_.cols, w_.row(static_cast<std::size_t>(r)));
  }

  rows_view<float> w_;
  const square_matrix<float>& s_;
  const magr_options& how_;
  row_tile<float> origin_;
};

}  // namespace qwha::inline QWHA_ISA::detail

namespace qwha::inline QWHA_ISA {

/// MagR (Zhang et al. 2024): every row w0 becomes a w that lowers  ‖(w - w0) X‖² / 2 + alpha ‖w‖∞,  X scaled to largest
/// singular value 1. Its range, and with it the step of a min-max grid, shrinks where the inputs do not notice.
/// @param w       weight [out, in], changed in place; a row stays as it is when its objective could not be lowered, so
///                the sum of its groups' l-infinity norms never grows
/// @param moment  S = X Xᵀ [in, in]; a zero S leaves w unchanged
/// @par Cost     iterations · out · in² multiplications in float; 4 in² bytes
/// @par Numerics the same bits for any executor
/// @throws shape_error when w and S do not fit; value_error when w or S holds NaN or infinity, or alpha is negative or
///         not finite
template <class Isa = isa>
void magr(rows_view<float> w, const second_moment& moment, const magr_options& how = {},
          const executor& where = default_executor()) {
  detail::check_moment("magr", w.rows, w.cols, moment);
  const rows_view<const double> s = moment.values();
  if (!is_finite(how.alpha) || how.alpha < 0)
    throw value_error("magr: alpha is " + std::to_string(how.alpha) + ", but it must be finite and not negative");
  if (const std::size_t row = first_non_finite_row(w); row < w.rows)
    throw value_error("magr: row " + std::to_string(row) + " of the weight holds NaN or infinity");
  if (const std::size_t row = first_non_finite_row(s); row < s.rows)
    throw value_error("magr: row " + std::to_string(row) + " of the second moment holds NaN or infinity");
  if (w.empty() || how.alpha == 0 || how.iterations == 0) return;

  const double largest = detail::largest_eigenvalue<Isa>(s);
  if (!(largest > 0)) return;
  const detail::square_matrix<float> scaled = (detail::eigen_map(s) / largest).cast<float>();
  parallel_for(where, w.rows, detail::tile_rows, [&](std::size_t first, std::size_t last) {
    detail::magr_tile<Isa>(w.rows_from(first, last - first), scaled, how).run();
  });
}

}  // namespace qwha::inline QWHA_ISA
