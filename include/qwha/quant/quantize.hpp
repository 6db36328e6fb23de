// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Quantization of a weight matrix: a format, and a solver that chooses the codes.

#include <cstddef>
#include <string>

#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/base/executor.hpp>
#include <qwha/base/finite.hpp>
#include <qwha/base/rows_view.hpp>
#include <qwha/quant/quantized_matrix.hpp>
#include <qwha/quant/quantizer.hpp>
#include <qwha/quant/round_to_nearest.hpp>

namespace qwha {

/// A way to choose the codes of format Q. Meaning: `solve`, found by argument-dependent lookup, fills the planes of a
/// matrix of the right shape, whose matrix parameters are `Q::prepare(w)`, from finite weights.
template <class Solver, class Q>
concept solver_for = group_quantizer<Q> && requires(const Solver& solver, rows_view<const float> w,
                                                    quantized_matrix<Q>& out, const executor& where) {
  { solve(solver, w, out, where) };
};

}  // namespace qwha

namespace qwha::inline QWHA_ISA {

/// `w` in format Q.
/// @param w  weight [out, in], any stride; `in` need not be a multiple of Q::block_size
/// @par Numerics  the same bits for any executor
/// @throws value_error when `w` holds NaN or infinity, naming the row; shape_error when the view contradicts itself or
///         the solver's data has another shape; std::bad_alloc
template <class Q, class Solver = round_to_nearest>
  requires solver_for<Solver, Q>
quantized_matrix<Q> quantize(rows_view<const float> w, const Solver& solver = {},
                             const executor& where = default_executor()) {
  const auto shape = [&] { return detail::shape_text(w.rows, w.cols); };
  if (!w.well_formed())
    throw shape_error("quantize: the weight " + shape() + " has no data or a stride shorter than its rows");
  if (const std::size_t row = w.empty() ? w.rows : first_non_finite_row(w); row < w.rows)
    throw value_error("quantize: row " + std::to_string(row) + " of the weight " + shape() + " holds NaN or infinity");
  quantized_matrix<Q> out(w.rows, w.cols, Q::prepare(w));
  if (!w.empty()) solve(solver, w, out, where);
  return out;
}

}  // namespace qwha::inline QWHA_ISA
