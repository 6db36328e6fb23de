// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Cholesky factorisation of many small systems, one after another in the same memory: what refinement spends its time
/// on.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include <qwha/base/aligned_buffer.hpp>
#include <qwha/base/backend.hpp>
#include <qwha/base/config.hpp>
#include <qwha/base/simd.hpp>
#include <qwha/fit/dot.hpp>

namespace qwha::inline QWHA_ISA::detail {

/// Columns that the factorisation takes at once; rows come in multiples of it.
inline constexpr std::size_t factor_panel = std::max<std::size_t>(double_lanes, 4);

/// At least `size` elements, with room to spare where it grows; what it held is then lost and all are zero.
template <class T>
void ensure_size(aligned_buffer<T>& buffer, std::size_t size) {
  if (buffer.size() < size) buffer = aligned_buffer<T>(size + size / 4, T{});
}

/// A symmetric matrix of order n with one more row, the right-hand side: column j holds a_ij for i = j … n - 1, then
/// b_j. Columns begin at multiples of `stride`, a multiple of `factor_panel`; rows below are zero.
class bordered_columns {
 public:
  void resize(std::size_t n) {
    n_ = n;
    stride_ = n / factor_panel * factor_panel + factor_panel;
    if (stride_ % 64 == 0) stride_ += factor_panel;  // columns 512 bytes apart or so would share cache sets
    ensure_size(values_, stride_ * (n + factor_panel));
  }
  std::size_t order() const noexcept { return n_; }
  std::size_t stride() const noexcept { return stride_; }
  double* column(std::size_t j) noexcept { return values_.data() + j * stride_; }
  const double* column(std::size_t j) const noexcept { return values_.data() + j * stride_; }
  void clear_padding(std::size_t j) noexcept { std::fill(column(j) + n_ + 1, column(j) + stride_, 0.0); }

 private:
  std::size_t n_ = 0, stride_ = factor_panel;
  aligned_buffer<double> values_;
};

/// L with L Lᵀ = A + shift I, and A⁻¹ b. The right-hand side is factorised as a further row of A, so that it leaves
/// the factorisation as L⁻¹ b. Left-looking by panels of columns: every entry of L is read once for a panel.
template <class Isa = isa>
class cholesky {
 public:
  /// @returns false when a pivot falls below 1e-12 of its diagonal entry: singular to working precision
  /// @par Cost  n³ / 6 fused multiply-adds
  bool factorise(const bordered_columns& a, double shift) {
    const std::size_t n = a.order();
    factor_.resize(n);
    ensure_size(inverse_, n + factor_panel);
    for (std::size_t first = 0; first < n; first += factor_panel) {
      const std::size_t count = std::min(factor_panel, n - first);
      copy_panel(a, first, count, shift);
      update<1>(first, first);
      if (!factorise_block(a, first, count, shift)) return false;
      std::size_t row = first + factor_panel;
      for (; row + 2 * factor_panel <= factor_.stride(); row += 2 * factor_panel) update_and_solve<2>(first, row);
      for (; row < factor_.stride(); row += factor_panel) update_and_solve<1>(first, row);
      // The border lies in the diagonal block of the last panel, unless n is a multiple of the panel.
      if (first + factor_panel > n) finish_border(first, count);
    }
    return true;
  }

  /// x <- A⁻¹ b by back substitution. @pre factorise returned true; x holds order() values
  void solve(std::span<double> x) const noexcept {
    const std::size_t n = factor_.order();
    for (std::size_t k = n; k-- > 0;) {
      const double* l = factor_.column(k);
      x[k] = (l[n] - dot<Isa>(l + k + 1, x.data() + k + 1, n - k - 1)) * inverse_[k];
    }
  }

  std::size_t order() const noexcept { return factor_.order(); }
  const double* column(std::size_t k) const noexcept { return factor_.column(k); }  ///< from row k on
  double inverse_pivot(std::size_t k) const noexcept { return inverse_[k]; }        ///< 1 / L_kk

 private:
  using v = vec<double, double_lanes>;
  static constexpr std::size_t vectors = factor_panel / double_lanes;

  void copy_panel(const bordered_columns& a, std::size_t first, std::size_t count, double shift) {
    for (std::size_t c = 0; c < count; ++c) {
      std::copy(a.column(first + c) + first, a.column(first + c) + a.stride(), factor_.column(first + c) + first);
      factor_.column(first + c)[first + c] += shift;
    }
    for (std::size_t c = count; c < factor_panel; ++c)
      std::fill(factor_.column(first + c) + first, factor_.column(first + c) + factor_.stride(), 0.0);
  }

  /// sums of L_im L_(first + c)m over the columns m before the panel, for `Blocks` blocks of rows from `row` on
  template <std::size_t Blocks>
  QWHA_ALWAYS_INLINE void products(std::size_t first, std::size_t row, v (&sum)[factor_panel][Blocks * vectors]) const {
    for (std::size_t c = 0; c < factor_panel; ++c)
      for (std::size_t i = 0; i < Blocks * vectors; ++i) sum[c][i] = v::splat(0);
    const double* l = factor_.column(0);
    for (std::size_t m = 0; m < first; ++m, l += factor_.stride()) {
      v rows[Blocks * vectors];
      for (std::size_t i = 0; i < Blocks * vectors; ++i) rows[i] = v::load(l + row + i * double_lanes);
      for (std::size_t c = 0; c < factor_panel; ++c) {
        const v other = v::splat(l[first + c]);
        for (std::size_t i = 0; i < Blocks * vectors; ++i) sum[c][i] = fma(rows[i], other, sum[c][i]);
      }
    }
  }

  template <std::size_t Blocks>
  void update(std::size_t first, std::size_t row) {
    v sum[factor_panel][Blocks * vectors];
    products<Blocks>(first, row, sum);
    for (std::size_t c = 0; c < factor_panel; ++c)
      for (std::size_t i = 0; i < Blocks * vectors; ++i) {
        double* to = factor_.column(first + c) + row + i * double_lanes;
        (v::load(to) - sum[c][i]).store(to);
      }
  }

  /// The same, and then the panel's own columns are taken out, in registers.
  template <std::size_t Blocks>
  void update_and_solve(std::size_t first, std::size_t row) {
    v sum[factor_panel][Blocks * vectors];
    products<Blocks>(first, row, sum);
    for (std::size_t c = 0; c < factor_panel; ++c) {
      double* to = factor_.column(first + c) + row;
      for (std::size_t i = 0; i < Blocks * vectors; ++i) sum[c][i] = v::load(to + i * double_lanes) - sum[c][i];
      for (std::size_t b = 0; b < c; ++b) {
        const v other = v::splat(-factor_.column(first + b)[first + c]);
        for (std::size_t i = 0; i < Blocks * vectors; ++i) sum[c][i] = fma(sum[b][i], other, sum[c][i]);
      }
      const v scale = v::splat(inverse_[first + c]);
      for (std::size_t i = 0; i < Blocks * vectors; ++i) {
        sum[c][i] = sum[c][i] * scale;
        sum[c][i].store(to + i * double_lanes);
      }
    }
  }

  /// The lower triangle of the diagonal block, column by column.
  bool factorise_block(const bordered_columns& a, std::size_t first, std::size_t count, double shift) {
    std::fill_n(inverse_.data() + first, factor_panel, 0.0);  // columns beyond the last are zero and stay so
    for (std::size_t c = 0; c < count; ++c) {
      double* column = factor_.column(first + c) + first;
      const double pivot = column[c];
      if (!(pivot > 1e-12 * (a.column(first + c)[first + c] + shift))) return false;
      inverse_[first + c] = 1 / std::sqrt(pivot);
      column[c] = std::sqrt(pivot);
      for (std::size_t i = c + 1; i < count; ++i) column[i] *= inverse_[first + c];
      for (std::size_t b = c + 1; b < count; ++b)
        for (std::size_t i = b; i < count; ++i) factor_.column(first + b)[first + i] -= column[i] * column[b];
    }
    return true;
  }

  void finish_border(std::size_t first, std::size_t count) {
    const std::size_t n = factor_.order();
    for (std::size_t c = 0; c < count; ++c) {
      double& y = factor_.column(first + c)[n];
      for (std::size_t b = 0; b < c; ++b) y -= factor_.column(first + b)[n] * factor_.column(first + b)[first + c];
      y *= inverse_[first + c];
    }
  }

  bordered_columns factor_;
  aligned_buffer<double> inverse_;
};

}  // namespace qwha::inline QWHA_ISA::detail
