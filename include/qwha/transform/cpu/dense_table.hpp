// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Any dense Hadamard factor, its signs from a table: m / 5 additions an output, of sums that all outputs share.
///
/// Additions are in the order of the table, so every width gives the same bits.

#include <cstddef>
#include <cstdint>
#include <utility>

#include <qwha/base/config.hpp>
#include <qwha/base/simd.hpp>
#include <qwha/transform/cpu/dense_sums.hpp>
#include <qwha/transform/cpu/scratch.hpp>
#include <qwha/transform/sign_table.hpp>

namespace qwha::inline QWHA_ISA::detail {

/// The sums of groups [first, last) of the `order` inputs at `in`, `pitch` apart, after a zero.
template <class T, std::size_t W>
QWHA_KERNEL_INLINE void table_sums(std::size_t first, std::size_t last, std::size_t order, const T* in,
                                   std::size_t pitch, T* sums) noexcept {
  using V = vec<T, W>;
  const V zero = V::splat(T(0));
  zero.store(sums);
  sums += W;
  for (std::size_t j = first * sign_table::group; j < last * sign_table::group; j += sign_table::group) {
    const auto x = [&](std::size_t b) { return j + b < order ? V::load(in + (j + b) * pitch) : zero; };
    const V x0 = x(0), x1 = x(1), x2 = x(2), x3 = x(3), x4 = x(4);
    V four[8];
    signed_sums(x0, x1, x2, x3, four);
    for (std::size_t s = 0; s < 8; ++s, sums += W) {
      (four[s] + x4).store(sums);
      (four[s] - x4).store(sums + 8 * W);
    }
    sums += 8 * W;
  }
}

/// The outputs of a tile from the sums of a chunk, on top of `y`.
template <class V, std::size_t... K>
QWHA_KERNEL_INLINE void table_tile(V* y, const sign_table::tile& tile, const std::uint16_t* numbers,
                                   const typename V::value_type* sums, std::index_sequence<K...>) noexcept {
  for (std::uint32_t s = 0; s < tile.plus; ++s, numbers += sizeof...(K))
    ((y[K] = y[K] + V::load(sums + numbers[K] * V::size)), ...);
  for (std::uint32_t s = 0; s < tile.minus; ++s, numbers += sizeof...(K))
    ((y[K] = y[K] - V::load(sums + numbers[K] * V::size)), ...);
}

/// `finish(i, y)` gets output i of the table's H x, x the W columns at `in`, rows `pitch` apart. All of x is read before
/// the first call. `partial`: room for the outputs where there are several chunks.
template <class T, std::size_t W, class Finish>
QWHA_KERNEL_INLINE void table_column(const sign_table& h, const T* in, std::size_t pitch, T* partial,
                                     const Finish& finish) noexcept {
  using V = vec<T, W>;
  constexpr std::size_t R = sign_table::tile_outputs;
  alignas(64) T sums[(1 + sign_table::sums * sign_table::chunk_groups) * W];
  for (const sign_table::chunk& chunk : h.chunks()) {
    const bool first = chunk.first_group == 0, last = &chunk == &h.chunks().back();
    table_sums<T, W>(chunk.first_group, chunk.last_group, h.order(), in, pitch, sums);
    for (std::size_t t = chunk.first_tile; t < chunk.last_tile; ++t) {
      const sign_table::tile& tile = h.tiles()[t];
      V y[R];
      for (std::size_t k = 0; k < R; ++k) y[k] = first ? V::splat(T(0)) : V::load(partial + tile.output[k] * W);
      table_tile(y, tile, h.numbers().data() + tile.first, sums, std::make_index_sequence<R>{});
      for (std::size_t k = 0; k < R; ++k)
        last ? finish(tile.output[k], y[k]) : y[k].store(partial + tile.output[k] * W);
    }
  }
}

/// H on `columns` columns (a multiple of W) of rows `in_pitch` apart, to rows `out_pitch` apart. False where scratch
/// could not be allocated.
template <class T, std::size_t W>
QWHA_NO_SANITIZE QWHA_NOINLINE bool table_dense(const sign_table& h, std::size_t columns, const T* in,
                                                std::size_t in_pitch, T* out, std::size_t out_pitch) noexcept {
  using V = vec<T, W>;
  constexpr std::size_t stack_bytes = std::size_t{1} << 18;
  const std::size_t order = h.order();
  const auto whole = [&](T* partial) noexcept {
    for (std::size_t c = 0; c < columns; c += W)
      table_column<T, W>(h, in + c, in_pitch, partial, [&](std::size_t i, V y) { y.store(out + c + i * out_pitch); });
    return true;
  };
  const auto halves = [&](T* scratch) noexcept {
    T *const u = scratch, *const v = u + order * W, *const partial = v + order * W;
    for (std::size_t c = 0; c < columns; c += W) {
      for (std::size_t i = 0; i < order; ++i) {
        const V x1 = V::load(in + c + i * in_pitch), x2 = V::load(in + c + (order + i) * in_pitch);
        (x1 + x2).store(u + i * W);
        (x1 - x2).store(v + i * W);
      }
      table_column<T, W>(h, u, W, partial, [&](std::size_t i, V y) {
        (y + (V::load(v + i * W) - V::load(u + i * W))).store(out + c + i * out_pitch);
      });
      table_column<T, W>(h, v, W, partial, [&](std::size_t i, V y) {
        (y - (V::load(v + i * W) + V::load(u + i * W))).store(out + c + (order + i) * out_pitch);
      });
    }
    return true;
  };
  if (h.halved()) return with_scratch<T, stack_bytes / sizeof(T)>(3 * order * W, halves);
  if (h.chunks().size() == 1) return whole(nullptr);
  return with_scratch<T, stack_bytes / sizeof(T)>(order * W, whole);
}

}  // namespace qwha::inline QWHA_ISA::detail
