// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// out <- factor S in for rows of 2^k numbers in memory: one function with register arguments an order. A transform of
/// a short row takes less time than a store takes to reach the cache, so the way to its kernel must leave nothing on the
/// stack that is read back after the row's stores: such a load waits for them wherever both lie at one place of a page.

#include <bit>
#include <cstddef>
#include <utility>

#include <qwha/base/config.hpp>
#include <qwha/base/simd.hpp>
#include <qwha/transform/cpu/row_source.hpp>
#include <qwha/transform/cpu/sylvester.hpp>

namespace qwha::inline QWHA_ISA::detail {

/// Rows of S as `load(row)`, rows of T as `store(row)` and `work(row)`.
template <class T, class S>
struct source_rows {
  const S* data;
  std::size_t stride;
  QWHA_KERNEL_INLINE row_source<T, S> operator()(std::size_t r) const noexcept { return {data + r * stride}; }
};
template <class T>
struct work_rows {
  T* data;
  std::size_t stride;
  QWHA_KERNEL_INLINE T* operator()(std::size_t r) const noexcept { return data + r * stride; }
};
/// Rows of S that take numbers of T, scaled.
template <class T, class S>
struct scaled_rows {
  S* data;
  std::size_t stride;
  T factor;
  QWHA_KERNEL_INLINE row_target<T, S> operator()(std::size_t r) const noexcept { return {data + r * stride, factor}; }
};

/// Rows of N numbers.
template <std::size_t N, class T, std::size_t W, class S>
QWHA_NO_SANITIZE QWHA_NOINLINE void known_scaled_rows(const S* in, std::size_t in_stride, T* out,
                                                      std::size_t out_stride, std::size_t rows, T factor) noexcept {
  rows_of<N, T, W>(0, rows, source_rows<T, S>{in, in_stride}, scaled_rows<T, T>{out, out_stride, factor},
                   work_rows<T>{out, out_stride});
}

/// The same for n = 2^K known at run time, K one of those in the sequence.
template <class T, std::size_t W, class S, std::size_t... K>
void any_scaled_rows(std::size_t n, const S* in, std::size_t in_stride, T* out, std::size_t out_stride,
                     std::size_t rows, T factor, std::index_sequence<K...>) noexcept {
  using kernel = void (*)(const S*, std::size_t, T*, std::size_t, std::size_t, T) noexcept;
  static constexpr kernel kernels[] = {known_scaled_rows<(std::size_t{1} << K), T, W, S>...};
  kernels[static_cast<std::size_t>(std::countr_zero(n))](in, in_stride, out, out_stride, rows, factor);
}

/// out <- factor S in; `in` and `out` may be the same rows.
/// @tparam N  the order n, or 0 when it is known at run time only
template <std::size_t N, class T, std::size_t W, class S>
QWHA_NO_SANITIZE void transform_scaled_rows(std::size_t n, const S* in, std::size_t in_stride, T* out,
                                            std::size_t out_stride, std::size_t rows, T factor) noexcept {
  constexpr std::size_t most = 2 * tuning<T, W>.cache_block / sizeof(T);
  if constexpr (N != 0)
    known_scaled_rows<N, T, W>(in, in_stride, out, out_stride, rows, factor);
  else if (n <= most)
    any_scaled_rows<T, W>(n, in, in_stride, out, out_stride, rows, factor,
                          std::make_index_sequence<std::countr_zero(most) + 1>{});
  else
    far_rows<T, W>(n, 0, rows, source_rows<T, S>{in, in_stride}, scaled_rows<T, T>{out, out_stride, factor},
                   work_rows<T>{out, out_stride});
}

}  // namespace qwha::inline QWHA_ISA::detail
