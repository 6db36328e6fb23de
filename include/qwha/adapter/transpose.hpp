// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Squares of numbers turned in registers: a matrix in place, rows of tokens to panels of W tokens and back.

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <utility>

#include <qwha/base/backend.hpp>
#include <qwha/base/config.hpp>
#include <qwha/base/executor.hpp>
#include <qwha/base/rows_view.hpp>
#include <qwha/base/simd.hpp>

namespace qwha::inline QWHA_ISA::detail {

#if QWHA_HAS_VECTOR_EXTENSIONS
/// Rows i and i + H of a square: the lanes whose bit H is set on one side meet those where it is clear on the other.
template <std::size_t H, class T, std::size_t W, std::size_t... J>
QWHA_ALWAYS_INLINE void exchange_lanes(vec<T, W>& a, vec<T, W>& b, std::index_sequence<J...>) noexcept {
  const auto low = a.v, high = b.v;
  a.v = __builtin_shufflevector(low, high, static_cast<int>((J & H) == 0 ? J : W + (J ^ H))...);
  b.v = __builtin_shufflevector(low, high, static_cast<int>((J & H) == 0 ? (J ^ H) : W + J)...);
}
template <std::size_t H, class T, std::size_t W, std::size_t... I>
QWHA_ALWAYS_INLINE void exchange_rows(vec<T, W>* rows, std::index_sequence<I...>) noexcept {
  ((I & H ? void() : exchange_lanes<H>(rows[I & ~H], rows[I | H], std::make_index_sequence<W>{})), ...);
}
#endif

/// The transpose of a square of W · W numbers, log2 W exchanges of half of each row.
template <std::size_t H = 1, class T, std::size_t W>
QWHA_ALWAYS_INLINE void transpose(vec<T, W> (&rows)[W]) noexcept {
#if QWHA_HAS_VECTOR_EXTENSIONS
  if constexpr (H < W) {
    exchange_rows<H>(rows, std::make_index_sequence<W>{});
    transpose<2 * H>(rows);
  }
#endif
}

#if QWHA_HAS_VECTOR_EXTENSIONS
template <std::size_t W>
QWHA_ALWAYS_INLINE vec<float, 4> sum_by_fours(const vec<float, W>& a) noexcept {
  if constexpr (W == 4) {
    return a;
  } else {
    const auto half = std::bit_cast<std::array<vec<float, W / 2>, 2>>(a);
    return sum_by_fours(half[0] + half[1]);
  }
}

/// The sum over the lanes of each of four vectors.
template <std::size_t W>
QWHA_ALWAYS_INLINE vec<float, 4> sums_of_four(vec<float, W> (&v)[4]) noexcept {
  constexpr auto all = std::make_index_sequence<W>{};
  exchange_lanes<1>(v[0], v[1], all);
  exchange_lanes<1>(v[2], v[3], all);
  vec<float, W> pairs[2] = {v[0] + v[1], v[2] + v[3]};
  exchange_lanes<2>(pairs[0], pairs[1], all);
  return sum_by_fours(pairs[0] + pairs[1]);
}
#endif

/// The square at `a` and the transpose of the one at `b` change places; they may be the same.
template <class T, std::size_t W, std::size_t... I>
QWHA_ALWAYS_INLINE void swap_squares(T* a, T* b, std::size_t stride, std::index_sequence<I...>) noexcept {
  vec<T, W> first[W], second[W];
  ((first[I] = vec<T, W>::load(a + I * stride)), ...);
  ((second[I] = vec<T, W>::load(b + I * stride)), ...);
  transpose(first);
  transpose(second);
  (second[I].store(a + I * stride), ...);
  (first[I].store(b + I * stride), ...);
}

template <class T, std::size_t W, std::size_t... I>
QWHA_ALWAYS_INLINE void copy_turned(const T* from, std::size_t from_stride, T* to, std::size_t to_stride,
                                    std::index_sequence<I...>) noexcept {
  vec<T, W> rows[W];
  ((rows[I] = vec<T, W>::load(from + I * from_stride)), ...);
  transpose(rows);
  (rows[I].store(to + I * to_stride), ...);
}

/// to, [cols, rows], <- the transpose of `from`, square by square.
template <class T>
void copy_turned(rows_view<const T> from, rows_view<T> to) noexcept {
  constexpr std::size_t W = lanes<native, T>;
  const std::size_t rows = from.rows / W * W, cols = from.cols / W * W;
  for (std::size_t i = 0; i < rows; i += W)
    for (std::size_t j = 0; j < cols; j += W)
      copy_turned<T, W>(from.row(i) + j, from.stride, to.row(j) + i, to.stride, std::make_index_sequence<W>{});
  for (std::size_t i = 0; i < from.rows; ++i)
    for (std::size_t j = i < rows ? cols : 0; j < from.cols; ++j) to(j, i) = from(i, j);
}

/// x <- xᵀ, [n, n], square by square: each cache line is fetched once, however far apart the rows lie.
template <class T>
void transpose_in_place(rows_view<T> x, const executor& where) {
  constexpr std::size_t W = lanes<native, T>, tile = 32;  // a tile's rows share their pages
  parallel_for(where, x.rows, tile, [&](std::size_t begin, std::size_t end) {
    const auto exchange = [&](std::size_t i, std::size_t j) {
      const std::size_t rows = std::min(W, end - i), cols = std::min(W, x.rows - j);
      if (rows == W && cols == W)
        return swap_squares<T, W>(x.row(i) + j, x.row(j) + i, x.stride, std::make_index_sequence<W>{});
      for (std::size_t r = i; r < i + rows; ++r)
        for (std::size_t c = j; c < std::min(j + cols, r); ++c) std::swap(x(r, c), x(c, r));
    };
    for (std::size_t first = 0; first < end; first += tile)
      for (std::size_t i = begin; i < end; i += W)
        for (std::size_t j = first; j < std::min(first + tile, i + 1); j += W) exchange(i, j);
  });
}

template <std::size_t W, std::size_t... I>
QWHA_ALWAYS_INLINE void load_square(vec<float, W> (&rows)[W], const float* from, std::size_t stride, std::size_t count,
                                    std::index_sequence<I...>) noexcept {
  ((rows[I] = I < count ? vec<float, W>::load(from + I * stride) : vec<float, W>{}), ...);
}

template <std::size_t W, std::size_t... I>
QWHA_ALWAYS_INLINE void store_square(const vec<float, W> (&rows)[W], float* to, std::index_sequence<I...>) noexcept {
  (rows[I].store(to + I * W), ...);
}
template <std::size_t W, class Put, std::size_t... I>
QWHA_ALWAYS_INLINE void put_square(const vec<float, W> (&rows)[W], std::size_t count, std::size_t c, const Put& put,
                                   std::index_sequence<I...>) noexcept {
  ((I < count ? put(I, c, rows[I]) : void()), ...);
}

/// Rows [count, cols] → panel [cols][W], zeros in the lanes from `count` on.
template <std::size_t W>
void interleave(const float* rows, std::size_t stride, std::size_t count, std::size_t cols, float* panel) noexcept {
  if constexpr (W == 1) {
    std::copy_n(rows, cols, panel);
  } else {
    constexpr auto all = std::make_index_sequence<W>{};
    std::size_t c = 0;
    for (; c + W <= cols; c += W) {
      vec<float, W> square[W];
      load_square(square, rows + c, stride, count, all);
      transpose(square);
      store_square(square, panel + c * W, all);
    }
    for (; c < cols; ++c)
      for (std::size_t l = 0; l < W; ++l) panel[c * W + l] = l < count ? rows[l * stride + c] : 0.0f;
  }
}

/// The inverse of `interleave`: calls put(lane, c, v) with vectors or single numbers v of columns c ….
template <std::size_t W, class Put>
void deinterleave(const float* panel, std::size_t count, std::size_t cols, const Put& put) noexcept {
  if constexpr (W == 1) {
    constexpr std::size_t V = lanes<native, float>;
    std::size_t c = 0;
    for (; c + V <= cols; c += V) put(std::size_t{0}, c, vec<float, V>::load(panel + c));
    for (; c < cols; ++c) put(std::size_t{0}, c, vec<float, 1>{panel[c]});
  } else {
    constexpr auto all = std::make_index_sequence<W>{};
    std::size_t c = 0;
    for (; c + W <= cols; c += W) {
      vec<float, W> square[W];
      load_square(square, panel + c * W, W, W, all);
      transpose(square);
      put_square(square, count, c, put, all);
    }
    for (; c < cols; ++c)
      for (std::size_t l = 0; l < count; ++l) put(l, c, vec<float, 1>{panel[c * W + l]});
  }
}

}  // namespace qwha::inline QWHA_ISA::detail
