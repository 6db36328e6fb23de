// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// A dense Hadamard factor across columns: y = H_m x for a tile of columns, m rows of it at a time in the first-level
/// cache.
///
/// Four inputs have 16 signed sums, one of each pair the negative of the other, that all m outputs share: 12 additions
/// for four inputs, then m / 4 additions an output. An output adds its sums in ascending order of the inputs, so every
/// width and every path below gives the same bits.

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include <qwha/base/config.hpp>
#include <qwha/base/simd.hpp>
#include <qwha/transform/cpu/sylvester.hpp>
#include <qwha/transform/order.hpp>
#include <qwha/transform/orientation.hpp>
#include <qwha/transform/sign_table.hpp>

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

// --- small factors: signs known to the compiler
// -----------------------------------------------------------------------

/// Codes of the dense factor of order M, [M, M / 4].
template <std::size_t M, bool Transposed>
constexpr std::array<std::uint8_t, M * M / 4> codes_of_order() {
  const hadamard_matrix h(hadamard_detail::dense_factor(M));
  std::array<std::uint8_t, M * M / 4> codes{};
  for (std::size_t i = 0; i < M; ++i)
    for (std::size_t j = 0; j < M; ++j)
      if (Transposed ? h.negative(j, i) : h.negative(i, j))
        codes[i * (M / 4) + j / 4] = static_cast<std::uint8_t>(codes[i * (M / 4) + j / 4] | 1u << j % 4);
  return codes;
}
template <std::size_t M, bool Transposed>
inline constexpr auto static_codes = codes_of_order<M, Transposed>();

template <unsigned Code, bool First, class V>
QWHA_KERNEL_INLINE void add_sum(V& y, const V* sums) noexcept {
  const V s = sums[sum_index(Code)];
  if constexpr (First)
    y = (Code & 1u) != 0 ? -s : s;
  else
    y = (Code & 1u) != 0 ? y - s : y + s;
}

template <std::size_t M, bool Transposed, std::size_t I, class V, std::size_t... G>
QWHA_KERNEL_INLINE V static_output(const V* sums, std::index_sequence<G...>) noexcept {
  V y;
  (add_sum < static_codes<M, Transposed>[I * (M / 4) + G], G == 0 > (y, sums + 8 * G), ...);
  return y;
}
template <std::size_t M, bool Transposed, class V, class T, std::size_t... I>
QWHA_KERNEL_INLINE void static_outputs(const V* sums, T* out, std::size_t stride, std::index_sequence<I...>) noexcept {
  (static_output<M, Transposed, I>(sums, std::make_index_sequence<M / 4>{}).store(out + I * stride), ...);
}
/// The M outputs of W columns from their sums [M / 4, 8].
template <std::size_t M, bool Transposed, class T, std::size_t W>
QWHA_NO_SANITIZE QWHA_NOINLINE void outputs(const vec<T, W>* sums, T* out, std::size_t stride) noexcept {
  static_outputs<M, Transposed>(sums, out, stride, std::make_index_sequence<M>{});
}

/// H_M on columns [at, at + columns) of rows `stride` apart, from `load` to `work`; Twin: H2 ⊗ H_M, the halves `half`
/// apart.
template <std::size_t M, bool Twin, class T, std::size_t W, class Load>
QWHA_NO_SANITIZE void static_dense(orientation o, std::size_t at, std::size_t stride, const Load& load,
                                   T* work) noexcept {
  using V = vec<T, W>;
  constexpr std::integral_constant<std::size_t, W> width{};
  constexpr bool symmetric = hadamard_detail::dense_factor(M).symmetric();
  V sums[Twin ? 2 : 1][2 * M];
  for (std::size_t c = at; c < at + stride; c += W) {
    for (std::size_t g = 0; g < M / 4; ++g) {
      const std::size_t i = c + 4 * g * stride;
      V x[4] = {load(width, i), load(width, i + stride), load(width, i + 2 * stride), load(width, i + 3 * stride)};
      if constexpr (Twin) {
        const std::size_t j = i + M * stride;
        V z[4] = {load(width, j), load(width, j + stride), load(width, j + 2 * stride), load(width, j + 3 * stride)};
        for (std::size_t k = 0; k < 4; ++k) butterfly(x[k], z[k]);
        signed_sums(z[0], z[1], z[2], z[3], sums[1] + 8 * g);
      }
      signed_sums(x[0], x[1], x[2], x[3], sums[0] + 8 * g);
    }
    for (std::size_t half = 0; half < (Twin ? 2 : 1); ++half) {
      T* const out = work + c + half * M * stride;
      if (o == orientation::transpose && !symmetric)
        outputs<M, !symmetric, T, W>(sums[half], out, stride);
      else
        outputs<M, false, T, W>(sums[half], out, stride);
    }
  }
}

// --- any factor: signs from a table
// -----------------------------------------------------------------------------------

/// Groups of four inputs whose sums lie in the cache together.
inline constexpr std::size_t dense_chunk = 32;

/// H on columns [at, at + columns) of rows `stride` apart. `partial` is scratch for m W numbers where m > 4
/// dense_chunk.
template <class T, std::size_t W, class Load>
QWHA_NO_SANITIZE void table_dense(const sign_table& h, std::size_t at, std::size_t stride, const Load& load, T* work,
                                  T* partial) noexcept {
  using V = vec<T, W>;
  constexpr std::integral_constant<std::size_t, W> width{};
  const std::size_t m = h.order(), groups = m / 4;
  V sums[16 * dense_chunk];
  for (std::size_t c = at; c < at + stride; c += W) {
    for (std::size_t first = 0; first < groups; first += dense_chunk) {
      const std::size_t count = groups - first < dense_chunk ? groups - first : dense_chunk;
      for (std::size_t g = 0; g < count; ++g) {
        const std::size_t i = c + 4 * (first + g) * stride;
        V eight[8];
        signed_sums(load(width, i), load(width, i + stride), load(width, i + 2 * stride), load(width, i + 3 * stride),
                    eight);
        for (unsigned code = 0; code < 16; code += 2) {
          sums[16 * g + code] = eight[code / 2];
          sums[16 * g + (15 - code)] = -eight[code / 2];
        }
      }
      const bool last = first + count == groups;
      for (std::size_t i = 0; i < m; ++i) {
        const std::uint8_t* code = h.row(i) + first;
        V y = first == 0 ? sums[code[0]] : V::load(partial + i * W) + sums[code[0]];
        for (std::size_t g = 1; g < count; ++g) y = y + sums[16 * g + code[g]];
        if (last && first == 0)
          y.store(work + c + i * stride);
        else
          y.store(partial + i * W);
      }
    }
    if (groups > dense_chunk)
      for (std::size_t i = 0; i < m; ++i) V::load(partial + i * W).store(work + c + i * stride);
  }
}

}  // namespace qwha::inline QWHA_ISA::detail
