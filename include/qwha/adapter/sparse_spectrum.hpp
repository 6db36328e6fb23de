// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// The sparse spectrum F [out, in] of a Walsh-Hadamard adapter (paper section 3), stored by rows, and ways to build
/// one.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <qwha/base/error.hpp>
#include <qwha/base/finite.hpp>
#include <qwha/base/float16.hpp>
#include <qwha/base/rows_view.hpp>

namespace qwha {

/// What kernels take of a spectrum: pointers into its three arrays. Row r owns entries offsets[r] … offsets[r + 1] - 1.
template <class T>
struct spectrum_ref {
  const std::size_t* offsets = nullptr;    ///< [rows + 1]
  const std::uint32_t* columns = nullptr;  ///< ascending inside a row
  const T* values = nullptr;
  std::size_t rows = 0;
  std::size_t cols = 0;

  QWHA_HD constexpr std::size_t size() const noexcept { return rows == 0 ? 0 : offsets[rows]; }
};
static_assert(std::is_trivially_copyable_v<spectrum_ref<float>>);

/// F [out, in] with `size()` trainable coefficients against the orthonormal transform, W = WQ + F T. Rows one after
/// another, columns ascending inside a row. The pattern is fixed at construction; values may be written (training).
/// What checks or compares numbers is a template on the compile flags or always inlined (config.hpp): the type crosses
/// files.
/// @tparam T  float, double, half or bfloat16
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
  template <class Isa = isa>
  sparse_spectrum(std::size_t rows, std::size_t cols, std::vector<std::size_t> offsets,
                  std::vector<std::uint32_t> columns, std::vector<T> values)
      : cols_(cols), offsets_(std::move(offsets)), columns_(std::move(columns)), values_(std::move(values)) {
    const auto fail = [](const std::string& what) { throw shape_error("sparse_spectrum: " + what); };
    if (offsets_.empty() || offsets_.size() - 1 != rows)
      fail("offsets must hold rows + 1 entries (" + std::to_string(rows) + " rows, " + std::to_string(offsets_.size()) +
           " entries)");
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
          throw value_error("sparse_spectrum: row " + std::to_string(r) + ", column " + std::to_string(columns_[k]) +
                            " has a value that is NaN or infinite");
      }
    }
  }

  std::size_t rows() const noexcept { return offsets_.size() - 1; }
  std::size_t cols() const noexcept { return cols_; }
  /// The number of coefficients p.
  std::size_t size() const noexcept { return columns_.size(); }

  /// @pre row < rows()
  std::span<const std::uint32_t> columns(std::size_t row) const noexcept {
    return {columns_.data() + offsets_[row], offsets_[row + 1] - offsets_[row]};
  }
  /// @pre row < rows()
  std::span<const T> values(std::size_t row) const noexcept {
    return {values_.data() + offsets_[row], offsets_[row + 1] - offsets_[row]};
  }
  /// All values, row after row; writable, so that an optimiser steps on them. What is written must stay finite.
  std::span<T> values() noexcept { return values_; }
  std::span<const T> values() const noexcept { return values_; }
  /// All columns, row after row.
  std::span<const std::uint32_t> columns() const noexcept { return columns_; }
  /// [rows + 1]: where each row starts.
  std::span<const std::size_t> offsets() const noexcept { return offsets_; }

  /// Valid until the spectrum is moved from, assigned or destroyed.
  spectrum_ref<T> ref() const noexcept { return {offsets_.data(), columns_.data(), values_.data(), rows(), cols_}; }

  /// Same shape, same pattern, values equal by their bits.
  friend QWHA_ALWAYS_INLINE bool operator==(const sparse_spectrum& a, const sparse_spectrum& b) noexcept {
    return a.cols_ == b.cols_ && a.offsets_ == b.offsets_ && a.columns_ == b.columns_ &&
           same_bits(a.values_, b.values_);
  }

 private:
  QWHA_ALWAYS_INLINE static bool same_bits(const std::vector<T>& a, const std::vector<T>& b) noexcept {
    return a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
  }

  std::size_t cols_ = 0;
  std::vector<std::size_t> offsets_;
  std::vector<std::uint32_t> columns_;
  std::vector<T> values_;
};

/// One coefficient of F: row (output channel), column (frequency), value.
template <class T>
struct spectrum_entry {
  std::size_t row = 0;
  std::size_t column = 0;
  T value{};
};

/// F by columns, for sweeps along a frequency: column j owns entries offsets[j] … offsets[j + 1] - 1, rows ascending,
/// and entry k has value `values()[position[k]]` of the spectrum it was made from.
struct spectrum_columns {
  std::vector<std::size_t> offsets;    ///< [cols + 1]
  std::vector<std::uint32_t> rows;     ///< [size]
  std::vector<std::size_t> positions;  ///< [size] into values(): the pattern is stored once, values stay where they are
};

}  // namespace qwha

namespace qwha::inline QWHA_ISA::detail {

/// `value` as a float such that rounding it on to a 16-bit type gives what rounding `value` itself would give: to odd
/// when bits were lost (Boldo and Melquiond 2005), else a double would be rounded twice.
inline float round_to_odd(double value) noexcept {
  const float nearest = static_cast<float>(value);
  if (static_cast<double>(nearest) == value || !is_finite(nearest)) return nearest;
  const float toward_zero =
      std::fabs(static_cast<double>(nearest)) > std::fabs(value) ? std::nextafter(nearest, 0.0f) : nearest;
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(toward_zero) | 1u);
}

template <class To, class From>
To narrow(From value) noexcept {
  if constexpr (sizeof(To) == 2 && std::is_same_v<From, double>)
    return To(round_to_odd(value));
  else
    return static_cast<To>(value);
}

}  // namespace qwha::inline QWHA_ISA::detail

namespace qwha::inline QWHA_ISA {

/// F from its coefficients in any order.
/// Cost: one sort by (row, column).
/// @throws shape_error that names an entry outside [rows, cols] or a (row, column) that occurs twice; value_error for
/// NaN or infinity
template <class T>
sparse_spectrum<T> spectrum_from_entries(std::size_t rows, std::size_t cols, std::vector<spectrum_entry<T>> entries) {
  const auto place = [](const spectrum_entry<T>& e) {
    return "(row " + std::to_string(e.row) + ", column " + std::to_string(e.column) + ")";
  };
  for (const auto& e : entries)
    if (e.row >= rows || e.column >= cols)
      throw shape_error("spectrum_from_entries: " + place(e) + " lies outside [" + std::to_string(rows) + ", " +
                        std::to_string(cols) + "]");
  std::sort(entries.begin(), entries.end(),
            [](const auto& a, const auto& b) { return std::pair(a.row, a.column) < std::pair(b.row, b.column); });
  std::vector<std::size_t> offsets(rows + 1, 0);
  std::vector<std::uint32_t> columns(entries.size());
  std::vector<T> values(entries.size());
  for (std::size_t k = 0; k < entries.size(); ++k) {
    const auto& e = entries[k];
    if (k > 0 && entries[k - 1].row == e.row && entries[k - 1].column == e.column)
      throw shape_error("spectrum_from_entries: " + place(e) + " occurs twice");
    ++offsets[e.row + 1];
    columns[k] = static_cast<std::uint32_t>(e.column);
    values[k] = e.value;
  }
  for (std::size_t r = 0; r < rows; ++r) offsets[r + 1] += offsets[r];
  return {rows, cols, std::move(offsets), std::move(columns), std::move(values)};
}

/// The entries of `dense` [out, in] that are not zero.
/// @throws value_error for NaN or infinity
template <class T>
sparse_spectrum<std::remove_const_t<T>> spectrum_from_dense(rows_view<T> dense) {
  using V = std::remove_const_t<T>;
  std::vector<std::size_t> offsets{0};
  std::vector<std::uint32_t> columns;
  std::vector<V> values;
  offsets.reserve(dense.rows + 1);
  for (std::size_t r = 0; r < dense.rows; ++r) {
    for (std::size_t c = 0; c < dense.cols; ++c) {
      const V v = dense(r, c);
      if (static_cast<arithmetic_t<V>>(v) == 0) continue;
      columns.push_back(static_cast<std::uint32_t>(c));
      values.push_back(v);
    }
    offsets.push_back(columns.size());
  }
  return {dense.rows, dense.cols, std::move(offsets), std::move(columns), std::move(values)};
}

/// The same F with values of type `To`, each rounded once to nearest.
/// @throws value_error when a value overflows the narrower type
template <class To, class From>
sparse_spectrum<To> convert_spectrum(const sparse_spectrum<From>& f) {
  std::vector<To> values(f.size());
  for (std::size_t k = 0; k < values.size(); ++k)
    values[k] = detail::narrow<To>(static_cast<arithmetic_t<From>>(f.values()[k]));
  return {f.rows(),
          f.cols(),
          {f.offsets().begin(), f.offsets().end()},
          {f.columns().begin(), f.columns().end()},
          std::move(values)};
}

/// The pattern of F by columns. Cost: two passes over the coefficients.
template <class T>
spectrum_columns by_columns(const sparse_spectrum<T>& f) {
  spectrum_columns t{std::vector<std::size_t>(f.cols() + 1, 0), std::vector<std::uint32_t>(f.size()),
                     std::vector<std::size_t>(f.size())};
  for (const std::uint32_t c : f.columns()) ++t.offsets[c + 1];
  for (std::size_t c = 0; c < f.cols(); ++c) t.offsets[c + 1] += t.offsets[c];
  std::vector<std::size_t> next(t.offsets.begin(), t.offsets.end() - 1);
  for (std::size_t r = 0; r < f.rows(); ++r)
    for (std::size_t k = f.offsets()[r]; k < f.offsets()[r + 1]; ++k) {
      const std::size_t to = next[f.columns()[k]]++;
      t.rows[to] = static_cast<std::uint32_t>(r);
      t.positions[to] = k;
    }
  return t;
}

}  // namespace qwha::inline QWHA_ISA
