// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// GPTQ: codes chosen column by column, each column's error passed on to those that follow.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <qwha/base/aligned_buffer.hpp>
#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/base/executor.hpp>
#include <qwha/base/rows_view.hpp>
#include <qwha/fit/coordinate_descent.hpp>
#include <qwha/fit/eigen.hpp>
#include <qwha/fit/gptq_factor.hpp>
#include <qwha/fit/magr.hpp>
#include <qwha/fit/row_tile.hpp>
#include <qwha/fit/second_moment.hpp>
#include <qwha/quant/quantized_matrix.hpp>
#include <qwha/quant/quantizer.hpp>

namespace qwha {

/// Solver policy of `quantize`: GPTQ (Frantar et al. 2022), which lowers ‖(W - WQ) X‖ instead of ‖W - WQ‖.
///
/// Grids of groups are chosen from the weights as they stand when their first column is reached, that is, moved so as
/// to make up for the errors so far; with `static_groups` or `act_order` from the original weights before any step.
/// Columns that no token excites are rounded to nearest.
struct gptq {
  const second_moment* moment = nullptr;    ///< of the layer's inputs; must outlive the call
  double damping = 0.01;                    ///< see gptq_factor
  bool act_order = false;                   ///< columns by falling diagonal of S; groups stay contiguous in storage
  bool magr = false;                        ///< MagR first, with `magr_settings`
  bool static_groups = false;               ///< grids from the original weights
  grid_search search = grid_search::mse;    ///< how grids are chosen
  bool weighted_search = true;              ///< the mse search weighs columns by gptq_factor::importance where Q can
  descent_options descent = {.passes = 0};  ///< coordinate descent on codes and scales afterwards
  const gptq_factor* factor = nullptr;      ///< made before, to be shared; its damping and order take the place of ours
  magr_options magr_settings = {};
};

}  // namespace qwha

namespace qwha::inline QWHA_ISA::detail {

/// GPTQ of up to `tile_rows` rows. Columns are counted in the order of the steps; rows past the end of the matrix are
/// zero and their codes are never looked at.
template <group_quantizer Q>
class gptq_tile {
 public:
  /// @param w  rows first, first + 1, … of the weight that `out` will hold
  gptq_tile(const gptq& how, const gptq_factor& factor, rows_view<const float> w, const quantized_matrix<Q>& out,
            std::size_t first)
      : how_(how),
        factor_(factor),
        out_(out),
        first_(first),
        rows_(w.rows),
        cols_(w.cols),
        groups_((w.cols + Q::block_size - 1) / Q::block_size),
        weights_(column_tile<float>::Zero(tile_rows, index(w.cols))),
        errors_(tile_rows, index(w.cols)),
        targets_(tile_rows, index(std::min(w.cols, block))),
        grids_(groups_ * tile_rows),
        codes_(groups_ * Q::block_size * tile_rows, std::uint8_t{0}) {
    for (std::size_t r = 0; r < rows_; ++r)
      for (std::size_t j = 0; j < cols_; ++j) weights_(index(r), index(j)) = w(r, factor.order()[j]);
  }

  /// All grids from the rows as they are.
  void fit_all_grids(rows_view<const float> w) {
    for (std::size_t g = 0; g < groups_; ++g)
      for (std::size_t r = 0; r < rows_; ++r) grid(g, r) = fitted(g, r, w.row(r) + g * Q::block_size);
    grids_are_fixed_ = true;
  }

  /// Chooses all codes. @pre the factor is in stored order, or all grids are fitted
  void run() {
    const auto m = eigen_map(factor_.feedback());
    for (std::size_t first = 0; first < cols_; first += block) {
      const std::size_t count = std::min(block, cols_ - first);
      auto targets = targets_.leftCols(index(count));
      targets = weights_.middleCols(index(first), index(count));
      if (first > 0)
        targets.noalias() += errors_.leftCols(index(first)) * m.block(0, index(first), index(first), index(count));
      for (std::size_t j = 0; j < count; ++j) {
        const std::size_t step = first + j;
        if (!grids_are_fixed_ && step % Q::block_size == 0) fit_grid(step / Q::block_size, j);
        quantize_column(step, targets.col(index(j)));
        const Eigen::Index left = index(count - j - 1);
        targets.rightCols(left).noalias() +=
            errors_.col(index(step)) * m.row(index(step)).segment(index(step + 1), left);
      }
    }
  }

  /// Writes the rows of the matrix.
  void store(quantized_matrix<Q>& out) {
    for (std::size_t r = 0; r < rows_; ++r) {
      for (std::size_t c = cols_; c < groups_ * Q::block_size; ++c) code(r, c) = Q::code(part(r, c), 0.0f);
      for (std::size_t g = 0; g < groups_; ++g)
        Q::pack(grid(g, r), &code(r, g * Q::block_size), out.writable_codes(first_ + r) + g * Q::code_bytes,
                out.writable_parameters(first_ + r) + g * Q::parameter_bytes);
    }
  }

 private:
  /// Columns whose errors are passed on one by one before the rest sees them in one product; whole groups.
  static constexpr std::size_t block = (127 / Q::block_size + 1) * Q::block_size;

  static constexpr Eigen::Index index(std::size_t i) noexcept { return static_cast<Eigen::Index>(i); }
  std::size_t group_size(std::size_t g) const noexcept {
    return std::min<std::size_t>(Q::block_size, cols_ - g * Q::block_size);
  }
  typename Q::group& grid(std::size_t g, std::size_t r) noexcept { return grids_[g * tile_rows + r]; }
  decltype(auto) part(std::size_t r, std::size_t column) noexcept {
    return group_part<Q>(grid(column / Q::block_size, r), column % Q::block_size);
  }
  std::uint8_t& code(std::size_t r, std::size_t column) noexcept {
    return codes_[r * groups_ * Q::block_size + column];
  }

  typename Q::group fitted(std::size_t g, std::size_t r, const float* weights) const {
    const std::span<const float> group(weights, group_size(g));
    decltype(auto) matrix = out_.local(first_ + r, g);
    if constexpr (weighted_group_quantizer<Q>)
      if (how_.weighted_search)
        return Q::fit_group(group, factor_.importance().subspan(g * Q::block_size, group.size()), matrix, how_.search);
    return Q::fit_group(group, matrix, how_.search);
  }

  /// Grid of group g, whose targets begin at column j of the block, from the weights that would make up for all errors
  /// so far if nothing were rounded from here on: the recurrence of `run` without codes.
  void fit_grid(std::size_t g, std::size_t j) {
    const auto m = eigen_map(factor_.feedback());
    const std::size_t first = g * Q::block_size, size = group_size(g);
    row_tile<float> moved(tile_rows, index(size));
    column_tile<float> targets = targets_.middleCols(index(j), index(size));
    for (std::size_t i = 0; i < size; ++i) {
      const Eigen::Index left = index(size - i - 1);
      moved.col(index(i)) = targets.col(index(i));
      const tile_column<float> error = weights_.col(index(first + i)) - targets.col(index(i));
      targets.rightCols(left).noalias() += error * m.row(index(first + i)).segment(index(first + i + 1), left);
    }
    for (std::size_t r = 0; r < rows_; ++r) grid(g, r) = fitted(g, r, &moved(index(r), 0));
  }

  template <class Column>
  void quantize_column(std::size_t step, const Column& targets) {
    const std::size_t column = factor_.order()[step];
    tile_column<float> reached = tile_column<float>::Zero();
    for (std::size_t r = 0; r < rows_; ++r) {
      code(r, column) = Q::code(part(r, column), targets(index(r)));
      reached(index(r)) = Q::value(part(r, column), code(r, column));
    }
    errors_.col(index(step)) = weights_.col(index(step)) - reached;
  }

  const gptq& how_;
  const gptq_factor& factor_;
  const quantized_matrix<Q>& out_;  // for its matrix parameters
  std::size_t first_;               // row of it that is ours
  std::size_t rows_, cols_, groups_;
  column_tile<float> weights_, errors_, targets_;  // targets_: what the columns of the current block should become
  std::vector<typename Q::group> grids_;           // [groups, tile_rows]
  std::vector<std::uint8_t> codes_;                // [tile_rows, groups * block_size], stored order
  bool grids_are_fixed_ = false;
};

template <class Isa = isa>
void check(const gptq& how, rows_view<const float> w) {
  const std::size_t rows = w.rows, cols = w.cols;
  const bool needs_moment = how.factor == nullptr || how.magr || how.descent.passes > 0;
  if (needs_moment && how.moment == nullptr)
    throw value_error("gptq: `moment` is null, but the second moment of the layer's inputs is needed");
  if (how.moment != nullptr) check_moment("gptq", rows, cols, *how.moment);
  if (how.factor != nullptr && how.factor->cols() != cols)
    throw shape_error("gptq: the weight is [" + std::to_string(rows) + ", " + std::to_string(cols) +
                      "], but the factor is of " + std::to_string(how.factor->cols()) + " inputs");
  constexpr float largest = 1e30f;  // errors that are fed back add up: they must stay inside the range of float
  for (std::size_t r = 0; r < rows; ++r)
    if (!std::all_of(w.row(r), w.row(r) + cols, [](float x) { return std::abs(x) <= largest; }))
      throw value_error("gptq: row " + std::to_string(r) + " of the weight holds a magnitude above 1e30");
}

}  // namespace qwha::inline QWHA_ISA::detail

namespace qwha::inline QWHA_ISA {

/// Fills `out` by GPTQ, rows in parallel.
/// @pre  w [rows, cols] is finite and has the shape of `out`, which owns its storage
/// @par Cost     rows · cols² multiplications, and those of gptq_factor unless one is given
/// @par Numerics errors are fed back in float from a factor made in double. The same bits for any executor
/// @throws value_error and shape_error when the policy's moment or factor is missing or does not fit, and what
///         gptq_factor and magr throw
template <group_quantizer Q>
void solve(const gptq& how, rows_view<const float> w, quantized_matrix<Q>& out,
           const executor& where = default_executor()) {
  detail::check(how, w);
  std::optional<gptq_factor> own;
  const gptq_factor& factor =
      how.factor != nullptr ? *how.factor : own.emplace(*how.moment, how.damping, how.act_order);

  rows_view<const float> target = w;
  aligned_buffer<float> smoothed;
  if (how.magr) {
    smoothed = aligned_buffer<float>(w.rows * w.cols);
    for (std::size_t r = 0; r < w.rows; ++r) std::copy_n(w.row(r), w.cols, smoothed.data() + r * w.cols);
    const rows_view<float> s(smoothed.data(), w.rows, w.cols);
    magr(s, *how.moment, how.magr_settings, where);
    target = s;
    out = quantized_matrix<Q>(w.rows, w.cols, Q::prepare(target));
  }
  parallel_for(where, w.rows, detail::tile_rows, [&](std::size_t first, std::size_t last) {
    const auto rows = target.rows_from(first, last - first);
    detail::gptq_tile<Q> tile(how, factor, rows, out, first);
    if (how.static_groups || factor.act_order()) tile.fit_all_grids(rows);
    tile.run();
    tile.store(out);
  });
  if (how.descent.passes > 0) out = coordinate_descent(w, *how.moment, out, how.descent, where);
}

}  // namespace qwha::inline QWHA_ISA
