// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Where NaN and infinity are kept out: every value that enters through construction, fitting or a file is looked at once.

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>

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

/// True when all `count` values (float or double) are finite. Cost: one pass, vectorised, no early exit.
template <class T>
bool all_finite(const T* values, std::size_t count) noexcept {
  using word = std::conditional_t<sizeof(T) == 8, std::uint64_t, std::uint32_t>;
  constexpr word magnitude = static_cast<word>(-1) / 2;
  constexpr word infinity = std::bit_cast<word>(std::numeric_limits<T>::infinity());
  word largest = 0;  // of the values without their signs: infinity and NaN come last
  for (std::size_t i = 0; i < count; ++i) largest = std::max(largest, std::bit_cast<word>(values[i]) & magnitude);
  return largest < infinity;
}

/// The first row that holds NaN or infinity, or `x.rows` when there is none.
template <class T>
std::size_t first_non_finite_row(rows_view<T> x) noexcept {
  for (std::size_t r = 0; r < x.rows; ++r)
    if (!all_finite(x.row(r), x.cols)) return r;
  return x.rows;
}

}  // namespace qwha::inline QWHA_ISA
