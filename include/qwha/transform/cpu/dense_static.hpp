// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Small dense Hadamard factors, whose signs the compiler knows: every output of W columns accumulates in a register of
/// its own.
///
/// Four inputs have eight sums x0 ± x1 ± x2 ± x3, up to sign, and every output takes one of them: 3 + M / 4 additions
/// an element. Every other output adds by multiplication with 1, so that adders and multipliers share the work. Two
/// factors split in halves, u = x1 + x2 and v = x1 - x2, and cost what one half costs:
///  - H2 ⊗ H: H u and H v;
///  - P2(q) = [[C + I, C - I], [C - I, -C - I]]: C u + v = (C + I) u - 2 x2 and C v - u = (C + I) v - 2 x1.

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include <qwha/base/config.hpp>
#include <qwha/base/simd.hpp>
#include <qwha/transform/cpu/dense_sums.hpp>
#include <qwha/transform/cpu/sylvester.hpp>
#include <qwha/transform/cpu/tuning.hpp>
#include <qwha/transform/hadamard_matrix.hpp>
#include <qwha/transform/order.hpp>

namespace qwha::inline QWHA_ISA::detail {

/// The signs by which a factor of order M is worked: its own, or those of its upper left quarter C + I.
template <std::size_t M, bool Transposed>
struct static_signs {
  static constexpr hadamard_factor factor = hadamard_detail::dense_factor(M);
  static constexpr bool quarter = factor.kind == construction::paley_2;
  static constexpr std::size_t order = quarter ? M / 2 : M, groups = (order + 3) / 4;

  static constexpr std::array<std::uint8_t, order * groups> make_codes() {
    const hadamard_matrix h(factor);
    std::array<std::uint8_t, order * groups> made{};
    for (std::size_t i = 0; i < order; ++i)
      for (std::size_t j = 0; j < order; ++j)
        if (Transposed ? h.negative(j, i) : h.negative(i, j))
          made[i * groups + j / 4] = static_cast<std::uint8_t>(made[i * groups + j / 4] | 1u << j % 4);
    return made;
  }
  static constexpr std::array<std::uint8_t, order * groups> codes = make_codes();
};

/// 1 and -1 that the compiler does not know.
template <class V>
struct opaque_units {
  V plus, minus;
};

template <unsigned Code, bool First, bool Multiply, class V>
QWHA_KERNEL_INLINE void add_sum(V& y, const V* sums, const opaque_units<V>& unit) noexcept {
  constexpr bool negative = (Code & 1u) != 0;
  const V s = sums[sum_index(Code)];
  if constexpr (First)
    y = negative ? -s : s;
  else if constexpr (Multiply)
    y = fma(s, negative ? unit.minus : unit.plus, y);
  else
    y = negative ? y - s : y + s;
}
template <class Signs, std::size_t G, class V, std::size_t... I>
QWHA_KERNEL_INLINE void add_sums(V* y, const V* sums, const opaque_units<V>& unit, std::index_sequence<I...>) noexcept {
  (add_sum < Signs::codes[I * Signs::groups + G], G == 0, multiply_levels<V::size> && I % 2 == 0 > (y[I], sums, unit),
   ...);
}

/// y = H x for the signs H, groups of inputs in ascending order; `x(j)` is called once for each j.
template <class Signs, std::size_t G = 0, class V, class Input>
QWHA_KERNEL_INLINE void accumulate(V* y, const Input& x, const opaque_units<V>& unit) noexcept {
  if constexpr (G < Signs::groups) {
    constexpr std::size_t j = 4 * G;
    V sums[8];
    if constexpr (j + 4 <= Signs::order) {
      const V x0 = x(j), x1 = x(j + 1), x2 = x(j + 2), x3 = x(j + 3);
      signed_sums(x0, x1, x2, x3, sums);
    } else {  // q ≡ 1 mod 4: the order of C leaves two
      static_assert(Signs::order - j == 2);
      const V x0 = x(j), x1 = x(j + 1);
      sums[sum_index(0b00)] = x0 + x1;
      sums[sum_index(0b10)] = x0 - x1;
      sums[sum_index(0b01)] = x0 - x1;
      sums[sum_index(0b11)] = x0 + x1;
    }
    add_sums<Signs, G>(y, sums, unit, std::make_index_sequence<Signs::order>{});
    accumulate<Signs, G + 1>(y, x, unit);
  }
}

/// A register of columns of rows in memory, `pitch` apart: what dense_column reads and writes.
template <class V>
struct column_input {
  const typename V::value_type* data;
  std::size_t pitch;
  QWHA_KERNEL_INLINE V operator()(std::size_t j) const noexcept { return V::load(data + j * pitch); }
};
template <class V>
struct column_output {
  typename V::value_type* data;
  std::size_t pitch;
  template <std::size_t K>
  QWHA_KERNEL_INLINE void operator()(std::size_t first, V (&y)[K]) const noexcept {
    store_registers(y, memory_row<typename V::value_type>{data}, first * pitch, pitch, std::make_index_sequence<K>{});
  }
};

/// A factor on one register of columns: input j is `x(j)`, `out(i, y)` takes the outputs from i on, as many as Signs has.
/// Every input is read before the first output is written.
template <class Signs, bool Twin, class V, class Input, class Output, std::size_t... I>
QWHA_KERNEL_INLINE void dense_column(const Input& x, const Output& out, const opaque_units<V>& unit,
                                     std::index_sequence<I...>) noexcept {
  using T = typename V::value_type;
  constexpr std::size_t K = Signs::order, W = V::size;
  V y[K];
  if constexpr (!Twin && !Signs::quarter) {
    accumulate<Signs>(y, x, unit);
    out(0, y);
  } else {
    alignas(64) T upper[K * W], lower[K * W], difference[K * W];
    const auto sum = [&](std::size_t j) {
      const V x1 = x(j), x2 = x(K + j);
      if constexpr (Signs::quarter) {
        x1.store(upper + j * W);
        x2.store(lower + j * W);
      }
      (x1 - x2).store(difference + j * W);
      return x1 + x2;
    };
    const V minus_two = V::splat(T(-2));
    const auto subtract_twice = [&](const T* from) {
      if constexpr (Signs::quarter) ((y[I] = fma(V::load(from + I * W), minus_two, y[I])), ...);
    };
    accumulate<Signs>(y, sum, unit);
    subtract_twice(lower);
    out(0, y);
    accumulate<Signs>(y, column_input<V>{difference, W}, unit);
    subtract_twice(upper);
    out(K, y);
  }
}

/// H_M, or H2 ⊗ H_M, on `columns` columns (a multiple of W) of rows `in_pitch` apart, to rows `out_pitch` apart.
template <std::size_t M, bool Twin, bool Transposed, class T, std::size_t W>
QWHA_NO_SANITIZE QWHA_NOINLINE QWHA_LINE_ALIGNED void static_dense(std::size_t columns, const T* in,
                                                                   std::size_t in_pitch, T* out,
                                                                   std::size_t out_pitch) noexcept {
  using V = vec<T, W>;
  using signs = static_signs<M, Transposed>;
  const opaque_units<V> unit{V::splat(opaque(T(1))), V::splat(opaque(T(-1)))};
  for (std::size_t c = 0; c < columns; c += W)
    dense_column<signs, Twin>(column_input<V>{in + c, in_pitch}, column_output<V>{out + c, out_pitch}, unit,
                              std::make_index_sequence<signs::order>{});
}

}  // namespace qwha::inline QWHA_ISA::detail
