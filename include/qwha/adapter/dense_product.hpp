// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// The built-in dense products of the adapters: y = x wᵀ and dx += dy w on slabs of dequantized weights. Engines that
/// own a matrix library pass its products instead (`slab_product`).

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <utility>

#include <qwha/base/backend.hpp>
#include <qwha/base/config.hpp>
#include <qwha/base/rows_view.hpp>
#include <qwha/base/simd.hpp>

namespace qwha::inline QWHA_ISA::detail {

/// Floats in the widest register of this file.
inline constexpr std::size_t native_lanes = lanes<native, float>;

/// Sum over the lanes by halves: lane i meets lane i + W / 2 first.
template <std::size_t W>
QWHA_ALWAYS_INLINE float sum_lanes(const vec<float, W>& a) noexcept {
  if constexpr (W == 1) {
    return a.v;
  } else if constexpr (W == 4) {
    return (a[0] + a[2]) + (a[1] + a[3]);
  } else {
    const auto half = std::bit_cast<std::array<vec<float, W / 2>, 2>>(a);
    return sum_lanes(half[0] + half[1]);
  }
}

/// Register tiles: accumulators, one row of operands and one value fill the register file (32 registers with AVX-512
/// and NEON, 16 elsewhere).
inline constexpr bool wide_register_file = QWHA_HAS_AVX512 || QWHA_HAS_NEON;
inline constexpr std::size_t dot_tile_tokens = 4, dot_tile_rows = wide_register_file ? 6 : 3;
inline constexpr std::size_t outer_tile_tokens = 6, outer_tile_vectors = wide_register_file ? 4 : 2;
inline constexpr std::size_t dot_block_length = 1024;  ///< of the summed index: a tile of w stays in L1
inline constexpr std::size_t dot_block_tokens = 64;    ///< a block of x stays in L2

// The tiles are spelt out by index sequences: at -O2 GCC would leave loops, and the sums in memory.

template <class V, std::size_t... N>
QWHA_ALWAYS_INLINE void load_operands(V* b, const float* p, std::size_t stride, std::index_sequence<N...>) noexcept {
  ((b[N] = V::load(p + N * stride)), ...);
}
template <class V, std::size_t... N>
QWHA_ALWAYS_INLINE void add_products(V* sum, V a, const V* b, std::index_sequence<N...>) noexcept {
  ((sum[N] = fma(a, b[N], sum[N])), ...);
}
template <std::size_t N, class V, std::size_t... M>
QWHA_ALWAYS_INLINE void dot_step(V* sum, const float* x, std::size_t x_stride, const V* b,
                                 std::index_sequence<M...>) noexcept {
  (add_products(sum + M * N, V::load(x + M * x_stride), b, std::make_index_sequence<N>{}), ...);
}
template <class V, std::size_t... I>
QWHA_ALWAYS_INLINE void sum_tile(const V* sum, float* totals, std::index_sequence<I...>) noexcept {
  ((totals[I] = sum_lanes(sum[I])), ...);
}

/// y[M, N] (=, or += when `add`) x[M, k] w[N, k]ᵀ. Every element is summed in the same order whatever M and N are.
template <std::size_t M, std::size_t N>
void dot_tile(const float* x, std::size_t x_stride, const float* w, std::size_t w_stride, std::size_t k, float* y,
              std::size_t y_stride, bool add) noexcept {
  constexpr std::size_t W = native_lanes;
  vec<float, W> sum[M * N] = {}, b[N];
  std::size_t i = 0;
  for (; i + W <= k; i += W) {
    load_operands(b, w + i, w_stride, std::make_index_sequence<N>{});
    dot_step<N>(sum, x + i, x_stride, b, std::make_index_sequence<M>{});
  }
  float totals[M * N];
  sum_tile(sum, totals, std::make_index_sequence<M * N>{});
  for (std::size_t m = 0; m < M; ++m)
    for (std::size_t n = 0; n < N; ++n) {
      float total = totals[m * N + n];
      for (std::size_t j = i; j < k; ++j) total += x[m * x_stride + j] * w[n * w_stride + j];
      float& out = y[m * y_stride + n];
      out = add ? out + total : total;
    }
}

template <std::size_t M>
void dot_strip(const float* x, std::size_t x_stride, rows_view<const float> w, std::size_t n, std::size_t first,
               std::size_t length, float* y, std::size_t y_stride, bool add) noexcept {
  const float* weights = w.row(n) + first;
  if (n + dot_tile_rows <= w.rows) {
    dot_tile<M, dot_tile_rows>(x + first, x_stride, weights, w.stride, length, y + n, y_stride, add);
  } else {
    for (; n < w.rows; ++n, weights += w.stride)
      dot_tile<M, 1>(x + first, x_stride, weights, w.stride, length, y + n, y_stride, add);
  }
}

inline void fill_rows(rows_view<float> y, float value) noexcept {
  for (std::size_t t = 0; t < y.rows; ++t) std::fill_n(y.row(t), y.cols, value);
}

/// y [tokens, rows] (=, or += when `add`) x [tokens, k] w [rows, k]ᵀ. The bits of an element depend on its row of x,
/// its row of w and k only.
inline void multiply_transposed(rows_view<const float> w, rows_view<const float> x, rows_view<float> y,
                                bool add = false) noexcept {
  if (x.cols == 0 && !add) fill_rows(y, 0.0f);
  for (std::size_t block = 0; block < x.rows; block += dot_block_tokens) {
    const std::size_t end = std::min(x.rows, block + dot_block_tokens);
    for (std::size_t first = 0; first < x.cols; first += dot_block_length) {
      const std::size_t length = std::min(dot_block_length, x.cols - first);
      const bool more = add || first != 0;
      for (std::size_t n = 0; n < w.rows; n += dot_tile_rows) {
        std::size_t t = block;
        for (; t + dot_tile_tokens <= end; t += dot_tile_tokens)
          dot_strip<dot_tile_tokens>(x.row(t), x.stride, w, n, first, length, y.row(t), y.stride, more);
        for (; t + 2 <= end; t += 2) dot_strip<2>(x.row(t), x.stride, w, n, first, length, y.row(t), y.stride, more);
        if (t < end) dot_strip<1>(x.row(t), x.stride, w, n, first, length, y.row(t), y.stride, more);
      }
    }
  }
}

template <std::size_t V, class R, std::size_t... M>
QWHA_ALWAYS_INLINE void outer_step(R* sum, const float* a, std::size_t a_row, const R* b,
                                   std::index_sequence<M...>) noexcept {
  (add_products(sum + M * V, R::splat(a[M * a_row]), b, std::make_index_sequence<V>{}), ...);
}
template <std::size_t V, class R, std::size_t... I>
QWHA_ALWAYS_INLINE void add_tile(const R* sum, float* c, std::size_t c_stride, std::index_sequence<I...>) noexcept {
  ((R::load(c + I / V * c_stride + I % V * R::size) + sum[I]).store(c + I / V * c_stride + I % V * R::size), ...);
}

/// c[M, V·W] += a[M, k] b[k, V·W], where a(m, i) = a[m · a_row + i · a_col].
template <std::size_t M, std::size_t V, std::size_t W>
void outer_tile(const float* a, std::size_t a_row, std::size_t a_col, const float* b, std::size_t b_stride,
                std::size_t k, float* c, std::size_t c_stride) noexcept {
  vec<float, W> sum[M * V] = {}, row[V];
  for (std::size_t i = 0; i < k; ++i) {
    load_operands(row, b + i * b_stride, W, std::make_index_sequence<V>{});
    outer_step<V>(sum, a + i * a_col, a_row, row, std::make_index_sequence<M>{});
  }
  add_tile<V>(sum, c, c_stride, std::make_index_sequence<M * V>{});
}

template <std::size_t M>
void outer_strip(const float* a, std::size_t a_row, std::size_t a_col, rows_view<const float> b, float* c,
                 std::size_t c_stride) noexcept {
  constexpr std::size_t W = native_lanes, width = outer_tile_vectors * W;
  std::size_t j = 0;
  for (; j + width <= b.cols; j += width)
    outer_tile<M, outer_tile_vectors, W>(a, a_row, a_col, b.data + j, b.stride, b.rows, c + j, c_stride);
  for (; j + W <= b.cols; j += W) outer_tile<M, 1, W>(a, a_row, a_col, b.data + j, b.stride, b.rows, c + j, c_stride);
  for (; j < b.cols; ++j) outer_tile<M, 1, 1>(a, a_row, a_col, b.data + j, b.stride, b.rows, c + j, c_stride);
}

/// c [m, n] += a [m, k] b [k, n], with a(i, l) at a[i · a_row + l · a_col]: a transposed operand costs nothing extra.
inline void multiply_accumulate(const float* a, std::size_t a_row, std::size_t a_col, rows_view<const float> b,
                                rows_view<float> c) noexcept {
  std::size_t t = 0;
  for (; t + outer_tile_tokens <= c.rows; t += outer_tile_tokens)
    outer_strip<outer_tile_tokens>(a + t * a_row, a_row, a_col, b, c.row(t), c.stride);
  for (; t + 2 <= c.rows; t += 2) outer_strip<2>(a + t * a_row, a_row, a_col, b, c.row(t), c.stride);
  if (t < c.rows) outer_strip<1>(a + t * a_row, a_row, a_col, b, c.row(t), c.stride);
}

/// A dot product whose operands come in pieces: four vectors of partial sums, added once at the end.
class dot_accumulator {
  static constexpr std::size_t W = native_lanes;
  using vector = vec<float, W>;

 public:
  QWHA_ALWAYS_INLINE void add(const float* a, const float* b, std::size_t count) noexcept {
    std::size_t i = 0;
    for (; i + 4 * W <= count; i += 4 * W)
      for (std::size_t v = 0; v < 4; ++v)
        sum_[v] = fma(vector::load(a + i + v * W), vector::load(b + i + v * W), sum_[v]);
    for (; i + W <= count; i += W) sum_[0] = fma(vector::load(a + i), vector::load(b + i), sum_[0]);
    for (; i < count; ++i) rest_ += a[i] * b[i];
  }
  QWHA_ALWAYS_INLINE float total() const noexcept {
    return sum_lanes((sum_[0] + sum_[1]) + (sum_[2] + sum_[3])) + rest_;
  }

 private:
  vector sum_[4] = {};
  float rest_ = 0;
};

}  // namespace qwha::inline QWHA_ISA::detail

namespace qwha::inline QWHA_ISA {

/// A product that an engine brings: `product(w, x, y)` does y [tokens, rows] = x [tokens, in] w [rows, in]ᵀ.
/// Meaning: called from several threads at once with disjoint columns of one y; does not throw; equal inputs give equal
/// bits. `w` is a slab of weights in scratch memory, valid during the call.
template <class P>
concept slab_product = requires(const P& product, rows_view<const float> w, rows_view<const float> x,
                                rows_view<float> y) { product(w, x, y); };

/// A `slab_product` for training: `product.add(w, dy, dx)` does dx [tokens, cols] += dy [tokens, rows] w [rows, cols].
template <class P>
concept training_product =
    slab_product<P> && requires(const P& product, rows_view<const float> w, rows_view<const float> dy,
                                rows_view<float> dx) { product.add(w, dy, dx); };

/// The built-in products: register-tiled, without packing or scratch. Sums in float; the order of a sum depends on its
/// length only.
struct tile_product {
  void operator()(rows_view<const float> w, rows_view<const float> x, rows_view<float> y) const noexcept {
    detail::multiply_transposed(w, x, y);
  }
  void add(rows_view<const float> w, rows_view<const float> dy, rows_view<float> dx) const noexcept {
    detail::multiply_accumulate(dy.data, dy.stride, 1, w, dx);
  }
};
static_assert(training_product<tile_product>);

}  // namespace qwha::inline QWHA_ISA
