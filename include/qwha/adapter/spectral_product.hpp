// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Products with a sparse spectrum, without any base: y += F x̂, ẑ += Fᵀ dy and the sampled products dy x̂ᵀ. Tokens
/// travel in panels of W, interleaved, so that one coefficient meets W tokens in one vector operation.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include <qwha/adapter/dense_product.hpp>
#include <qwha/adapter/prefetch.hpp>
#include <qwha/adapter/sparse_spectrum.hpp>
#include <qwha/adapter/transpose.hpp>
#include <qwha/base/config.hpp>
#include <qwha/base/executor.hpp>
#include <qwha/base/rows_view.hpp>
#include <qwha/base/simd.hpp>
#include <qwha/transform/scaling.hpp>

namespace qwha::inline QWHA_ISA::detail {

/// Which token sits in which lane: lane l of panel p holds token `token(p, l)`, p · W + l unless a list says otherwise.
struct panel_tokens {
  const std::uint32_t* list = nullptr;
  std::size_t first = 0;  ///< index of lane 0
  std::size_t count = 0;  ///< lanes in use; the others hold zero

  QWHA_ALWAYS_INLINE std::size_t operator[](std::size_t lane) const noexcept {
    return list == nullptr ? first + lane : list[first + lane];
  }
};

/// Lanes of a panel for so many tokens: the smallest of 1, 4, 8, 16 that holds them all, at most a register's.
constexpr std::size_t panel_lanes(std::size_t tokens) noexcept {
  std::size_t w = 1;
  while (w < tokens && w < native_lanes) w = w == 1 ? 4 : 2 * w;
  return w;
}

/// Calls f(std::integral_constant<std::size_t, W>) with W = width, one of the answers of `panel_lanes`.
template <class F>
QWHA_ALWAYS_INLINE void with_lanes(std::size_t width, F&& f) {
  if constexpr (native_lanes >= 4)
    if (width == 4) return f(std::integral_constant<std::size_t, 4>{});
  if constexpr (native_lanes >= 8)
    if (width == 8) return f(std::integral_constant<std::size_t, 8>{});
  if constexpr (native_lanes >= 16)
    if (width == 16) return f(std::integral_constant<std::size_t, 16>{});
  return f(std::integral_constant<std::size_t, 1>{});
}

/// Coefficients of one row as floats, a piece at a time, so that 16-bit values are converted by whole vectors.
inline constexpr std::size_t piece_size = 64;
template <class T>
QWHA_ALWAYS_INLINE const float* piece_of(const T* values, std::size_t count, [[maybe_unused]] float* buffer) noexcept {
  if constexpr (std::is_same_v<T, float>) {
    return values;
  } else {
    for (std::size_t k = 0; k < count; ++k) buffer[k] = static_cast<float>(values[k]);
    return buffer;
  }
}

/// The sum over entries [begin, end) of value · panel[column], W tokens at once.
template <std::size_t W, class T>
QWHA_ALWAYS_INLINE vec<float, W> sparse_dot(const spectrum_ref<T>& f, std::size_t begin, std::size_t end,
                                            const float* panel) noexcept {
  vec<float, W> s0{}, s1{}, s2{}, s3{};
  float buffer[piece_size];
  for (std::size_t k = begin; k < end; k += piece_size) {
    const std::size_t count = std::min(piece_size, end - k);
    const float* v = piece_of(f.values + k, count, buffer);
    const std::uint32_t* c = f.columns + k;
    std::size_t i = 0;
    for (; i + 4 <= count; i += 4) {
      s0 = fma(vec<float, W>::load(panel + W * c[i]), vec<float, W>::splat(v[i]), s0);
      s1 = fma(vec<float, W>::load(panel + W * c[i + 1]), vec<float, W>::splat(v[i + 1]), s1);
      s2 = fma(vec<float, W>::load(panel + W * c[i + 2]), vec<float, W>::splat(v[i + 2]), s2);
      s3 = fma(vec<float, W>::load(panel + W * c[i + 3]), vec<float, W>::splat(v[i + 3]), s3);
    }
    for (; i < count; ++i) s0 = fma(vec<float, W>::load(panel + W * c[i]), vec<float, W>::splat(v[i]), s0);
  }
  return (s0 + s1) + (s2 + s3);
}

/// sums [count][W] = F x̂ for rows [first, first + count) and one panel of x̂ [in][W].
template <std::size_t W, class T>
void sparse_product(const spectrum_ref<T>& f, std::size_t first, std::size_t count, const float* panel,
                    float* sums) noexcept {
  constexpr std::size_t ahead = 1024;  // coefficients: the stream is thin, hardware asks for it too late
  for (std::size_t r = first; r < first + count; ++r, sums += W) {
    for (std::size_t k = f.offsets[r]; k < f.offsets[r + 1]; k += 16) {
      prefetch(f.columns + k, ahead * sizeof(std::uint32_t));
      prefetch(f.values + k, ahead * sizeof(T));
    }
    sparse_dot<W>(f, f.offsets[r], f.offsets[r + 1], panel).store(sums);
  }
}

/// put(token, r, v) with v = (F x̂)[r] …, vectors or single numbers, for rows [first, first + count) and the tokens of
/// one panel of x̂ [in][W].
template <std::size_t W, class T, class Put>
void sparse_product(const spectrum_ref<T>& f, std::size_t first, std::size_t count, const float* panel,
                    const panel_tokens& tokens, const Put& put) noexcept {
  constexpr std::size_t strip = 64;
  alignas(64) float sums[strip * W];
  for (std::size_t done = 0; done < count; done += strip) {
    const std::size_t rows = std::min(strip, count - done);
    sparse_product<W>(f, first + done, rows, panel, sums);
    deinterleave<W>(sums, tokens.count, rows,
                    [&](std::size_t lane, std::size_t i, auto v) { put(tokens[lane], first + done + i, v); });
  }
}

/// ẑ[column] += value · dy[row] for all entries of F, W tokens at once: ẑ [in][W] += Fᵀ dy, with dy [out][W].
template <std::size_t W, class T>
void add_transposed_sparse_product(const spectrum_ref<T>& f, const float* dy, float* z) noexcept {
  float buffer[piece_size];
  for (std::size_t r = 0; r < f.rows; ++r) {
    const auto d = vec<float, W>::load(dy + r * W);
    for (std::size_t k = f.offsets[r]; k < f.offsets[r + 1]; k += piece_size) {
      const std::size_t count = std::min(piece_size, f.offsets[r + 1] - k);
      const float* v = piece_of(f.values + k, count, buffer);
      for (std::size_t i = 0; i < count; ++i) {
        float* to = z + W * f.columns[k + i];
        fma(d, vec<float, W>::splat(v[i]), vec<float, W>::load(to)).store(to);
      }
    }
  }
}

template <class V, std::size_t... G>
QWHA_ALWAYS_INLINE V sampled_product(const float* x, std::size_t x_step, const V* dy,
                                     std::index_sequence<G...>) noexcept {
  V sum{};
  ((sum = fma(V::load(x + G * x_step), dy[G], sum)), ...);
  return sum;
}

/// dvalues[k] += Σ over the tokens of G panels of dy[row of k] · x̂[column of k], for rows [first, first + count).
/// @param x_step, dy_step  floats from one panel to the next
template <std::size_t W, std::size_t G, class T>
void add_sampled_products(const spectrum_ref<T>& f, std::size_t first, std::size_t count, const float* x,
                          std::size_t x_step, const float* dy, std::size_t dy_step, float* dvalues) noexcept {
  using vector = vec<float, W>;
  constexpr auto panels = std::make_index_sequence<G>{};
  for (std::size_t r = first; r < first + count; ++r) {
    vector d[G];
    load_operands(d, dy + r * W, dy_step, panels);
    const auto product = [&](std::size_t k) __attribute__((always_inline)) {
      return sampled_product(x + W * f.columns[k], x_step, d, panels);
    };
    std::size_t k = f.offsets[r];
    const std::size_t end = f.offsets[r + 1];
    if constexpr (W >= 4) {
      for (; k + 4 <= end; k += 4) {
        vector products[4] = {product(k), product(k + 1), product(k + 2), product(k + 3)};
        (vec<float, 4>::load(dvalues + k) + sums_of_four(products)).store(dvalues + k);
      }
    }
    for (; k < end; ++k) dvalues[k] += sum_lanes(product(k));
  }
}

/// Distance of the W scratch rows of a panel: one cache line more than a row, so that a power of two in `cols` does not
/// send a column of them to one L1 set.
constexpr std::size_t scratch_stride(std::size_t cols) noexcept { return (cols + 15) / 16 * 16 + 16; }

/// out = T x, row by row, without a team of threads of its own where the transform can be told so: its callers are
/// inside a parallel loop already. A transform of well-formed float rows of its order does not fail.
template <class Transform>
QWHA_ALWAYS_INLINE void transform_rows(const Transform& transform, rows_view<const float> x,
                                       rows_view<float> out) noexcept {
  if constexpr (requires { transform.apply(x, out, scaling::orthonormal, executor::serial()); }) {
    static_cast<void>(transform.apply(x, out, scaling::orthonormal, executor::serial()));
  } else {
    for (std::size_t r = 0; r < x.rows; ++r) std::copy_n(x.row(r), x.cols, out.row(r));
    static_cast<void>(transform.apply(out, scaling::orthonormal));
  }
}

/// x <- Tᵀ x, row by row.
template <class Transform>
QWHA_ALWAYS_INLINE void transform_rows_transpose(const Transform& transform, rows_view<float> x) noexcept {
  if constexpr (requires { transform.apply_transpose(x, scaling::orthonormal, executor::serial()); })
    static_cast<void>(transform.apply_transpose(x, scaling::orthonormal, executor::serial()));
  else
    static_cast<void>(transform.apply_transpose(x, scaling::orthonormal));
}

/// One panel of x̂ = T x. @param scratch  W · scratch_stride(in) floats, unused for W = 1
template <std::size_t W, class Transform>
void transform_panel(const Transform& transform, rows_view<const float> x, const panel_tokens& tokens, float* scratch,
                     float* panel) noexcept {
  const auto row = [&](std::size_t lane) { return rows_view<const float>(x.row(tokens[lane]), 1, x.cols); };
  if constexpr (W == 1) {
    transform_rows(transform, row(0), rows_view<float>(panel, 1, x.cols));
  } else {
    const std::size_t stride = scratch_stride(x.cols);
    for (std::size_t l = 0; l < tokens.count; ++l)
      transform_rows(transform, row(l), rows_view<float>(scratch + l * stride, 1, x.cols));
    interleave<W>(scratch, stride, tokens.count, x.cols, panel);
  }
}

}  // namespace qwha::inline QWHA_ISA::detail
