// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// The unit of work of the solvers: a tile of a few weight rows, with Eigen types whose products stay in one thread.

#include <algorithm>
#include <cstddef>
#include <string>

#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/base/rows_view.hpp>
#include <qwha/fit/eigen.hpp>

namespace qwha::inline QWHA_ISA::detail {

/// Rows that the solvers take together. Fixed, so that results do not depend on the number of threads; and 32, because
/// Eigen runs a product whose result has at most 32 rows by type in the calling thread: the executor alone decides
/// where work runs, and the order of additions is the same everywhere.
inline constexpr int tile_rows = 32;

template <class T>
using square_matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <class T>
using row_major_map =
    Eigen::Map<const Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>, 0, Eigen::OuterStride<>>;
/// [tile_rows, cols] with the rows of one column side by side, for work that goes column by column.
template <class T>
using column_tile = Eigen::Matrix<T, tile_rows, Eigen::Dynamic, Eigen::ColMajor>;
/// [tile_rows, cols] with the columns of one row side by side, for work that goes row by row.
template <class T>
using row_tile = Eigen::Matrix<T, tile_rows, Eigen::Dynamic, Eigen::RowMajor>;
template <class T>
using tile_column = Eigen::Matrix<T, tile_rows, 1>;

template <class T>
row_major_map<T> eigen_map(rows_view<const T> m) {
  return {m.data, static_cast<Eigen::Index>(m.rows), static_cast<Eigen::Index>(m.cols),
          Eigen::OuterStride<>(static_cast<Eigen::Index>(m.stride))};
}

/// @throws shape_error unless the second moment is [cols, cols] for a weight [rows, cols]
template <class Moment>
void check_moment(const char* who, std::size_t rows, std::size_t cols, const Moment& moment) {
  const rows_view<const double> s = moment.values();
  if (s.rows != cols || s.cols != cols)
    throw shape_error(std::string(who) + ": the weight is [" + std::to_string(rows) + ", " + std::to_string(cols) +
                      "], but the second moment is of " + std::to_string(s.cols) + " inputs");
}

}  // namespace qwha::inline QWHA_ISA::detail
