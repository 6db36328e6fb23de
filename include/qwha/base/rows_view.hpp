// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// A matrix that somebody else owns: pointer, shape and row stride. Small enough to cross a kernel launch.

#include <cstddef>
#include <type_traits>

#include <qwha/base/config.hpp>

namespace qwha {

/// Row-major view, shape [rows, cols]; row r starts at `data + r * stride`.
/// @pre  stride >= cols where rows > 1; `data` may be null only when the view is empty. Any alignment.
template <class T>
struct rows_view {
  T* data = nullptr;
  std::size_t rows = 0;
  std::size_t cols = 0;
  std::size_t stride = 0;  ///< elements from one row to the next

  constexpr rows_view() = default;
  QWHA_HD constexpr rows_view(T* data_, std::size_t rows_, std::size_t cols_) noexcept
      : data(data_), rows(rows_), cols(cols_), stride(cols_) {}
  QWHA_HD constexpr rows_view(T* data_, std::size_t rows_, std::size_t cols_, std::size_t stride_) noexcept
      : data(data_), rows(rows_), cols(cols_), stride(stride_) {}

  QWHA_HD constexpr operator rows_view<const T>() const noexcept
    requires(!std::is_const_v<T>)
  {
    return {data, rows, cols, stride};
  }

  QWHA_HD constexpr T* row(std::size_t r) const noexcept { return data + r * stride; }
  QWHA_HD constexpr T& operator()(std::size_t r, std::size_t c) const noexcept { return data[r * stride + c]; }
  QWHA_HD constexpr bool empty() const noexcept { return rows == 0 || cols == 0; }
  /// The precondition above: there is data, and no row runs into the next. For front doors that check what they are
  /// given.
  QWHA_HD constexpr bool well_formed() const noexcept {
    return empty() || (data != nullptr && (rows == 1 || stride >= cols));
  }

  /// The `count` rows from `first` on.
  QWHA_HD constexpr rows_view rows_from(std::size_t first, std::size_t count) const noexcept {
    return {data + first * stride, count, cols, stride};
  }
};
template <class T>
rows_view(T*, std::size_t, std::size_t) -> rows_view<T>;
template <class T>
rows_view(T*, std::size_t, std::size_t, std::size_t) -> rows_view<T>;

static_assert(std::is_trivially_copyable_v<rows_view<float>>);

}  // namespace qwha
