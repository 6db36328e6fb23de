// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Views as Eigen maps: a matrix for products, a row as array for elementwise work.

#include <cstddef>
#include <type_traits>

#include <qwha/fit/eigen.hpp>

#include "matrix.hpp"

namespace engine {

template <class T>
auto eigen(rows_view<T> v) {
  using plain = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  using mapped = std::conditional_t<std::is_const_v<T>, const plain, plain>;
  return Eigen::Map<mapped, Eigen::Unaligned, Eigen::OuterStride<>>(
      v.data, static_cast<Eigen::Index>(v.rows), static_cast<Eigen::Index>(v.cols),
      Eigen::OuterStride<>(static_cast<Eigen::Index>(v.stride)));
}

template <class T>
auto eigen_row(rows_view<T> v, std::size_t r) {
  using plain = Eigen::Array<float, 1, Eigen::Dynamic>;
  using mapped = std::conditional_t<std::is_const_v<T>, const plain, plain>;
  return Eigen::Map<mapped>(v.row(r), static_cast<Eigen::Index>(v.cols));
}

}  // namespace engine
