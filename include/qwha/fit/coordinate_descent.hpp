// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Codes and scales improved one at a time against the second moment, after any solver.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/base/executor.hpp>
#include <qwha/base/finite.hpp>
#include <qwha/base/rows_view.hpp>
#include <qwha/fit/eigen.hpp>
#include <qwha/fit/row_tile.hpp>
#include <qwha/fit/second_moment.hpp>
#include <qwha/quant/quantized_matrix.hpp>
#include <qwha/quant/quantizer.hpp>

namespace qwha {

struct descent_options {
  std::size_t passes = 1;  ///< sweeps over the groups of every row; 0: nothing happens
  bool codes = true;       ///< in a group, each code moves to the level nearest its best value, all else fixed
  bool scales = false;     ///< before that, the group's scale moves to that of least squares, rounded as it is stored
};

}  // namespace qwha

namespace qwha::inline QWHA_ISA::detail {

/// Coordinate descent on  tr(E S Eᵀ), E = W - WQ, of up to `tile_rows` rows. All sums in double; a move counts only
/// when the error it leads to, as decoded, is lower.
template <group_quantizer Q>
class descent_tile {
 public:
  descent_tile(rows_view<const float> w, const quantized_matrix<Q>& q, std::size_t first)
      : q_(q),
        first_(first),
        rows_(w.rows),
        cols_(w.cols),
        groups_(q.blocks_per_row()),
        errors_(column_tile<double>::Zero(tile_rows, index(w.cols))),
        grids_(groups_ * tile_rows),
        codes_(groups_ * Q::block_size * tile_rows) {
    for (std::size_t r = 0; r < rows_; ++r)
      for (std::size_t g = 0; g < groups_; ++g) {
        grid(g, r) = Q::unpack(q.codes(first + r) + g * Q::code_bytes, q.parameters(first + r) + g * Q::parameter_bytes,
                               q.local(first + r, g), codes(g, r));
        for (std::size_t j = 0; j < group_size(g); ++j)
          errors_(index(r), index(g * Q::block_size + j)) =
              static_cast<double>(w(r, g * Q::block_size + j)) - value(grid(g, r), j, codes(g, r)[j]);
      }
  }

  void sweep(const row_major_map<double>& s, const descent_options& how) {
    for (std::size_t g = 0; g < groups_; ++g) {
      const Eigen::Index first = index(g * Q::block_size), size = index(group_size(g));
      const auto block = s.block(first, first, size, size);
      column_tile<double> slopes(tile_rows, size);  // E S, half the gradient
      slopes.noalias() = errors_ * s.middleCols(first, size);
      if constexpr (scale_quantizer<Q>)
        if (how.scales) move_scales(g, block, slopes);
      if (how.codes) move_codes(g, block, slopes);
    }
  }

  void store(quantized_matrix<Q>& q) {
    for (std::size_t r = 0; r < rows_; ++r)
      for (std::size_t g = 0; g < groups_; ++g)
        Q::pack(grid(g, r), codes(g, r), q.writable_codes(first_ + r) + g * Q::code_bytes,
                q.writable_parameters(first_ + r) + g * Q::parameter_bytes);
  }

 private:
  static constexpr Eigen::Index index(std::size_t i) noexcept { return static_cast<Eigen::Index>(i); }
  std::size_t group_size(std::size_t g) const noexcept {
    return std::min<std::size_t>(Q::block_size, cols_ - g * Q::block_size);
  }
  typename Q::group& grid(std::size_t g, std::size_t r) noexcept { return grids_[g * tile_rows + r]; }
  std::uint8_t* codes(std::size_t g, std::size_t r) noexcept { return &codes_[(r * groups_ + g) * Q::block_size]; }
  /// Weight j of a group.
  static double value(const typename Q::group& g, std::size_t j, std::uint8_t code) noexcept {
    return static_cast<double>(Q::value(group_part<Q>(g, j), code));
  }
  /// A move that changes the error by this much must not be rounding: `scale` is the size of its parts.
  static bool lowers(double change, double scale) noexcept { return change < -1e-9 * scale; }

  /// Moving e_j by d changes the error by d (2 (E S)_j + d S_jj), least at d = -(E S)_j / S_jj.
  template <class Block>
  void move_codes(std::size_t g, const Block& s, column_tile<double>& slopes) {
    tile_column<double> moves = tile_column<double>::Zero();
    for (std::size_t j = 0; j < group_size(g); ++j) {
      const double curvature = s(index(j), index(j));
      if (!(curvature > 0)) continue;
      bool moved = false;
      for (std::size_t r = 0; r < rows_; ++r) {
        moves(index(r)) = 0;
        std::uint8_t& code = codes(g, r)[j];
        const double now = value(grid(g, r), j, code), slope = slopes(index(r), index(j));
        const std::uint8_t better = Q::code(group_part<Q>(grid(g, r), j), static_cast<float>(now + slope / curvature));
        const double move = now - value(grid(g, r), j, better), quadratic = move * move * curvature;
        if (!lowers(2 * move * slope + quadratic, quadratic)) continue;
        code = better;
        moves(index(r)) = move;
        moved = true;
      }
      if (!moved) continue;
      errors_.col(index(g * Q::block_size + j)) += moves;
      const Eigen::Index left = slopes.cols() - index(j) - 1;
      slopes.rightCols(left).noalias() += moves * s.row(index(j)).tail(left);
    }
  }

  /// With v the levels of a group, scaling them by t changes its errors by (1 - t) v: least error at
  /// t = 1 + (E S)·v / (v S vᵀ).
  template <class Block>
  void move_scales(std::size_t g, const Block& s, column_tile<double>& slopes) {
    const std::size_t size = group_size(g);
    column_tile<double> moves = column_tile<double>::Zero(tile_rows, slopes.cols());
    Eigen::VectorXd levels(slopes.cols()), move(slopes.cols());
    for (std::size_t r = 0; r < rows_; ++r) {
      for (std::size_t j = 0; j < size; ++j) levels(index(j)) = value(grid(g, r), j, codes(g, r)[j]);
      const double curvature = levels.dot(s * levels);
      if (!(curvature > 0)) continue;
      const double factor = 1 + slopes.row(index(r)).dot(levels) / curvature;
      const auto wanted = Q::rescaled(grid(g, r), static_cast<float>(factor), q_.local(first_ + r, g));
      for (std::size_t j = 0; j < size; ++j) move(index(j)) = levels(index(j)) - value(wanted, j, codes(g, r)[j]);
      const double quadratic = move.dot(s * move);
      if (!lowers(2 * slopes.row(index(r)).dot(move) + quadratic, quadratic)) continue;
      grid(g, r) = wanted;
      moves.row(index(r)) = move;
    }
    errors_.middleCols(index(g * Q::block_size), slopes.cols()) += moves;
    slopes.noalias() += moves * s;
  }

  const quantized_matrix<Q>& q_;
  std::size_t first_;  // row of it that is ours
  std::size_t rows_, cols_, groups_;
  column_tile<double> errors_;            // E
  std::vector<typename Q::group> grids_;  // [groups, tile_rows]
  std::vector<std::uint8_t> codes_;       // [tile_rows, groups * block_size]
};

}  // namespace qwha::inline QWHA_ISA::detail

namespace qwha::inline QWHA_ISA {

/// A matrix of lower tr(E S Eᵀ), E = w - q, reached from q by moving codes and scales one at a time. Never a higher
/// one.
/// @param w       weight [out, in], finite
/// @param moment  S = X Xᵀ [in, in]; codes of columns that no token excites stay
/// @param q       quantized w, from any solver; unchanged
/// @par Cost     passes · out · in² multiplications in double
/// @par Numerics the same bits for any executor
/// @throws shape_error when the shapes do not fit; value_error when w holds NaN or infinity, or scales are asked for
///         where the format has none
template <group_quantizer Q>
quantized_matrix<Q> coordinate_descent(rows_view<const float> w, const second_moment& moment,
                                       const quantized_matrix<Q>& q, const descent_options& how = {},
                                       const executor& where = default_executor()) {
  detail::check_moment("coordinate_descent", w.rows, w.cols, moment);
  if (q.rows() != w.rows || q.cols() != w.cols)
    throw shape_error("coordinate_descent: the weight is [" + std::to_string(w.rows) + ", " + std::to_string(w.cols) +
                      "], but the quantized matrix is [" + std::to_string(q.rows()) + ", " + std::to_string(q.cols()) +
                      "]");
  if (how.scales && !scale_quantizer<Q>)
    throw value_error("coordinate_descent: the format " + Q::name() + " has no free scales");
  if (w.empty() || how.passes == 0) return q;
  if (const std::size_t row = first_non_finite_row(w); row < w.rows)
    throw value_error("coordinate_descent: row " + std::to_string(row) + " of the weight holds NaN or infinity");

  quantized_matrix<Q> out(w.rows, w.cols, q.matrix());
  const auto s = detail::eigen_map(moment.values());
  parallel_for(where, w.rows, detail::tile_rows, [&](std::size_t first, std::size_t last) {
    detail::descent_tile<Q> tile(w.rows_from(first, last - first), q, first);
    for (std::size_t pass = 0; pass < how.passes; ++pass) tile.sweep(s, how);
    tile.store(out);
  });
  return out;
}

}  // namespace qwha::inline QWHA_ISA
