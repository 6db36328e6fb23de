// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Williamson factors, order 4 t, as sums of unit quaternions.
///
/// The four rows i of W(t), one of each block, meet the four columns i + d as a 4 x 4 matrix Q_d that depends on d only.
/// The product of the signs of a row is the same for every row and every d != 0, and the opposite for d = 0 (Williamson
/// 1944: a_d b_d c_d d_d = -1 where a_0 = b_0 = c_0 = d_0). So four of the eight signed sums of the inputs of a position
/// serve all other positions, and the other four its own: an output adds one sum for each d, m / 4 additions. Which sum
/// and which sign does not depend on i and lies in the code; nothing is looked up.

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>

#include <qwha/base/config.hpp>
#include <qwha/base/simd.hpp>
#include <qwha/transform/cpu/dense_static.hpp>
#include <qwha/transform/cpu/tuning.hpp>
#include <qwha/transform/hadamard_matrix.hpp>

namespace qwha::inline QWHA_ISA::detail {

/// Positions, of four outputs each, that accumulate at once: what the registers hold. (Five at least where they may: GCC
/// would load a sum again for each of its four uses.)
template <std::size_t Bytes>
inline constexpr std::size_t williamson_tile_positions = Bytes == 64 ? 5 : 3;

/// A sum of four inputs with or without a sign.
struct signed_term {
  std::uint8_t sum;  ///< odd: which input is subtracted; even: which input, but the first, has the sign of the first
  bool negative;
  bool counts = true;
};

/// The terms of W(T), or of its transpose: row b of Q_d.
template <std::size_t T, bool Transposed>
struct williamson_terms {
  static constexpr std::array<std::array<signed_term, 4>, T> make() {
    const hadamard_matrix h({construction::williamson, static_cast<std::uint32_t>(T)});
    std::array<std::array<signed_term, 4>, T> made{};
    for (std::size_t d = 0; d < T; ++d)
      for (std::size_t row = 0; row < 4; ++row) {
        unsigned code = 0;  // bit c: input c is subtracted
        for (std::size_t c = 0; c < 4; ++c)
          if (Transposed ? h.negative(c * T + d, row * T) : h.negative(row * T, c * T + d)) code |= 1u << c;
        const bool odd = std::popcount(code) % 2 != 0;
        // odd: one minus is +sum, three are -sum; even: the first input is + or -
        const bool negative = odd ? std::popcount(code) == 3 : (code & 1u) != 0;
        const unsigned plain = negative ? ~code & 15u : code;
        const unsigned even = plain == 0 ? 0 : static_cast<unsigned>(std::countr_zero(~plain >> 1 & 7u)) + 1;
        made[d][row] = {static_cast<std::uint8_t>(odd ? std::countr_zero(plain) : static_cast<int>(even)), negative};
      }
    return made;
  }
  static constexpr std::array<std::array<signed_term, 4>, T> terms = make();

  /// What position J adds to the outputs of a tile: output i is row i % 4 at position i / 4, at distance J - i / 4.
  template <std::size_t J, std::size_t Outputs>
  static constexpr std::array<signed_term, Outputs> tile() {
    std::array<signed_term, Outputs> added{};
    for (std::size_t i = 0; i < Outputs; ++i) {
      added[i].counts = J > i / 4 && J < i / 4 + T;
      if (added[i].counts) added[i] = terms[J - i / 4][i % 4];
    }
    return added;
  }
};

/// The odd and the even sums of four inputs, as signed_term counts them.
template <class V>
QWHA_KERNEL_INLINE void quaternion_sums(V x0, V x1, V x2, V x3, V* odd, V* even) noexcept {
  const V s = x0 + x1, d = x0 - x1, t = x2 + x3, e = x2 - x3;
  odd[0] = t - d;
  odd[1] = t + d;
  odd[2] = s - e;
  odd[3] = s + e;
  even[0] = s + t;
  even[1] = s - t;
  even[2] = d + e;
  even[3] = d - e;
}

/// y <- y + what position J adds to the outputs of a tile.
/// One expression an output rather than a function each: there are t times as many as outputs, and compilers feel it.
template <class Terms, std::size_t T, std::size_t J, class V, std::size_t... I>
QWHA_KERNEL_INLINE void add_position(V* y, const typename V::value_type* others, const opaque_units<V>& units,
                                     std::index_sequence<I...>) noexcept {
  const typename V::value_type* const at = others + 4 * J * V::size;
  const V sums[4] = {V::load(at), V::load(at + V::size), V::load(at + 2 * V::size), V::load(at + 3 * V::size)};
  const decltype(V::v) unit[2] = {units.plus.v, units.minus.v};
  constexpr auto term = Terms::template tile<J, sizeof...(I)>();
  ((y[I].v = !term[I].counts                          ? y[I].v
             : multiply_levels<V::size> && I % 2 == 0 ? sums[term[I].sum].v * unit[term[I].negative] + y[I].v
             : term[I].negative                       ? y[I].v - sums[term[I].sum].v
                                                      : y[I].v + sums[term[I].sum].v),
   ...);
}

/// The outputs of positions i … i + R - 1 from their `own` sums and those of positions i … i + t + R - 2 for `others`.
template <class Terms, std::size_t T, class V, std::size_t... I, std::size_t... J>
QWHA_KERNEL_INLINE void williamson_tile(const typename V::value_type* others, const typename V::value_type* own,
                                        typename V::value_type* out, std::size_t pitch, const opaque_units<V>& unit,
                                        std::index_sequence<I...> outputs, std::index_sequence<J...>) noexcept {
  constexpr auto start = [](V v, bool negative) { return negative ? -v : v; };
  V y[sizeof...(I)] = {
      start(V::load(own + (I / 4 * 4 + Terms::terms[0][I % 4].sum) * V::size), Terms::terms[0][I % 4].negative)...};
  (add_position<Terms, T, J>(y, others, unit, outputs), ...);
  (y[I].store(out + (I % 4 * T + I / 4) * pitch), ...);
}

/// W(t), or its transpose, on `columns` columns (a multiple of W) of rows `in_pitch` apart, to rows `out_pitch` apart.
template <std::size_t Order, bool Transposed, class T, std::size_t W>
QWHA_NO_SANITIZE QWHA_NOINLINE QWHA_LINE_ALIGNED void williamson_dense(std::size_t columns, const T* in,
                                                                       std::size_t in_pitch, T* out,
                                                                       std::size_t out_pitch) noexcept {
  using V = vec<T, W>;
  using terms = williamson_terms<Order / 4, Transposed>;
  constexpr std::size_t t = Order / 4, tile = williamson_tile_positions<W * sizeof(T)>;
  const opaque_units<V> unit{V::splat(opaque(T(1))), V::splat(opaque(T(-1)))};
  alignas(64) T others[8 * t * W], own[4 * t * W];
  for (std::size_t c = 0; c < columns; c += W) {
    for (std::size_t i = 0; i < t; ++i) {
      const T* x = in + c + i * in_pitch;
      V sums[8];
      V *const odd = sums, *const even = sums + 4;
      quaternion_sums(V::load(x), V::load(x + t * in_pitch), V::load(x + 2 * t * in_pitch),
                      V::load(x + 3 * t * in_pitch), odd, even);
      for (std::size_t k = 0; k < 4; ++k) {
        (Transposed ? odd : even)[k].store(own + (4 * i + k) * W);
        const V s = (Transposed ? even : odd)[k];
        s.store(others + (4 * i + k) * W);
        s.store(others + (4 * (t + i) + k) * W);  // positions go round
      }
    }
    for (std::size_t i = 0; i < t; i = i + tile < t && t < i + 2 * tile ? t - tile : i + tile)
      williamson_tile<terms, t, V>(others + 4 * i * W, own + 4 * i * W, out + c + i * out_pitch, out_pitch, unit,
                                   std::make_index_sequence<4 * tile>{}, std::make_index_sequence<t + tile - 1>{});
  }
}

}  // namespace qwha::inline QWHA_ISA::detail
