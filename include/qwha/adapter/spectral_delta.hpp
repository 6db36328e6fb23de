// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Dense rows of F T: one scatter and one transform per output row.

#include <algorithm>
#include <cstddef>
#include <string>
#include <type_traits>

#include <qwha/adapter/sparse_spectrum.hpp>
#include <qwha/adapter/spectral_product.hpp>
#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/base/rows_view.hpp>

namespace qwha::inline QWHA_ISA::detail {

/// A transform policy for rows of n: made from n, or from nothing where its order is static.
/// @throws unsupported_order, or shape_error when its static order is another
template <class Transform>
Transform make_transform(std::size_t n) {
  if constexpr (std::is_constructible_v<Transform, std::size_t>) {
    return Transform(n);
  } else {
    Transform t{};
    if (t.order() != n)
      throw shape_error("the transform has order " + std::to_string(t.order()) + ", the rows have " +
                        std::to_string(n));
    return t;
  }
}

/// out [in] = f_row T; coefficients enter as float.
template <class T, class Transform>
void delta_row(const spectrum_ref<T>& f, const Transform& transform, std::size_t row, float* out) noexcept {
  std::fill_n(out, f.cols, 0.0f);
  if (f.offsets[row] == f.offsets[row + 1]) return;
  for (std::size_t k = f.offsets[row]; k < f.offsets[row + 1]; ++k) out[f.columns[k]] = static_cast<float>(f.values[k]);
  transform_rows_transpose(transform, rows_view<float>(out, 1, f.cols));
}

}  // namespace qwha::inline QWHA_ISA::detail
