// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// A linear layer y = W x + b whose weights may be dense, quantized, or quantized plus adapter. The graph sees none of
/// this: it multiplies, and `weight_source` says where rows of W come from.

#include <cstddef>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include <qwha/quant/quantized_matrix.hpp>

#include "matrix.hpp"

namespace engine {

/// Rows of a weight matrix [out, in], wherever they come from. Immutable, so many threads may read at once.
class weight_source {
 public:
  virtual ~weight_source() = default;
  virtual std::size_t rows() const noexcept = 0;
  virtual std::size_t cols() const noexcept = 0;
  /// Writes rows first … first + out.rows - 1. @pre they are all there, out.cols == cols()
  virtual void read(std::size_t first, rows_view<float> out) const = 0;
  /// All rows, where they lie in memory as floats; else an empty view.
  virtual rows_view<const float> dense() const noexcept { return {}; }
  /// y [tokens, out] = x Wᵀ by a way of its own; false: it has none, and rows are to be read.
  virtual bool multiply(rows_view<const float> /*x*/, rows_view<float> /*y*/, const executor& /*where*/) const {
    return false;
  }
  /// Bytes that the weights take.
  virtual std::size_t size_bytes() const noexcept = 0;
};

class dense_weights final : public weight_source {
 public:
  explicit dense_weights(matrix w) : w_(std::move(w)) {}
  std::size_t rows() const noexcept override { return w_.rows(); }
  std::size_t cols() const noexcept override { return w_.cols(); }
  void read(std::size_t first, rows_view<float> out) const override;
  rows_view<const float> dense() const noexcept override { return w_.view(); }
  std::size_t size_bytes() const noexcept override { return w_.rows() * w_.cols() * sizeof(float); }

 private:
  matrix w_;
};

template <class Q>
class quantized_weights final : public weight_source {
 public:
  explicit quantized_weights(qwha::quantized_matrix<Q> w) : w_(std::move(w)) {}
  std::size_t rows() const noexcept override { return w_.rows(); }
  std::size_t cols() const noexcept override { return w_.cols(); }
  void read(std::size_t first, rows_view<float> out) const override { w_.dequantize_rows(first, out); }
  std::size_t size_bytes() const noexcept override { return w_.size_bytes(); }

 private:
  qwha::quantized_matrix<Q> w_;
};

class linear {
 public:
  linear() = default;
  /// @param bias  [out], or empty
  /// @throws qwha::shape_error when the bias has another length
  explicit linear(std::shared_ptr<const weight_source> weights, std::vector<float> bias = {});

  std::size_t out() const noexcept { return weights_ ? weights_->rows() : 0; }
  std::size_t in() const noexcept { return weights_ ? weights_->cols() : 0; }
  std::span<const float> bias() const noexcept { return bias_; }
  std::size_t size_bytes() const noexcept {
    return (weights_ ? weights_->size_bytes() : 0) + bias_.size() * sizeof(float);
  }
  const weight_source& weights() const noexcept { return *weights_; }

  /// y [tokens, out] = x Wᵀ + b, x [tokens, in]. Rows of W that are not dense are written out in slabs once per call,
  /// so hand over as many tokens as there are. Same bits for any number of threads.
  void forward(rows_view<const float> x, rows_view<float> y, const executor& where = default_executor()) const;

 private:
  std::shared_ptr<const weight_source> weights_;
  std::vector<float> bias_;
};

inline linear make_dense(matrix w, std::vector<float> bias = {}) {
  return linear(std::make_shared<dense_weights>(std::move(w)), std::move(bias));
}
/// Copies of a quantized_matrix share their storage.
template <class Q>
linear make_quantized(qwha::quantized_matrix<Q> w, std::vector<float> bias = {}) {
  return linear(std::make_shared<quantized_weights<Q>>(std::move(w)), std::move(bias));
}

/// y [n, rows of w] = x wᵀ through Eigen, cut into tiles that run on `where`.
void multiply_transposed(rows_view<const float> x, rows_view<const float> w, rows_view<float> y, const executor& where);

}  // namespace engine
