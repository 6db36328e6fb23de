// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// The second moment S = X Xᵀ of the activations that enter a layer: all that fitting needs to know about the data.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <qwha/adapter/transpose.hpp>
#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/base/executor.hpp>
#include <qwha/base/finite.hpp>
#include <qwha/base/rows_view.hpp>
#include <qwha/fit/eigen.hpp>
#include <qwha/fit/single_thread.hpp>

namespace qwha {

/// S [in, in] = sum over tokens of x xᵀ, not divided by their number. Layers that read the same activations (q, k and
/// v; gate and up) share one. Copyable; 8 in² bytes.
class second_moment {
 public:
  /// No tokens yet. @throws shape_error when `in` is 0 or in² does not fit the address space
  explicit second_moment(std::size_t in) : in_(in), values_(checked_size(in)) {}

  /// From sums made elsewhere. @param values  [in, in], symmetric to 1e-12 of the diagonal, diagonal >= 0
  /// @throws shape_error, value_error that name the row and the rule
  template <class Isa = isa>
  second_moment(rows_view<const double> values, std::size_t tokens) : second_moment(values.rows) {
    if (values.cols != in_) throw shape_error("second_moment: values must be square");
    if (!values.well_formed()) throw shape_error("second_moment: values have no data or a stride below their columns");
    for (std::size_t i = 0; i < in_; ++i) std::copy_n(values.row(i), in_, values_.data() + i * in_);
    adopt<Isa>(tokens);
  }
  /// The same, taking over the memory. @param values  [in * in], row after row
  template <class Isa = isa>
  second_moment(std::vector<double> values, std::size_t tokens)
      : in_(static_cast<std::size_t>(std::llround(std::sqrt(static_cast<double>(values.size()))))),
        values_(std::move(values)) {
    if (values_.empty() || in_ * in_ != values_.size()) throw shape_error("second_moment: values must be square");
    adopt<Isa>(tokens);
  }

  /// Adds a batch of activations.
  /// @param x  [tokens, in]; a token a row
  /// @par Cost     tokens * in² / 2 fused multiply-adds; up to 1.3 MiB of scratch per thread
  /// @par Numerics products in float over runs of 256 tokens, their sums in double: relative to sqrt(S_ii S_jj) an
  /// error
  ///               below 256 * 2^-24, typically 1e-6. Same bits for any number of threads; another division into
  ///               batches rounds differently.
  /// @throws shape_error; value_error that names the token whose activations are NaN, infinite or above 1e17 in
  /// magnitude
  ///         (their squares would leave the range of float). Nothing is added then.
  template <class Isa = isa>
  void accumulate(rows_view<const float> x, const executor& where = default_executor()) {
    if (x.rows == 0) return;
    if (!x.well_formed()) throw shape_error("second_moment::accumulate: x has no data or a stride below its columns");
    if (x.cols != in_)
      throw shape_error("second_moment::accumulate: x has " + std::to_string(x.cols) +
                        " columns, expected in = " + std::to_string(in_));
    for (std::size_t t = 0; t < x.rows; ++t) check_token<Isa>(x.row(t), t);

    const std::size_t blocks = (in_ - 1) / largest_tile + 1;
    const std::size_t tile = ((in_ - 1) / blocks / tile_unit + 1) * tile_unit;
    parallel_for(where, blocks * (blocks + 1) / 2, 1, [&](std::size_t begin, std::size_t end) {
      for (std::size_t k = begin; k < end; ++k) {
        // Tile k of the lower triangle counted by rows: i (i + 1) / 2 <= k.
        auto i = static_cast<std::size_t>((std::sqrt(8.0 * static_cast<double>(k) + 1.0) - 1.0) / 2.0);
        while (i * (i + 1) / 2 > k) --i;
        while ((i + 1) * (i + 2) / 2 <= k) ++i;
        add_tile<Isa>(x, tile, i * tile, (k - i * (i + 1) / 2) * tile);
      }
    });
    tokens_ += x.rows;
  }

  /// Adds what another thread or process has summed. @throws shape_error unless `other` has the same `in`
  template <class Isa = isa>
  void merge(const second_moment& other) {
    if (other.in_ != in_)
      throw shape_error("second_moment::merge: in = " + std::to_string(other.in_) +
                        " into in = " + std::to_string(in_));
    for (std::size_t i = 0; i < values_.size(); ++i) values_[i] += other.values_[i];
    tokens_ += other.tokens_;
  }

  std::size_t in() const noexcept { return in_; }
  std::size_t tokens() const noexcept { return tokens_; }
  /// S [in, in], symmetric, both triangles.
  rows_view<const double> values() const noexcept { return {values_.data(), in_, in_}; }
  /// mean(diag S): what damping is a fraction of.
  template <class Isa = isa>
  double mean_diagonal() const noexcept {
    double sum = 0;
    for (std::size_t i = 0; i < in_; ++i) sum += values_[i * in_ + i];
    return sum / static_cast<double>(in_);
  }
  /// Takes the storage [in * in], row after row: for a transform in place. The object is left without tokens.
  std::vector<double> release() && noexcept {
    tokens_ = 0;
    in_ = 0;
    return std::move(values_);
  }

 private:
  // Of S: large against what packing and adding in double cost, and all about equal, in multiples of Eigen's 48 rows.
  static constexpr std::size_t largest_tile = 528, tile_unit = 48;
  static constexpr std::size_t run = 256;  // tokens summed in float

  static std::size_t checked_size(std::size_t in) {
    if (in == 0) throw shape_error("second_moment: in must not be 0");
    if (in > std::numeric_limits<std::size_t>::max() / 16 / in) throw shape_error("second_moment: in is too large");
    return in * in;
  }

  /// Checks values given from outside and removes what rounding made asymmetric.
  template <class Isa>
  void adopt(std::size_t tokens) {
    const rows_view<double> s(values_.data(), in_, in_);
    const auto fail = [](std::size_t row, const char* rule) {
      throw value_error("second_moment: row " + std::to_string(row) + rule);
    };
    for (std::size_t i = 0; i < in_; ++i) {
      if (!all_finite(s.row(i), in_)) fail(i, " holds NaN or infinity");
      if (s(i, i) < 0) fail(i, " has a negative diagonal");
      for (std::size_t j = 0; j < i; ++j) {
        if (std::abs(s(i, j) - s(j, i)) > 1e-12 * std::sqrt(s(i, i)) * std::sqrt(s(j, j))) fail(i, " breaks symmetry");
        s(i, j) = s(j, i) = 0.5 * s(i, j) + 0.5 * s(j, i);
      }
    }
    tokens_ = tokens;
  }

  template <class Isa>
  void check_token(const float* x, std::size_t token) const {
    constexpr float largest = 1e17f;  // 256 squares stay below the largest float
    bool fits = true;
    for (std::size_t j = 0; j < in_; ++j) fits &= std::abs(x[j]) <= largest;
    if (fits && all_finite(x, in_)) return;
    throw value_error("second_moment::accumulate: token " + std::to_string(token) +
                      (all_finite(x, in_) ? " holds an activation above 1e17 in magnitude" : " holds NaN or infinity"));
  }

  /// Adds the tile of `tile` rows and columns at (row, col), col <= row, and writes it to both triangles.
  template <class Isa>
  void add_tile(rows_view<const float> x, std::size_t tile, std::size_t row, std::size_t col) {
    using float_matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    using double_matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    using tokens_map = Eigen::Map<const float_matrix, 0, Eigen::OuterStride<>>;
    using sums_map = Eigen::Map<double_matrix, 0, Eigen::OuterStride<>>;
    const detail::single_thread guard;
    const auto index = [](std::size_t i) { return static_cast<Eigen::Index>(i); };
    const auto rows = index(std::min(tile, in_ - row)), cols = index(std::min(tile, in_ - col));

    sums_map lower(values_.data() + row * in_ + col, rows, cols, Eigen::OuterStride<>(index(in_)));
    float_matrix memory(rows, cols % 128 == 0 ? cols + 16 : cols);  // rows 512 bytes apart would share cache sets
    auto product = memory.leftCols(cols);
    if (row == col) product.setZero();  // its upper triangle stays so
    for (std::size_t first = 0; first < x.rows; first += run) {
      const auto count = index(std::min(run, x.rows - first));
      const Eigen::OuterStride<> stride(index(x.stride));
      const tokens_map left(x.row(first) + row, count, rows, stride), right(x.row(first) + col, count, cols, stride);
      if (row == col) {
        for (Eigen::Index i = 0; i < rows; ++i) product.row(i).head(i + 1).setZero();
        product.template selfadjointView<Eigen::Lower>().rankUpdate(left.transpose());
      } else {
        product.noalias() = left.transpose() * right;
      }
      lower += product.template cast<double>();
    }
    const rows_view<double> all(values_.data(), in_, in_);
    const auto mirror = [&](std::size_t r, std::size_t r_count, std::size_t c, std::size_t c_count) {
      detail::copy_turned(rows_view<const double>(all.row(r) + c, r_count, c_count, in_),
                          rows_view<double>(all.row(c) + r, c_count, r_count, in_));
    };
    if (row != col) return mirror(row, std::min(tile, in_ - row), col, std::min(tile, in_ - col));
    for (std::size_t first = row; first < std::min(row + tile, in_); first += tile_unit) {
      const std::size_t end = std::min({first + tile_unit, row + tile, in_});
      mirror(first, end - first, row, first - row);
      for (std::size_t i = first; i < end; ++i)
        for (std::size_t j = i + 1; j < end; ++j) all(i, j) = all(j, i);
    }
  }

  std::size_t in_;
  std::size_t tokens_ = 0;
  std::vector<double> values_;
};

}  // namespace qwha
