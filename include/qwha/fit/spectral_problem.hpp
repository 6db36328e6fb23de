// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Fitting a layer seen from the spectral side: G = T S Tᵀ, which layers with the same input share, and per layer
/// C = E Tᵀ and B = E S Tᵀ = C G. Every selection and refinement starts from these.

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <new>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <qwha/base/aligned_buffer.hpp>
#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/base/executor.hpp>
#include <qwha/base/finite.hpp>
#include <qwha/base/rows_view.hpp>
#include <qwha/base/status.hpp>
#include <qwha/fit/eigen.hpp>
#include <qwha/fit/row_objective.hpp>
#include <qwha/fit/second_moment.hpp>
#include <qwha/fit/single_thread.hpp>
#include <qwha/quant/quantized_matrix.hpp>
#include <qwha/transform/wht.hpp>

namespace qwha::inline QWHA_ISA {
namespace detail {

inline void require(status s, const char* who) {
  if (s == status::out_of_memory) throw std::bad_alloc();
  if (s != status::ok) throw shape_error(std::string(who) + ": " + describe(s));
}

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

/// Calls `body(i, j, rows, cols)` for tiles of the lower triangle of an [n, n] matrix, row by row of tiles.
template <class Body>
void for_lower_tiles(std::size_t n, const executor& where, const Body& body) {
  constexpr std::size_t tile = 64;
  parallel_for(where, (n - 1) / tile + 1, 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin * tile; i < std::min(n, end * tile); i += tile)
      for (std::size_t j = 0; j <= i; j += tile) body(i, j, std::min(tile, n - i), std::min(tile, n - j));
  });
}

template <class Isa = isa>
void transpose(rows_view<double> x, const executor& where) {
  for_lower_tiles(x.rows, where, [&](std::size_t i0, std::size_t j0, std::size_t rows, std::size_t cols) {
    for (std::size_t i = i0; i < i0 + rows; ++i)
      for (std::size_t j = j0; j < std::min(i, j0 + cols); ++j) std::swap(x(i, j), x(j, i));
  });
}

/// Removes what rounding made asymmetric.
template <class Isa = isa>
void symmetrise(rows_view<double> x, const executor& where) {
  for_lower_tiles(x.rows, where, [&](std::size_t i0, std::size_t j0, std::size_t rows, std::size_t cols) {
    for (std::size_t i = i0; i < i0 + rows; ++i)
      for (std::size_t j = j0; j < std::min(i, j0 + cols); ++j) x(i, j) = x(j, i) = 0.5 * (x(i, j) + x(j, i));
  });
}

}  // namespace detail

/// G = T S Tᵀ [in, in] in double, T = H / sqrt(in): the second moment of the transformed activations. Share one among
/// the layers that read the same activations.
/// @tparam Transform  orthonormal transform of rows with the members of `wht`
template <class Transform = wht<native>>
class spectral_moment {
 public:
  /// @param s  moved in, its memory is reused; copied in, 8 in² bytes are allocated
  /// @par Cost  a transform of the rows and one of the columns: O(in² log in)
  /// @throws value_error when `s` holds no tokens; unsupported_order when there is no Hadamard matrix of order `in`
  explicit spectral_moment(second_moment s, const executor& where = default_executor())
      : transform_(s.in()), mean_diagonal_(s.mean_diagonal()) {
    if (s.tokens() == 0) throw value_error("spectral_moment: the second moment holds no tokens");
    gram_ = std::move(s).release();
    const rows_view<double> g(gram_.data(), order(), order());
    detail::require(transform_.apply(g, scaling::orthonormal, where), "spectral_moment");
    detail::transpose(g, where);
    detail::require(transform_.apply(g, scaling::orthonormal, where), "spectral_moment");
    detail::symmetrise(g, where);
  }

  std::size_t order() const noexcept { return transform_.order(); }
  rows_view<const double> values() const noexcept { return {gram_.data(), order(), order()}; }
  /// mean(diag S) = mean(diag G): what damping is a fraction of.
  double mean_diagonal() const noexcept { return mean_diagonal_; }
  const Transform& transform() const noexcept { return transform_; }

 private:
  Transform transform_;
  double mean_diagonal_;
  std::vector<double> gram_;
};

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
      parallel_for(where, c.rows, 16,
                   [&](std::size_t begin, std::size_t end) { error_rows(decode, first, begin, end, c); });
      detail::require(moment_->transform().apply(c, scaling::orthonormal, where), "spectral_problem");
      multiply(c, first, where);
      finish(c, first, where);
    }
  }

  /// Rows begin … end - 1 of the slab <- rows of E.
  template <class Decode>
  void error_rows(const Decode& decode, std::size_t first, std::size_t begin, std::size_t end,
                  rows_view<double> slab) const {
    std::vector<float> base(cols());
    for (std::size_t r = begin; r < end; ++r) {
      const float* w = w_.row(first + r);
      decode(first + r, base.data());
      if (!all_finite(w, cols()) || !all_finite(base.data(), cols()))
        throw value_error("fit: row " + std::to_string(first + r) + " of the " +
                          (all_finite(w, cols()) ? "quantization" : "weight") + " holds NaN or infinity");
      for (std::size_t j = 0; j < cols(); ++j) slab(r, j) = static_cast<double>(w[j]) - static_cast<double>(base[j]);
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

  void finish(rows_view<const double> c, std::size_t first, const executor& where) {
    parallel_for(where, c.rows, 16, [&](std::size_t begin, std::size_t end) {
      for (std::size_t r = begin; r < end; ++r) {
        const double* b = products().row(first + r);
        float* kept = spectrum_.data() + (first + r) * cols();
        double squared = 0;
        for (std::size_t j = 0; j < cols(); ++j) {
          squared += b[j] * c(r, j);
          kept[j] = static_cast<float>(c(r, j));
        }
        if (!all_finite(kept, cols()) || !is_finite(squared))
          throw value_error("fit: the error of row " + std::to_string(first + r) + " is outside the range of float");
        row_error_[first + r] = std::sqrt(std::max(0.0, squared));
      }
    });
  }

  rows_view<const float> w_;
  const spectral_moment<Transform>* moment_;
  aligned_buffer<float> spectrum_;
  aligned_buffer<double> product_;
  std::vector<double> row_error_;
};

}  // namespace qwha::inline QWHA_ISA
