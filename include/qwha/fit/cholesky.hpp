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
#include <type_traits>
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

/// f(0), … f(Count - 1), each with a constant: a loop over registers that no compiler leaves in memory.
template <std::size_t Count, class F>
QWHA_ALWAYS_INLINE void unrolled(const F& f) {
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    (f(std::integral_constant<std::size_t, I>{}), ...);
  }(std::make_index_sequence<Count>{});
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

  /// f A fᵀ. @param f  order() values and `factor_panel` zeros
  double quadratic(const double* f) const noexcept {
    using v = vec<double, double_lanes>;
    v sum = v::splat(0);
    double diagonal = 0;
    for (std::size_t j = 0; j < n_; ++j) {
      const double* a = column(j);
      v product = v::splat(0);
      for (std::size_t i = j; i < n_; i += double_lanes) product = fma(v::load(a + i), v::load(f + i), product);
      sum = fma(v::splat(f[j]), product, sum);
      diagonal += f[j] * f[j] * a[j];
    }
    return 2 * detail::sum_of_lanes(sum) - diagonal;
  }

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
      if (!factorise_block(a, first, shift)) return false;
      std::size_t row = first + factor_panel;
      for (; row + 2 * factor_panel <= factor_.stride(); row += 2 * factor_panel)
        update_and_solve<2 * vectors>(a, first, row);
      for (; row < factor_.stride(); row += factor_panel) update_and_solve<vectors>(a, first, row);
    }
    return true;
  }

  /// x <- A⁻¹ b by back substitution, a panel at a time. @pre factorise returned true; x holds order() values
  void solve(std::span<double> x) {
    const std::size_t n = factor_.order();
    ensure_size(solution_, factor_.stride());
    std::fill(solution_.data() + n, solution_.data() + factor_.stride(), 0.0);  // against the border
    for (std::size_t first = (n - 1) / factor_panel * factor_panel; first < n; first -= factor_panel) {
      v product[factor_panel];
      unrolled<factor_panel>([&](auto c) { product[c] = v::splat(0); });
      const double* l = factor_.column(first);
      for (std::size_t i = first + factor_panel; i < n; i += double_lanes) {
        const v known = v::load(solution_.data() + i);
        unrolled<factor_panel>(
            [&](auto c) { product[c] = fma(v::load(l + c * factor_.stride() + i), known, product[c]); });
      }
      for (std::size_t c = std::min(factor_panel, n - first); c-- > 0;) {
        const double* column = factor_.column(first + c);
        double left = column[n] - sum_of_lanes(product[c]);
        for (std::size_t b = c + 1; b < factor_panel && first + b < n; ++b)
          left -= column[first + b] * solution_[first + b];
        solution_[first + c] = left * inverse_[first + c];
      }
    }
    std::copy_n(solution_.data(), n, x.data());
  }

  std::size_t order() const noexcept { return factor_.order(); }
  const double* column(std::size_t k) const noexcept { return factor_.column(k); }  ///< from row k on
  double inverse_pivot(std::size_t k) const noexcept { return inverse_[k]; }        ///< 1 / L_kk

 private:
  using v = vec<double, double_lanes>;
  static constexpr std::size_t vectors = factor_panel / double_lanes;

  /// to = column `column` of A from `row` on; zero beyond the last column
  template <std::size_t Count>
  static QWHA_ALWAYS_INLINE void load(const bordered_columns& a, std::size_t column, std::size_t row, v (&to)[Count]) {
    const double* from = a.column(column) + row;
    unrolled<Count>([&](auto i) { to[i] = column < a.order() ? v::load(from + i * double_lanes) : v::splat(0); });
  }

  /// sums of L_im L_(first + c)m over the columns m before the panel, for `Count` vectors of rows from `row` on
  template <std::size_t Count>
  QWHA_ALWAYS_INLINE void products(std::size_t first, std::size_t row, v (&sum)[factor_panel][Count]) const {
    unrolled<factor_panel>([&](auto c) { unrolled<Count>([&](auto i) { sum[c][i] = v::splat(0); }); });
    const double* rows = factor_.column(0) + row;
    const double* others = factor_.column(0) + first;
    for (std::size_t m = 0; m < first; ++m, rows += factor_.stride(), others += factor_.stride()) {
      v l[Count];
      unrolled<Count>([&](auto i) { l[i] = v::load(rows + i * double_lanes); });
      unrolled<factor_panel>([&](auto c) {
        const v other = v::splat(others[c]);
        unrolled<Count>([&](auto i) { sum[c][i] = fma(l[i], other, sum[c][i]); });
      });
    }
  }

  /// Rows from `row` on of a panel whose diagonal block is factorised: earlier columns are taken out, then the panel's
  /// own, in registers.
  template <std::size_t Count>
  void update_and_solve(const bordered_columns& a, std::size_t first, std::size_t row) {
    v sum[factor_panel][Count];
    products<Count>(first, row, sum);
    double* to = factor_.column(first) + row;
    unrolled<factor_panel>([&](auto c) {
      v left[Count];
      load(a, first + c, row, left);
      unrolled<Count>([&](auto i) { sum[c][i] = left[i] - sum[c][i]; });
      unrolled<c>([&](auto b) {
        const v other = v::splat(block_[b][c]);
        unrolled<Count>([&](auto i) { sum[c][i] = fma(sum[b][i], other, sum[c][i]); });
      });
      const v scale = v::splat(block_[c][c]);
      unrolled<Count>([&](auto i) {
        sum[c][i] = sum[c][i] * scale;
        sum[c][i].store(to + c * factor_.stride() + i * double_lanes);
      });
    });
  }

  /// The diagonal block, column by column in registers; what stands above the diagonal is of no use. The border is one
  /// more row of the last panel, unless n is a multiple of the panel.
  bool factorise_block(const bordered_columns& a, std::size_t first, double shift) {
    v column[factor_panel][vectors];
    products<vectors>(first, first, column);
    unrolled<factor_panel>([&](auto c) {
      v left[vectors];
      load(a, first + c, first, left);
      unrolled<vectors>([&](auto i) { column[c][i] = left[i] - column[c][i]; });
    });
    bool definite = true;
    unrolled<factor_panel>([&](auto c) {
      const auto entry = [&](auto row) { return column[c][row / double_lanes][row % double_lanes]; };
      double scale = 0, root = 0;  // beyond the last column: zero, and so it stays
      if (first + c < a.order()) {
        const double pivot = entry(c) + shift;
        definite &= pivot > 1e-12 * (a.column(first + c)[first + c] + shift);
        root = std::sqrt(pivot);
        scale = 1 / root;
      }
      inverse_[first + c] = block_[c][c] = scale;
      unrolled<vectors>([&](auto i) { column[c][i] = column[c][i] * v::splat(scale); });
      unrolled<factor_panel - c - 1>([&](auto next) {
        constexpr std::size_t b = c + 1 + next;
        block_[c][b] = -entry(std::integral_constant<std::size_t, b>{});
        const v other = v::splat(block_[c][b]);
        unrolled<vectors>([&](auto i) { column[b][i] = fma(column[c][i], other, column[b][i]); });
      });
      unrolled<vectors>([&](auto i) { column[c][i].store(factor_.column(first + c) + first + i * double_lanes); });
      factor_.column(first + c)[first + c] = root;
    });
    return definite;
  }

  bordered_columns factor_;
  aligned_buffer<double> inverse_, solution_;
  double block_[factor_panel][factor_panel];  // of the panel: -L_cb at [b][c], 1 / L_cc at [c][c]
};

}  // namespace qwha::inline QWHA_ISA::detail
