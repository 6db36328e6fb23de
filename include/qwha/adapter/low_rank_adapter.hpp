// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// The low-rank adapter (LoRA, Hu et al. 2021) over a quantized base, behind the interface of sparse_spectral_adapter:
/// the baseline at equal parameters.

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <qwha/adapter/base_product.hpp>
#include <qwha/adapter/dense_product.hpp>
#include <qwha/adapter/scratch.hpp>
#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/base/executor.hpp>
#include <qwha/base/finite.hpp>
#include <qwha/base/rows_view.hpp>
#include <qwha/base/status.hpp>
#include <qwha/quant/quantized_matrix.hpp>

namespace qwha::inline QWHA_ISA {

/// Low-rank adapter: W = WQ + B A with A [rank, in] and B [out, rank]; a scale alpha / rank is folded into B.
///
/// Refers to the base as sparse_spectral_adapter does; reentrant; same bits for any executor; hot paths look at shapes,
/// not at numbers.
template <class Q>
class low_rank_adapter {
 public:
  /// @param values  A row by row, then B row by row: rank · (in + out) finite numbers
  /// @throws shape_error, value_error
  low_rank_adapter(const quantized_matrix<Q>& base, std::size_t rank, std::vector<float> values)
      : base_(base), rank_(rank), values_(std::move(values)) {
    if (values_.size() != rank_ * (rows() + cols()))
      throw shape_error("low_rank_adapter: " + std::to_string(values_.size()) + " values, but rank " +
                        std::to_string(rank_) + " over " + detail::shape_text(rows(), cols()) + " has " +
                        std::to_string(rank_ * (rows() + cols())));
    if (!all_finite(values_.data(), values_.size()))
      throw value_error("low_rank_adapter: A or B holds NaN or infinity");
  }

  std::size_t rows() const noexcept { return base_.rows(); }  ///< out
  std::size_t cols() const noexcept { return base_.cols(); }  ///< in
  std::size_t rank() const noexcept { return rank_; }
  std::size_t size() const noexcept { return values_.size(); }  ///< parameters
  const quantized_matrix<Q>& base() const noexcept { return base_; }
  rows_view<const float> a() const noexcept { return {values_.data(), rank_, cols()}; }
  rows_view<const float> b() const noexcept { return {values_.data() + rank_ * cols(), rows(), rank_}; }
  /// A, then B; writable, so that an optimiser steps on them. What is written must stay finite.
  std::span<float> values() noexcept { return values_; }
  std::span<const float> values() const noexcept { return values_; }

  /// y [tokens, out] = x (WQ + B A)ᵀ as x WQᵀ + (x Aᵀ) Bᵀ. Cost: the product with WQ, and tokens · rank · (in + out).
  /// Errors: shape_mismatch, null_data, overlapping, out_of_memory.
  status forward(rows_view<const float> x, rows_view<float> y,
                 const executor& where = default_executor()) const noexcept {
    return forward_with(tile_product{}, x, y, where);
  }

  /// The same with the engine's dense product for WQ.
  template <slab_product Product>
  status forward_with(const Product& product, rows_view<const float> x, rows_view<float> y,
                      const executor& where = default_executor()) const noexcept {
    if (const status s = detail::check_views(x, cols(), y, rows()); s != status::ok) return s;
    if (y.empty()) return status::ok;
    const bool packed = x.rows <= detail::most_packed_tokens<Q>;
    const std::size_t slab = detail::slab_rows_for<Product>(rows(), cols(), 0);
    const detail::chunking plan{rows(), slab};
    const std::size_t hidden_floats = detail::padded(x.rows * rank_);
    const std::size_t slot_floats = x.rows == 1 || packed ? 0 : detail::padded(slab * cols());
    const std::size_t few_floats = x.rows == 1 || packed ? x.rows * detail::base_forward_one_floats<Q>(cols()) : 0;
    detail::scratch_memory memory;
    if (const status s = memory.acquire({}, hidden_floats + few_floats + plan.chunks() * slot_floats); s != status::ok)
      return s;
    const rows_view<float> hidden(memory.take(hidden_floats), x.rows, rank_);
    float* few = memory.take(few_floats);
    detail::scratch_slots slots(memory.take(plan.chunks() * slot_floats), slot_floats);
    project(x, hidden, where);
    const auto expand = [&](std::size_t first, std::size_t count, bool add) {
      detail::multiply_transposed(b().rows_from(first, count), hidden,
                                  rows_view<float>(y.data + first, y.rows, count, y.stride), add);
    };
    if (x.rows == 1) {
      const auto addition = [&](std::size_t first, std::size_t count, float* sums) {
        for (std::size_t i = 0; i < count; ++i) {
          detail::dot_accumulator sum;
          sum.add(b().row(first + i), hidden.data, rank_);
          sums[i] = sum.total();
        }
      };
      detail::base_forward_one(base_, x.data, y.data, few, where, addition);
    } else if (packed) {
      parallel_for(where, rows(), expand_grain,
                   [&](std::size_t first, std::size_t last) { expand(first, last - first, false); });
      detail::add_base_forward_few(base_, x, y, few, where);
    } else {
      detail::base_forward(base_, x, y, product, slab, slots, where,
                           [&](std::size_t first, std::size_t count) { expand(first, count, true); });
    }
    return status::ok;
  }

  /// Gradients: dA += (dy B)ᵀ x and dB += dyᵀ (x Aᵀ) into dvalues (A, then B), dx = dy WQ + (dy B) A overwritten (an
  /// empty view skips it).
  status backward(rows_view<const float> x, rows_view<const float> dy, rows_view<float> dx, std::span<float> dvalues,
                  const executor& where = default_executor()) const noexcept {
    return backward_with(tile_product{}, x, dy, dx, dvalues, where);
  }

  /// The same with the engine's dense products for WQ.
  template <training_product Product>
  status backward_with(const Product& product, rows_view<const float> x, rows_view<const float> dy, rows_view<float> dx,
                       std::span<float> dvalues, const executor& where = default_executor()) const noexcept {
    const bool wants_dx = dx.data != nullptr || !dx.empty();
    if (dvalues.size() != values_.size()) return status::shape_mismatch;
    if (const status s = detail::check_backward(x, cols(), dy, rows(), dx, wants_dx); s != status::ok) return s;
    if (x.rows == 0) return status::ok;

    using tiles = detail::base_gradient_tiles;
    const std::size_t chunks = detail::chunking{cols(), tiles::cols<Q>}.chunks();
    const std::size_t hidden_floats = detail::padded(x.rows * rank_), slot_floats = wants_dx ? tiles::floats<Q> : 0;
    detail::scratch_memory memory;
    if (const status s = memory.acquire({}, 2 * hidden_floats + chunks * slot_floats); s != status::ok) return s;
    const rows_view<float> hidden(memory.take(hidden_floats), x.rows, rank_);
    const rows_view<float> gradient(memory.take(hidden_floats), x.rows, rank_);  // of the hidden values: dy B
    detail::scratch_slots slots(memory.take(chunks * slot_floats), slot_floats);

    project(x, hidden, where);
    parallel_for(where, x.rows, token_grain, [&](std::size_t first, std::size_t last) {
      const auto part = gradient.rows_from(first, last - first);
      std::fill_n(part.data, part.rows * rank_, 0.0f);
      detail::multiply_accumulate(dy.row(first), dy.stride, 1, b(), part);
      if (!wants_dx) return;
      const auto target = dx.rows_from(first, last - first);
      detail::fill_rows(target, 0.0f);
      detail::multiply_accumulate(part.data, rank_, 1, a(), target);
    });
    float* da = dvalues.data();
    parallel_for(where, cols(), 512, [&](std::size_t first, std::size_t last) {
      detail::multiply_accumulate(gradient.data, 1, rank_,
                                  rows_view<const float>(x.data + first, x.rows, last - first, x.stride),
                                  rows_view<float>(da + first, rank_, last - first, cols()));
    });
    float* db = dvalues.data() + rank_ * cols();
    parallel_for(where, rows(), 96, [&](std::size_t first, std::size_t last) {
      detail::multiply_accumulate(dy.data + first, 1, dy.stride, rows_view<const float>(hidden),
                                  rows_view<float>(db + first * rank_, last - first, rank_));
    });
    if (wants_dx) detail::add_base_gradient(base_, dy, dx, product, slots, where);
    return status::ok;
  }

  /// out [out, in] = B A, dense. @throws shape_error
  void delta(rows_view<float> out, const executor& where = default_executor()) const {
    dense(out, "delta", where, [](std::size_t, float* row, std::size_t count) { std::fill_n(row, count, 0.0f); });
  }

  /// out [out, in] = WQ + B A, dense. @throws shape_error
  void merge(rows_view<float> out, const executor& where = default_executor()) const {
    dense(out, "merge", where, [&](std::size_t r, float* row, std::size_t) { base_.decode_row(r, row); });
  }

 private:
  static constexpr std::size_t token_grain = 24, expand_grain = 192;

  /// hidden [tokens, rank] = x Aᵀ
  void project(rows_view<const float> x, rows_view<float> hidden, const executor& where) const {
    parallel_for(where, x.rows, token_grain, [&](std::size_t first, std::size_t last) {
      detail::multiply_transposed(a(), x.rows_from(first, last - first), hidden.rows_from(first, last - first));
    });
  }

  template <class Start>
  void dense(rows_view<float> out, const char* what, const executor& where, const Start& start) const {
    if (out.rows != rows() || out.cols != cols() || !detail::well_formed(out) || (!out.empty() && out.data == nullptr))
      throw shape_error(std::string("low_rank_adapter::") + what + ": the output is " +
                        detail::shape_text(out.rows, out.cols) + ", the adapter " + detail::shape_text(rows(), cols()));
    parallel_for(where, rows(), detail::row_grain(cols()), [&](std::size_t first, std::size_t last) {
      for (std::size_t r = first; r < last; ++r) start(r, out.row(r), cols());
      detail::multiply_accumulate(b().row(first), rank_, 1, a(), out.rows_from(first, last - first));
    });
  }

  quantized_matrix<Q> base_;
  std::size_t rank_;
  std::vector<float> values_;
};

}  // namespace qwha::inline QWHA_ISA
