// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// A dense float matrix that owns its memory, and the qwha names that the whole engine uses.

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include <qwha/base/aligned_buffer.hpp>
#include <qwha/base/executor.hpp>
#include <qwha/base/rows_view.hpp>

namespace engine {

using qwha::default_executor;
using qwha::executor;
using qwha::rows_view;
using token = std::int32_t;

/// Row-major floats [rows, cols]. Move only; not initialised.
class matrix {
 public:
  matrix() = default;
  matrix(std::size_t rows, std::size_t cols) : data_(rows * cols), rows_(rows), cols_(cols) {}
  /// A copy.
  explicit matrix(rows_view<const float> from) : matrix(from.rows, from.cols) {
    for (std::size_t r = 0; r < rows_; ++r) std::copy_n(from.row(r), cols_, row(r));
  }

  std::size_t rows() const noexcept { return rows_; }
  std::size_t cols() const noexcept { return cols_; }
  rows_view<float> view() noexcept { return {data_.data(), rows_, cols_}; }
  rows_view<const float> view() const noexcept { return {data_.data(), rows_, cols_}; }
  float* row(std::size_t r) noexcept { return data_.data() + r * cols_; }
  const float* row(std::size_t r) const noexcept { return data_.data() + r * cols_; }

 private:
  qwha::aligned_buffer<float> data_;
  std::size_t rows_ = 0;
  std::size_t cols_ = 0;
};

}  // namespace engine
