// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// A dense Hadamard factor across columns: y = H_m x for every column of an m-row tile that stays in the first-level
/// cache.
///
/// Four inputs have 16 signed sums, which all m outputs share: 8 m / 4 sums once and m / 4 additions an output. Outputs
/// add their sums in ascending order of the inputs, so every width gives the same bits.

#include <cstddef>
#include <cstdint>

#include <qwha/base/config.hpp>
#include <qwha/base/simd.hpp>
#include <qwha/transform/sign_table.hpp>

namespace qwha::inline QWHA_ISA::detail {

/// The 16 signed sums of four numbers: bit b of the index set: input b is subtracted. (±x0 ± x1) + (±x2 ± x3).
template <class V>
QWHA_ALWAYS_INLINE void signed_sums(V x0, V x1, V x2, V x3, V* sums) noexcept {
  const V low[4] = {x0 + x1, x1 - x0, x0 - x1, -(x0 + x1)};
  const V high[4] = {x2 + x3, x3 - x2, x2 - x3, -(x2 + x3)};
  for (std::size_t i = 0; i < 16; ++i) sums[i] = low[i & 3] + high[i >> 2];
}

/// One column block of W columns at `x`, rows `stride` apart, in place. `y` is scratch for m W numbers.
template <class T, std::size_t W>
void dense_columns(const sign_table& h, T* x, std::size_t stride, T* y) noexcept {
  using V = vec<T, W>;
  constexpr std::size_t chunk = 16;  // groups of four whose sums lie in the cache together
  const std::size_t m = h.order(), groups = m / 4;
  V sums[16 * chunk];
  for (std::size_t first = 0; first < groups; first += chunk) {
    const std::size_t count = groups - first < chunk ? groups - first : chunk;
    for (std::size_t g = 0; g < count; ++g) {
      const T* p = x + 4 * (first + g) * stride;
      signed_sums(V::load(p), V::load(p + stride), V::load(p + 2 * stride), V::load(p + 3 * stride), sums + 16 * g);
    }
    for (std::size_t i = 0; i < m; ++i) {
      const std::uint8_t* code = h.row(i) + first;
      V sum = first == 0 ? sums[code[0]] : V::load(y + i * W) + sums[code[0]];
      for (std::size_t g = 1; g < count; ++g) sum = sum + sums[16 * g + code[g]];
      sum.store(y + i * W);
    }
  }
  for (std::size_t i = 0; i < m; ++i) V::load(y + i * W).store(x + i * stride);
}

/// H_m on the rows of x [m, columns], contiguous, in place; `y` is scratch for m W numbers.
template <class T, std::size_t W>
void dense(const sign_table& h, T* x, std::size_t columns, T* y) noexcept {
  if constexpr (W > 1)
    if (columns % W != 0) return dense<T, W / 2>(h, x, columns, y);
  for (std::size_t c = 0; c < columns; c += W) dense_columns<T, W>(h, x + c, columns, y);
}

}  // namespace qwha::inline QWHA_ISA::detail
