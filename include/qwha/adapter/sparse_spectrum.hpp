// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// The sparse spectrum F [out, in] of a Walsh-Hadamard adapter (paper section 3), stored by rows.

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <qwha/base/error.hpp>
#include <qwha/base/finite.hpp>
#include <qwha/base/float16.hpp>

namespace qwha {

/// F [out, in] with `size()` trainable coefficients against the orthonormal transform, W = WQ + F T. Rows one after
/// another, columns ascending inside a row. The pattern is fixed at construction; values may be written (training).
template <class T>
class sparse_spectrum {
 public:
  using value_type = T;

  /// No rows.
  sparse_spectrum() : offsets_{0} {}

  /// @param offsets  [rows + 1], ascending from 0: row r owns entries offsets[r] … offsets[r + 1] - 1
  /// @param columns  [size], ascending and without repeats inside each row, below `cols`
  /// @param values   [size], finite
  /// @throws shape_error or value_error that names the row and the rule
  sparse_spectrum(std::size_t rows, std::size_t cols, std::vector<std::size_t> offsets,
                  std::vector<std::uint32_t> columns, std::vector<T> values)
      : cols_(cols), offsets_(std::move(offsets)), columns_(std::move(columns)), values_(std::move(values)) {
    const auto fail = [](const std::string& what) { throw shape_error("sparse_spectrum: " + what); };
    if (offsets_.size() != rows + 1) fail("offsets must hold rows + 1 = " + std::to_string(rows + 1) + " entries");
    if (offsets_.front() != 0) fail("the first offset must be 0");
    if (offsets_.back() != columns_.size() || columns_.size() != values_.size())
      fail("the last offset, the columns and the values must agree on the number of coefficients");
    if (cols > std::numeric_limits<std::uint32_t>::max()) fail("more than 2^32 - 1 columns");
    for (std::size_t r = 0; r < rows; ++r) {
      if (offsets_[r] > offsets_[r + 1]) fail("offsets must not descend (row " + std::to_string(r) + ")");
      for (std::size_t k = offsets_[r]; k < offsets_[r + 1]; ++k) {
        if (k >= columns_.size() || columns_[k] >= cols)
          fail("row " + std::to_string(r) + " has a column outside [0, " + std::to_string(cols) + ")");
        if (k > offsets_[r] && columns_[k - 1] >= columns_[k])
          fail("the columns of row " + std::to_string(r) + " must ascend without repeats");
        if (!is_finite(static_cast<arithmetic_t<T>>(values_[k])))
          throw value_error("sparse_spectrum: row " + std::to_string(r) + " has a value that is NaN or infinite");
      }
    }
  }

  std::size_t rows() const noexcept { return offsets_.size() - 1; }
  std::size_t cols() const noexcept { return cols_; }
  /// The number of coefficients p.
  std::size_t size() const noexcept { return columns_.size(); }

  std::span<const std::uint32_t> columns(std::size_t row) const noexcept {
    return {columns_.data() + offsets_[row], offsets_[row + 1] - offsets_[row]};
  }
  std::span<const T> values(std::size_t row) const noexcept {
    return {values_.data() + offsets_[row], offsets_[row + 1] - offsets_[row]};
  }
  /// All values, row after row; writable, so that an optimiser steps on them.
  std::span<T> values() noexcept { return values_; }
  std::span<const T> values() const noexcept { return values_; }
  /// All columns, row after row.
  std::span<const std::uint32_t> columns() const noexcept { return columns_; }
  /// [rows + 1]: where each row starts.
  std::span<const std::size_t> offsets() const noexcept { return offsets_; }

 private:
  std::size_t cols_ = 0;
  std::vector<std::size_t> offsets_;
  std::vector<std::uint32_t> columns_;
  std::vector<T> values_;
};

}  // namespace qwha
