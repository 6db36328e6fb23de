// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Where NaN and infinity are kept out: every value that enters through construction, fitting or a file is looked at once.

#include <bit>
#include <cstddef>
#include <cstdint>

#include <qwha/base/config.hpp>
#include <qwha/base/rows_view.hpp>

namespace qwha::inline QWHA_ISA {

/// True when neither NaN nor infinite. By bits, so it also holds under -ffast-math.
constexpr bool is_finite(float value) noexcept {
  return (std::bit_cast<std::uint32_t>(value) & 0x7f800000u) != 0x7f800000u;
}
constexpr bool is_finite(double value) noexcept {
  return (std::bit_cast<std::uint64_t>(value) & 0x7ff0000000000000u) != 0x7ff0000000000000u;
}

/// True when all `count` values are finite. Cost: one pass, vectorised, no early exit.
template <class T>
bool all_finite(const T* values, std::size_t count) noexcept {
  bool ok = true;
  for (std::size_t i = 0; i < count; ++i) ok &= is_finite(values[i]);
  return ok;
}

/// The first row that holds NaN or infinity, or `x.rows` when there is none.
template <class T>
std::size_t first_non_finite_row(rows_view<T> x) noexcept {
  for (std::size_t r = 0; r < x.rows; ++r)
    if (!all_finite(x.row(r), x.cols)) return r;
  return x.rows;
}

}  // namespace qwha::inline QWHA_ISA
