// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// The fast Walsh-Hadamard transform of one row of 2^k numbers (Sylvester, natural order), one template for every type
/// and register width.
///
/// Every back end adds in the same order, so all give the same bits. With L = 64 bytes / sizeof(T) and l = log2 L,
/// index bits are transformed in the order l … l + 3, 0 … l - 1, l + 4, l + 5, …: the order in which a 64-byte register
/// file does least work. Butterflies are exact in the signs: a + b and a - b, one rounding each.

#include <array>
#include <bit>
#include <cstddef>
#include <utility>

#include <qwha/base/config.hpp>
#include <qwha/base/simd.hpp>

namespace qwha::inline QWHA_ISA::detail {

/// The base block: 16 times 64 bytes. Blocks of this size are transformed first.
template <class T>
inline constexpr std::size_t group_size = 64 / sizeof(T);
template <class T>
inline constexpr std::size_t base_size = 16 * group_size<T>;

/// Sum and difference of registers i and i + H for all pairs, H = 1, 2, … below R.
template <std::size_t R, class V>
QWHA_ALWAYS_INLINE void butterflies(V* r) noexcept {
  for (std::size_t h = 1; h < R; h *= 2)
    for (std::size_t i = 0; i < R; ++i)
      if ((i & h) == 0) {
        const V a = r[i], b = r[i + h];
        r[i] = a + b;
        r[i + h] = a - b;
      }
}

/// Lane bit H of R registers.
template <std::size_t H, std::size_t R, class V>
QWHA_ALWAYS_INLINE void lane_stage(V* r) noexcept {
  const V signs = lane_signs<H, typename V::value_type, V::size>();
  for (std::size_t i = 0; i < R; ++i) r[i] = fma(r[i], signs, swap_lanes<H>(r[i]));
}

/// All lane bits of R registers, breadth first.
template <std::size_t R, class V>
QWHA_ALWAYS_INLINE void lane_stages(V* r) noexcept {
  if constexpr (V::size > 1) lane_stage<1, R>(r);
  if constexpr (V::size > 2) lane_stage<2, R>(r);
  if constexpr (V::size > 4) lane_stage<4, R>(r);
  if constexpr (V::size > 8) lane_stage<8, R>(r);
}

/// Bits 0 … log2 G - 1 of G contiguous numbers, G <= L.
template <class T, std::size_t W, std::size_t G, class Load, class Store>
QWHA_ALWAYS_INLINE void group(std::size_t at, const Load& load, const Store& store) noexcept {
  constexpr std::size_t width = W < G ? W : G, count = G / width;
  vec<T, width> r[count];
  for (std::size_t i = 0; i < count; ++i) r[i] = load(std::integral_constant<std::size_t, width>{}, at + i * width);
  lane_stages<count>(r);
  butterflies<count>(r);
  for (std::size_t i = 0; i < count; ++i) store(at + i * width, r[i]);
}

/// R numbers at distance `stride`, for `columns` adjacent columns: log2 R bits from bit log2 stride on.
template <std::size_t R, class T, std::size_t W, class Load, class Store>
QWHA_ALWAYS_INLINE void strided(std::size_t at, std::size_t stride, std::size_t columns, const Load& load,
                                const Store& store) noexcept {
  for (std::size_t c = at; c < at + columns; c += W) {
    vec<T, W> r[R];
    for (std::size_t i = 0; i < R; ++i) r[i] = load(std::integral_constant<std::size_t, W>{}, c + i * stride);
    butterflies<R>(r);
    for (std::size_t i = 0; i < R; ++i) store(c + i * stride, r[i]);
  }
}

/// R L contiguous numbers, R <= 16.
template <std::size_t R, class T, std::size_t W, class Load, class Store>
QWHA_ALWAYS_INLINE void base_block(T* work, std::size_t at, const Load& load, const Store& store) noexcept {
  constexpr std::size_t L = group_size<T>;
  if constexpr (W == L) {
    vec<T, W> r[R];
    for (std::size_t i = 0; i < R; ++i) r[i] = load(std::integral_constant<std::size_t, W>{}, at + i * W);
    butterflies<R>(r);
    lane_stages<R>(r);
    for (std::size_t i = 0; i < R; ++i) store(at + i * W, r[i]);
  } else if constexpr (R == 1) {
    group<T, W, L>(at, load, store);
  } else {
    const auto from_work = [work](auto width, std::size_t i) { return vec<T, width()>::load(work + i); };
    const auto to_work = [work](std::size_t i, auto v) { v.store(work + i); };
    strided<R, T, W>(at, L, L, load, to_work);
    for (std::size_t i = 0; i < R; ++i) group<T, W, L>(at + i * L, from_work, store);
  }
}

/// One pass of radix R over `n` numbers: the bits from log2 stride on.
template <std::size_t R, class T, std::size_t W, class Load, class Store>
void pass(std::size_t n, std::size_t stride, const Load& load, const Store& store) noexcept {
  for (std::size_t at = 0; at < n; at += R * stride) strided<R, T, W>(at, stride, stride, load, store);
}

template <class T, std::size_t W, class Load, class Store>
void pass(std::size_t radix, std::size_t n, std::size_t stride, const Load& load, const Store& store) noexcept {
  switch (radix) {
    case 2:
      return pass<2, T, W>(n, stride, load, store);
    case 4:
      return pass<4, T, W>(n, stride, load, store);
    case 8:
      return pass<8, T, W>(n, stride, load, store);
    default:
      return pass<16, T, W>(n, stride, load, store);
  }
}

/// The transform of n = 2^k numbers: reads through `load(width, i)`, keeps what lies between in `work` [n], writes
/// through `store(i, v)`. Each number is loaded and stored once; `load` and `store` may refer to `work` itself.
template <class T, std::size_t W, class Load, class Store>
void sylvester(std::size_t n, T* work, const Load& load, const Store& store) noexcept {
  constexpr std::size_t L = group_size<T>, base = base_size<T>;
  switch (n) {
    case 1:
      return group<T, W, 1>(0, load, store);
    case 2:
      return group<T, W, 2>(0, load, store);
    case 4:
      return group<T, W, 4>(0, load, store);
    default:
      break;
  }
  if constexpr (L > 8)
    if (n == 8) return group<T, W, 8>(0, load, store);
  switch (n / L) {
    case 1:
      return base_block<1, T, W>(work, 0, load, store);
    case 2:
      return base_block<2, T, W>(work, 0, load, store);
    case 4:
      return base_block<4, T, W>(work, 0, load, store);
    case 8:
      return base_block<8, T, W>(work, 0, load, store);
    case 16:
      return base_block<16, T, W>(work, 0, load, store);
    default:
      break;
  }
  const auto from_work = [work](auto width, std::size_t i) { return vec<T, width()>::load(work + i); };
  const auto to_work = [work](std::size_t i, auto v) { v.store(work + i); };
  for (std::size_t at = 0; at < n; at += base) base_block<16, T, W>(work, at, load, to_work);
  std::size_t stride = base;
  while (n / stride > 16) {
    const std::size_t radix = n / stride >= 64 ? 8 : 4;
    pass<T, W>(radix, n, stride, from_work, to_work);
    stride *= radix;
  }
  pass<T, W>(n / stride, n, stride, from_work, store);
}

}  // namespace qwha::inline QWHA_ISA::detail
