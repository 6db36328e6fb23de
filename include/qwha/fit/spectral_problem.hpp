// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Fitting a layer seen from the spectral side: C = E Tᵀ and B = E S Tᵀ = C G. Every selection and refinement starts
/// from these.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include <qwha/base/aligned_buffer.hpp>
#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/base/executor.hpp>
#include <qwha/base/finite.hpp>
#include <qwha/base/rows_view.hpp>
#include <qwha/fit/dot.hpp>
#include <qwha/fit/eigen.hpp>
#include <qwha/fit/row_objective.hpp>
#include <qwha/fit/single_thread.hpp>
#include <qwha/fit/spectral_correlation.hpp>
#include <qwha/fit/spectral_moment.hpp>
#include <qwha/quant/quantized_matrix.hpp>
#include <qwha/transform/wht.hpp>

namespace qwha::inline QWHA_ISA {
namespace detail {

using double_rows = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using double_map = Eigen::Map<double_rows, 0, Eigen::OuterStride<>>;
using const_double_map = Eigen::Map<const double_rows, 0, Eigen::OuterStride<>>;

inline double_map map(rows_view<double> x) {
  return {x.data, static_cast<Eigen::Index>(x.rows), static_cast<Eigen::Index>(x.cols),
          Eigen::OuterStride<>(static_cast<Eigen::Index>(x.stride))};
}
inline const_double_map map(rows_view<const double> x) {
  return {x.data, static_cast<Eigen::Index>(x.rows), static_cast<Eigen::Index>(x.cols),
          Eigen::OuterStride<>(static_cast<Eigen::Index>(x.stride))};
}

}  // namespace detail

/// The error of one layer, E = W0 - WQ, in spectral form. Build it once and fit as many adapters to it as wanted.
/// Refers to the weight and to the moment, which must outlive it. 12 bytes a weight.
template <class Transform = wht<native>>
class spectral_problem {
 public:
  /// @param w     pre-trained weight [out, in]
  /// @param base  its quantization
  /// @par Cost     one product C G of [out, in] with [in, in] in double, the only step above O(out in log in)
  /// @par Numerics E, its transform and the product in double; C is kept in float, B in double. Same bits for any
  /// number
  ///               of threads
  /// @throws shape_error; value_error that names the row of the weight or of the base that holds NaN or infinity
  template <class Q>
  spectral_problem(rows_view<const float> w, const quantized_matrix<Q>& base, const spectral_moment<Transform>& moment,
                   const executor& where = default_executor())
      : spectral_problem(w, base.rows(), base.cols(), moment) {
    build([&](std::size_t row, float* out) { base.decode_row(row, out); }, where);
  }
  /// The same with the base as a dense matrix [out, in].
  spectral_problem(rows_view<const float> w, rows_view<const float> base, const spectral_moment<Transform>& moment,
                   const executor& where = default_executor())
      : spectral_problem(w, base.rows, base.cols, moment) {
    build([&](std::size_t row, float* out) { std::copy_n(base.row(row), base.cols, out); }, where);
  }

  std::size_t rows() const noexcept { return w_.rows; }  ///< out
  std::size_t cols() const noexcept { return w_.cols; }  ///< in
  /// ‖(E X)_i‖ = sqrt(e_i S e_iᵀ): what AdaAlloc weighs.
  std::span<const double> row_errors() const noexcept { return row_error_; }
  /// C = E Tᵀ [out, in].
  rows_view<const float> error_spectrum() const noexcept { return {spectrum_.data(), rows(), cols()}; }
  /// B = E S Tᵀ [out, in].
  rows_view<const double> products() const noexcept { return {product_.data(), rows(), cols()}; }
  const spectral_moment<Transform>& moment() const noexcept { return *moment_; }

  /// @param damping  as a fraction of mean(diag S), added to the diagonal of S
  row_objective objective(std::size_t row, double damping) const noexcept {
    return {row_error_[row] * row_error_[row],
            {products().row(row), cols()},
            {error_spectrum().row(row), cols()},
            moment_->values(),
            damping * moment_->mean_diagonal()};
  }

  /// The moment as pursuit reads it. @param damping  as for `objective`
  spectral_correlation correlation(double damping, const executor& where = default_executor()) const {
    return spectral_correlation(moment_->values(), damping * moment_->mean_diagonal(), where);
  }

  /// Row of W0 Tᵀ, the transformed pre-trained weight: what SSH looks at.
  std::vector<double> weight_spectrum(std::size_t row) const {
    std::vector<double> x(w_.row(row), w_.row(row) + cols());
    detail::require(
        moment_->transform().apply(rows_view<double>(x.data(), 1, cols()), scaling::orthonormal, executor::serial()),
        "spectral_problem");
    return x;
  }

 private:
  static constexpr std::size_t slab_rows = 256, tile_cols = 128;  // fixed: they order the sums of the product
  static constexpr std::size_t row_grain = 16;

  spectral_problem(rows_view<const float> w, std::size_t base_rows, std::size_t base_cols,
                   const spectral_moment<Transform>& moment)
      : w_(w), moment_(&moment) {
    const auto shape = [](std::size_t rows, std::size_t cols) {
      return "[" + std::to_string(rows) + ", " + std::to_string(cols) + "]";
    };
    if (w.empty()) throw shape_error("fit: the weight " + shape(w.rows, w.cols) + " is empty");
    if (!w.well_formed())
      throw shape_error("fit: the weight " + shape(w.rows, w.cols) + " has no data or a stride below its columns");
    if (base_rows != w.rows || base_cols != w.cols)
      throw shape_error("fit: the weight is " + shape(w.rows, w.cols) + ", its quantization " +
                        shape(base_rows, base_cols));
    if (moment.order() != w.cols)
      throw shape_error("fit: the weight is " + shape(w.rows, w.cols) +
                        ", the second moment of in = " + std::to_string(moment.order()));
    spectrum_ = aligned_buffer<float>(w.rows * w.cols);
    product_ = aligned_buffer<double>(w.rows * w.cols);
    row_error_.resize(w.rows);
  }

  template <class Decode>
  void build(const Decode& decode, const executor& where) {
    aligned_buffer<double> slab(std::min(slab_rows, rows()) * cols());
    for (std::size_t first = 0; first < rows(); first += slab_rows) {
      const rows_view<double> c(slab.data(), std::min(slab_rows, rows() - first), cols());
      parallel_for(where, c.rows, row_grain,
                   [&](std::size_t begin, std::size_t end) { transform_errors(decode, first, begin, end, c); });
      multiply(c, first, where);
      parallel_for(where, c.rows, row_grain, [&](std::size_t begin, std::size_t end) {
        for (std::size_t r = begin; r < end; ++r) row_error_[first + r] = layer_error_of(first + r, c.row(r));
      });
    }
  }

  /// Rows begin … end - 1 of the slab <- rows of E Tᵀ; each stays in the first-level cache until it is done.
  template <class Decode>
  void transform_errors(const Decode& decode, std::size_t first, std::size_t begin, std::size_t end,
                        rows_view<double> slab) {
    aligned_buffer<float> base(cols());
    for (std::size_t r = begin; r < end; ++r) {
      const float* w = w_.row(first + r);
      double* c = slab.row(r);
      float* kept = spectrum_.data() + (first + r) * cols();
      decode(first + r, base.data());
      if (!all_finite(w, cols()) || !all_finite(base.data(), cols()))
        throw value_error("fit: row " + std::to_string(first + r) + " of the " +
                          (all_finite(w, cols()) ? "quantization" : "weight") + " holds NaN or infinity");
      for (std::size_t j = 0; j < cols(); ++j) c[j] = static_cast<double>(w[j]) - static_cast<double>(base[j]);
      detail::require(
          moment_->transform().apply(rows_view<double>(c, 1, cols()), scaling::orthonormal, executor::serial()),
          "spectral_problem");
      for (std::size_t j = 0; j < cols(); ++j) kept[j] = static_cast<float>(c[j]);
      if (!all_finite(kept, cols())) out_of_range(first + r);
    }
  }

  /// Rows of B from `first` on <- C G.
  void multiply(rows_view<const double> c, std::size_t first, const executor& where) {
    const rows_view<double> out(product_.data() + first * cols(), c.rows, cols());
    parallel_for(where, cols(), tile_cols, [&](std::size_t begin, std::size_t end) {
      const detail::single_thread guard;
      const auto column = static_cast<Eigen::Index>(begin), count = static_cast<Eigen::Index>(end - begin);
      detail::map(out).middleCols(column, count).noalias() =
          detail::map(c) * detail::map(moment_->values()).middleCols(column, count);
    });
  }

  /// ‖(E X)_i‖ = sqrt(b_i c_iᵀ)
  double layer_error_of(std::size_t row, const double* c) const {
    const double squared = detail::dot(products().row(row), c, cols());
    if (!is_finite(squared)) out_of_range(row);
    return std::sqrt(std::max(0.0, squared));
  }

  [[noreturn]] static void out_of_range(std::size_t row) {
    throw value_error("fit: the error of row " + std::to_string(row) + " is outside the range of float");
  }

  rows_view<const float> w_;
  const spectral_moment<Transform>* moment_;
  aligned_buffer<float> spectrum_;
  aligned_buffer<double> product_;
  std::vector<double> row_error_;
};

}  // namespace qwha::inline QWHA_ISA
