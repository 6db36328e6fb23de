// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Dense rows of F T: one scatter and one transform per output row.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>

#include <qwha/adapter/sparse_spectrum.hpp>
#include <qwha/adapter/spectral_product.hpp>
#include <qwha/base/aligned_buffer.hpp>
#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/base/executor.hpp>
#include <qwha/base/rows_view.hpp>
#include <qwha/base/simd.hpp>
#include <qwha/quant/quantized_matrix.hpp>
#include <qwha/transform/orientation.hpp>
#include <qwha/transform/scaling.hpp>

#if QWHA_HAS_AVX512
#include <immintrin.h>
#endif

namespace qwha::inline QWHA_ISA::detail {

/// A transform policy for rows of n: made from n, or from nothing where its order is static.
/// @throws unsupported_order, or shape_error when its static order is another
template <class Transform>
Transform make_transform(std::size_t n) {
  if constexpr (std::is_constructible_v<Transform, std::size_t>) {
    return Transform(n);
  } else {
    Transform t{};
    if (t.order() != n)
      throw shape_error("the transform has order " + std::to_string(t.order()) + ", the rows have " +
                        std::to_string(n));
    return t;
  }
}

/// out [in] = f_row T; coefficients enter as float.
template <class T, class Transform>
void delta_row(const spectrum_ref<T>& f, const Transform& transform, std::size_t row, float* out) noexcept {
  std::fill_n(out, f.cols, 0.0f);
  if (f.offsets[row] == f.offsets[row + 1]) return;
  for (std::size_t k = f.offsets[row]; k < f.offsets[row + 1]; ++k) out[f.columns[k]] = static_cast<float>(f.values[k]);
  transform_rows_transpose(transform, rows_view<float>(out, 1, f.cols));
}

/// Whether dense rows are faster written around the caches: more than those keep, and whole lines of memory. The scratch
/// rows of `stream_rows` have to stay in the second-level cache.
template <class Transform>
bool streams_rows([[maybe_unused]] rows_view<float> out) noexcept {
#if QWHA_HAS_AVX512
  if constexpr (requires(const Transform& t) { t.scale(scaling::orthonormal); }) {
    constexpr std::size_t cached = std::size_t{1} << 21, line = 16, longest = 16384;
    return out.rows * out.cols >= cached && out.cols <= longest && out.cols % line == 0 && out.stride % line == 0 &&
           reinterpret_cast<std::uintptr_t>(out.data) % 64 == 0;
  }
#endif
  return false;
}

/// Rows of a chunk where they are streamed: the first and the last of a chunk have no other row's arithmetic beside
/// them.
constexpr std::size_t stream_grain(std::size_t cols) noexcept { return 1 + (std::size_t{1} << 18) / (cols + 1); }

#if QWHA_HAS_AVX512
/// What F T is added to: nothing.
struct no_addend {
  static constexpr std::size_t unit = 16;
  static void put(std::size_t, std::size_t, float*) noexcept {}
  template <class V>
  static QWHA_ALWAYS_INLINE V sum(const float*, V delta) noexcept {
    return delta;
  }
};

/// Rows of WQ. `unit` weights are decoded together.
template <class Q>
struct base_addend {
  static constexpr std::size_t unit = Q::block_size;
  const quantized_matrix<Q>& base;

  void put(std::size_t row, std::size_t column, float* to) const noexcept {
    const std::size_t block = column / unit;
    Q::decode(base.codes(row) + block * Q::code_bytes, base.parameters(row) + block * Q::parameter_bytes,
              base.local(row, block), to);
  }
  template <class V>
  static QWHA_ALWAYS_INLINE V sum(const float* weights, V delta) noexcept {
    __asm__("" : "+v"(delta.v));  // rounded before it is added, as where delta is made by itself
    return V::load(weights) + delta;
  }
};

/// Rows first … last - 1 of F T, plus what `addend` puts, into those of `out`, around the caches. While a row is read
/// into the transform, the row before it goes to memory and what the row is added to takes its place: stores that wait
/// for memory and arithmetic overlap.
/// @pre streams_rows(out), and out.cols is a multiple of addend.unit, that one of 16. @throws std::bad_alloc
template <class T, class Transform, class Addend>
void stream_rows(const spectrum_ref<T>& f, const Transform& transform, std::size_t first, std::size_t last,
                 const Addend& addend, rows_view<float> out) {
  const std::size_t step = f.cols + 80;  // rows of scratch at different places of the cache's sets
  aligned_buffer<float> scratch(2 * step);
  float *const sparse = scratch.data(), *const done = sparse + step;
  std::fill_n(sparse, f.cols, 0.0f);
  const auto entries = [&](std::size_t row, auto value) {
    for (std::size_t k = f.offsets[row]; k < f.offsets[row + 1]; ++k) sparse[f.columns[k]] = value(k);
  };
  const auto stream = [done](float* to, std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; i += 16) _mm512_stream_ps(to + i, _mm512_load_ps(done + i));
  };
  const float factor = static_cast<float>(transform.scale(scaling::orthonormal));
  const auto store = [done, factor](std::size_t, std::size_t i, auto v) {
    Addend::sum(done + i, v * decltype(v)::splat(factor)).store(done + i);
  };
  for (std::size_t row = first; row < last; ++row) {
    entries(row, [&](std::size_t k) { return static_cast<float>(f.values[k]); });
    float* const before = row == first ? nullptr : out.row(row - 1);
    const auto load = [&addend, stream, sparse, done, row, before](auto width, std::size_t, std::size_t i) {
      if (i % Addend::unit == 0) {
        if (before != nullptr) stream(before, i, i + Addend::unit);
        addend.put(row, i, done + i);
      }
      return vec<float, decltype(width)::value>::load(sparse + i);
    };
    static_cast<void>(
        transform.template apply_fused<float>(1, load, store, orientation::transpose, executor::serial()));
    entries(row, [](std::size_t) { return 0.0f; });
  }
  stream(out.row(last - 1), 0, f.cols);
  _mm_sfence();
}
#endif

}  // namespace qwha::inline QWHA_ISA::detail
