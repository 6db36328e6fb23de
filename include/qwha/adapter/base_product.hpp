// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Products with a quantized base, decoded a slab at a time: what every adapter adds to.

#include <algorithm>
#include <cstddef>
#include <type_traits>

#include <qwha/adapter/dense_product.hpp>
#include <qwha/adapter/packed_product.hpp>
#include <qwha/adapter/scratch.hpp>
#include <qwha/base/config.hpp>
#include <qwha/base/executor.hpp>
#include <qwha/base/rows_view.hpp>
#include <qwha/quant/quantized_matrix.hpp>

namespace qwha::inline QWHA_ISA::detail {

/// Blocks [first, first + count) of a row, each whole: `out` holds count · block_size floats.
template <class Q>
void decode_blocks(const quantized_matrix<Q>& base, std::size_t row, std::size_t first, std::size_t count,
                   float* out) noexcept {
  const std::byte* codes = base.codes(row) + first * Q::code_bytes;
  const std::byte* parameters = base.parameters(row) + first * Q::parameter_bytes;
  for (std::size_t b = 0; b < count; ++b)
    Q::decode(codes + b * Q::code_bytes, parameters + b * Q::parameter_bytes, base.local(row, first + b),
              out + b * Q::block_size);
}

/// w_row · x, decoded a piece at a time into L1: long enough that its stores are done when it is read. x holds cols()
/// floats.
template <class Q>
float decode_dot(const quantized_matrix<Q>& base, std::size_t row, const float* x) noexcept {
  constexpr std::size_t blocks = std::max<std::size_t>(1, 1024 / Q::block_size), piece = blocks * Q::block_size;
  alignas(64) float w[piece];
  dot_accumulator sum;
  for (std::size_t done = 0, block = 0; done < base.cols(); done += piece, block += blocks) {
    decode_blocks(base, row, block, std::min(blocks, base.blocks_per_row() - block), w);
    sum.add(w, x + done, std::min(piece, base.cols() - done));
  }
  return sum.total();
}

/// Rows of a slab of about `floats`: whole register tiles, at least two, not above `most`.
constexpr std::size_t slab_rows_for(std::size_t in, std::size_t most, std::size_t floats) noexcept {
  return std::clamp<std::size_t>(floats / std::max<std::size_t>(in, 1), 12, most) / 12 * 12;
}

/// Rows of a slab when the caller leaves it open: an engine's product packs its operands, so it gets larger slabs.
template <class Product>
constexpr std::size_t slab_rows_for(std::size_t rows, std::size_t in, std::size_t wanted) noexcept {
  constexpr bool built_in = std::is_same_v<Product, tile_product>;
  if (wanted == 0) wanted = slab_rows_for(in, built_in ? 96 : 384, built_in ? 1u << 19 : 1u << 21);
  return std::min(wanted, rows);
}

/// y [tokens, out] = x WQᵀ, a slab of rows at a time, then `after(first, count)` while its columns of y are in cache.
template <class Q, class Product, class After>
void base_forward(const quantized_matrix<Q>& base, rows_view<const float> x, rows_view<float> y, const Product& product,
                  std::size_t slab_rows, scratch_slots& slots, const executor& where, const After& after) {
  for_each_unit(where, {base.rows(), slab_rows}, slots, [&](std::size_t first, std::size_t count, float* scratch) {
    const rows_view<float> slab(scratch, count, base.cols());
    for (std::size_t i = 0; i < count; ++i) base.decode_row(first + i, slab.row(i));
    product(rows_view<const float>(slab), x, rows_view<float>(y.data + first, y.rows, count, y.stride));
    after(first, count);
  });
}

/// Rows of light work for one chunk of a parallel loop.
constexpr std::size_t row_grain(std::size_t cols) noexcept { return 1 + 65536 / std::max<std::size_t>(cols, 1); }

/// Scratch of `base_forward_one`.
template <class Q>
constexpr std::size_t base_forward_one_floats(std::size_t cols) noexcept {
  if constexpr (packed_traits<Q>::lanes != 0)
    return padded(packed_vector<Q>::floats(cols));
  else
    return 0;
}

/// Rows whose additions to one token are asked for together.
inline constexpr std::size_t one_token_strip = 128;

/// Strips of a chunk: all additions of a chunk come before its products, because both live from prefetched streams and
/// disturb each other's when they alternate quickly.
constexpr std::size_t one_token_grain(std::size_t rows) noexcept {
  return one_token_strip * std::clamp<std::size_t>(rows / (4 * one_token_strip), 1, 8);
}

/// One token: y = WQ x + addition, without a slab.
/// @param scratch   base_forward_one_floats(cols) floats
/// @param addition  `addition(first, count, sums)` writes what rows first … first + count - 1 get beside the product;
///                  first is a multiple of one_token_strip, sums holds one_token_strip floats
template <class Q, class Addition>
void base_forward_one(const quantized_matrix<Q>& base, const float* x, float* y, [[maybe_unused]] float* scratch,
                      const executor& where, const Addition& addition) {
  const auto rows = [&](const auto& add_rows) {
    parallel_for(where, base.rows(), one_token_grain(base.rows()), [&](std::size_t begin, std::size_t end) {
      std::size_t first = begin;
      for (; first + one_token_strip <= end; first += one_token_strip) addition(first, one_token_strip, y + first);
      if (first < end) {
        alignas(64) float sums[one_token_strip];
        addition(first, end - first, sums);
        std::copy_n(sums, end - first, y + first);
      }
      add_rows(begin, end);
    });
  };
  if constexpr (packed_traits<Q>::lanes != 0) {
    const packed_vector<Q> packed(x, base.cols(), scratch);
    rows([&](std::size_t begin, std::size_t end) { add_packed_products(base, begin, end, packed, y); });
  } else {
    rows([&](std::size_t begin, std::size_t end) {
      for (std::size_t r = begin; r < end; ++r) y[r] += decode_dot(base, r, x);
    });
  }
}

/// So many tokens are faster one after the other through packed rows than together through decoded slabs.
template <class Q>
inline constexpr std::size_t most_packed_tokens = packed_traits<Q>::lanes == 0    ? 0
                                                  : packed_traits<Q>::lanes == 16 ? 16
                                                                                  : 6;

/// y [tokens, out] += x WQᵀ for few tokens. @param scratch  tokens · base_forward_one_floats(cols) floats
template <class Q>
void add_base_forward_few([[maybe_unused]] const quantized_matrix<Q>& base, [[maybe_unused]] rows_view<const float> x,
                          [[maybe_unused]] rows_view<float> y, [[maybe_unused]] float* scratch,
                          [[maybe_unused]] const executor& where) {
  if constexpr (packed_traits<Q>::lanes != 0) {
    constexpr std::size_t rows_at_once = 32;  // stay in L2 while the tokens pass
    const std::size_t step = base_forward_one_floats<Q>(base.cols());
    for (std::size_t t = 0; t < x.rows; ++t) packed_vector<Q>(x.row(t), base.cols(), scratch + t * step);
    parallel_for(where, base.rows(), rows_at_once, [&](std::size_t begin, std::size_t end) {
      for (std::size_t t = 0; t < x.rows; ++t)
        add_packed_products(base, begin, end, packed_vector<Q>(scratch + t * step, base.cols()), y.row(t));
    });
  }
}

/// dx [tokens, in] += dy [tokens, out] WQ: tiles of columns in parallel, each decoded once, rows ascending, so that an
/// element of dx has one owner and one order of summation.
struct base_gradient_tiles {
  static constexpr std::size_t rows = 192;
  template <class Q>
  static constexpr std::size_t blocks = std::max<std::size_t>(1, 192 / Q::block_size);
  template <class Q>
  static constexpr std::size_t cols = blocks<Q> * Q::block_size;
  template <class Q>
  static constexpr std::size_t floats = padded(rows * cols<Q>);
};

template <class Q, class Product>
void add_base_gradient(const quantized_matrix<Q>& base, rows_view<const float> dy, rows_view<float> dx,
                       const Product& product, scratch_slots& slots, const executor& where) {
  using tiles = base_gradient_tiles;
  for_each_unit(where, {base.cols(), tiles::cols<Q>}, slots, [&](std::size_t col, std::size_t width, float* tile) {
    const rows_view<float> target(dx.data + col, dx.rows, width, dx.stride);
    const std::size_t block = col / Q::block_size, blocks = (width + Q::block_size - 1) / Q::block_size;
    for (std::size_t row = 0; row < base.rows(); row += tiles::rows) {
      const std::size_t count = std::min(tiles::rows, base.rows() - row);
      for (std::size_t r = 0; r < count; ++r) decode_blocks(base, row + r, block, blocks, tile + r * tiles::cols<Q>);
      product.add(rows_view<const float>(tile, count, width, tiles::cols<Q>),
                  rows_view<const float>(dy.data + row, dy.rows, count, dy.stride), target);
    }
  });
}

}  // namespace qwha::inline QWHA_ISA::detail
