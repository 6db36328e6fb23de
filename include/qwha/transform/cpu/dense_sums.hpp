// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// The signed sums of four inputs, which all outputs of a Hadamard factor share.

#include <cstddef>

#include <qwha/base/config.hpp>
#include <qwha/base/simd.hpp>

namespace qwha::inline QWHA_ISA::detail {

/// The eight sums x0 ± x1 ± x2 ± x3: bit b - 1 of the index set: input b is subtracted.
template <class V>
QWHA_KERNEL_INLINE void signed_sums(V x0, V x1, V x2, V x3, V* sums) noexcept {
  const V low[2] = {x0 + x1, x0 - x1};
  const V high[4] = {x2 + x3, x3 - x2, x2 - x3, x2 + x3};
  sums[0] = low[0] + high[0];
  sums[1] = low[1] + high[0];
  sums[2] = low[0] + high[1];
  sums[3] = low[1] + high[1];
  sums[4] = low[0] + high[2];
  sums[5] = low[1] + high[2];
  sums[6] = low[0] - high[3];
  sums[7] = low[1] - high[3];
}

/// Where the sum of code c (bit b set: input b is subtracted) lies among the eight; it enters negated where bit 0 is
/// set.
constexpr std::size_t sum_index(unsigned code) noexcept { return ((code & 1u) != 0 ? ~code : code) >> 1 & 7u; }

}  // namespace qwha::inline QWHA_ISA::detail
