// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// The adapter of QWHA over one quantized linear layer: y = x (WQ + F T)ᵀ, its gradients, and its dense forms.

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <type_traits>
#include <utility>

#include <qwha/adapter/base_product.hpp>
#include <qwha/adapter/cost_model.hpp>
#include <qwha/adapter/dense_product.hpp>
#include <qwha/adapter/scratch.hpp>
#include <qwha/adapter/sparse_spectrum.hpp>
#include <qwha/adapter/spectral_delta.hpp>
#include <qwha/adapter/spectral_product.hpp>
#include <qwha/adapter/spectrum_tiles.hpp>
#include <qwha/base/backend.hpp>
#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/base/executor.hpp>
#include <qwha/base/rows_view.hpp>
#include <qwha/base/status.hpp>
#include <qwha/quant/quantized_matrix.hpp>
#include <qwha/transform/wht.hpp>

namespace qwha {

/// How one call runs. All have defaults.
struct adapter_options {
  adapter_path path = adapter_path::automatic;
  adapter_cost_model costs{};        ///< what `automatic` asks
  std::size_t slab_rows = 0;         ///< rows of WQ decoded at once where a slab is needed; 0: by their length
  std::span<std::byte> workspace{};  ///< scratch of the caller, any alignment; empty: allocated for the call
};

}  // namespace qwha

namespace qwha::inline QWHA_ISA {

/// Sparse spectral adapter: W = WQ + F T with F [out, in] sparse and T = H / sqrt(in) orthonormal (paper section 3).
///
/// @tparam T          type of the coefficients: float, double, half or bfloat16; arithmetic is float
/// @tparam Q          format of the base
/// @tparam Transform  policy with `apply` and `apply_transpose` on rows, made from `in` (or from nothing)
///
/// Refers to the base: it shares the codes of `base` (copies of a quantized_matrix share storage; memory that the
/// matrix refers to must outlive the adapter). Calls are reentrant and may run at the same time; writing `values()` may
/// not run at the same time as other calls.
///
/// Hot paths look at shapes, not at numbers: a token with NaN or infinity gives NaN in its own row of the output and
/// leaves the other tokens alone. Same bits for any executor.
template <class T, class Q, class Transform = wht<native>>
class sparse_spectral_adapter {
 public:
  using value_type = T;
  using quantizer_type = Q;
  using transform_type = Transform;

  /// @throws shape_error unless base and spectrum have one shape; unsupported_order when there is no T of `in`
  sparse_spectral_adapter(const quantized_matrix<Q>& base, sparse_spectrum<T> spectrum)
      : base_(base),
        spectrum_(matching(base, std::move(spectrum))),
        transform_(detail::make_transform<Transform>(base.cols())),
        tiles_(spectrum_) {}

  std::size_t rows() const noexcept { return base_.rows(); }  ///< out
  std::size_t cols() const noexcept { return base_.cols(); }  ///< in
  const quantized_matrix<Q>& base() const noexcept { return base_; }
  const sparse_spectrum<T>& spectrum() const noexcept { return spectrum_; }
  const Transform& transform() const noexcept { return transform_; }
  /// All coefficients, row after row; writable, so that an optimiser steps on them. What is written must stay finite, and
  /// counts at once: asking for them gives up, for good, the arrangement that makes a single token fast. An engine that
  /// only infers never asks; after training, serve from `packed()`. Assigning to the adapter ends the span.
  std::span<T> values() noexcept {
    tiles_ = {};
    return spectrum_.values();
  }
  /// The adapter with its coefficients as they are now, arranged for single tokens as a new one is:
  ///
  ///   optimiser.step(adapter.values(), gradient);
  ///   const auto served = adapter.packed();
  ///
  /// It has coefficients of its own (the codes of the base are shared), so that no span from `values()` of this adapter,
  /// taken before or after, can change it. Cost: a few passes over the coefficients. @throws std::bad_alloc
  sparse_spectral_adapter packed() const {
    sparse_spectral_adapter copy(*this);
    copy.tiles_ = tiles(copy.spectrum_);
    return copy;
  }

  /// y [tokens, out] = x [tokens, in] (WQ + F T)ᵀ. Views of any stride and alignment; x and y do not share memory.
  /// Cost: the product with WQ, and the cheaper of tokens · (in log in + p) and out · in log in operations.
  /// Numerics: float sums; relative error about eps · (sqrt(in) + log2(in)).
  /// Errors: shape_mismatch, null_data, overlapping, out_of_memory, workspace_too_small. Effects: `y` only.
  status forward(rows_view<const float> x, rows_view<float> y, const adapter_options& options = {},
                 const executor& where = default_executor()) const noexcept {
    return forward_with(tile_product{}, x, y, options, where);
  }

  /// The same with the engine's dense product; few tokens on the activation path need none where
  /// rows are multiplied as they are packed.
  template <slab_product Product>
  status forward_with(const Product& product, rows_view<const float> x, rows_view<float> y,
                      const adapter_options& options = {}, const executor& where = default_executor()) const noexcept {
    if (const status s = detail::check_views(x, cols(), y, rows()); s != status::ok) return s;
    if (y.empty()) return status::ok;
    const forward_plan plan = plan_forward<Product>(x.rows, options);
    detail::scratch_memory memory;
    if (const status s = memory.acquire(options.workspace, plan.floats()); s != status::ok) return s;
    float* panels = memory.take(plan.panel_floats + plan.few_floats);
    detail::scratch_slots slots(memory.take(plan.slots * plan.slot_floats), plan.slot_floats);
    if (plan.path == adapter_path::weights) {
      forward_by_weights(product, x, y, plan, slots, where);
    } else {
      detail::with_lanes(plan.lanes, [&](auto lanes) {
        forward_by_activations<decltype(lanes)::value>(product, x, y, plan, panels, slots, where);
      });
    }
    return status::ok;
  }

  /// Bytes of workspace for a forward pass of `tokens` with these options (their `workspace` is not looked at).
  template <slab_product Product = tile_product>
  std::size_t workspace_bytes(std::size_t tokens, const adapter_options& options = {}) const noexcept {
    return tokens == 0 || rows() == 0 ? 0 : detail::workspace_for(plan_forward<Product>(tokens, options).floats());
  }

  /// The path that a forward pass of `tokens` takes; never `automatic`.
  adapter_path path(std::size_t tokens, const adapter_options& options = {}) const noexcept {
    if (options.path != adapter_path::automatic) return options.path;
    return options.costs.choose(rows(), cols(), spectrum_.size(), tokens);
  }

  /// Gradients of a loss through y = x (WQ + F T)ᵀ, given dy [tokens, out]:
  ///   dvalues[(i, j)] += Σ_t dy_ti x̂_tj        one sampled product per coefficient, added to what is there
  ///   dx [tokens, in]  = dy WQ + (dy F) T        overwritten; an empty view skips it (first layer, frozen input)
  /// No [out, in] gradient is formed or transformed. WQ is not trained.
  /// @param dvalues  spectrum().size() values in the order of values()
  /// Cost: one product with WQ for dx, tokens · (2 in log in + 2 p). Numerics and errors as `forward`; dx and dvalues
  /// share memory with nothing else.
  status backward(rows_view<const float> x, rows_view<const float> dy, rows_view<float> dx, std::span<float> dvalues,
                  const adapter_options& options = {}, const executor& where = default_executor()) const noexcept {
    return backward_with(tile_product{}, x, dy, dx, dvalues, options, where);
  }

  /// The same with the engine's dense products.
  template <training_product Product>
  status backward_with(const Product& product, rows_view<const float> x, rows_view<const float> dy, rows_view<float> dx,
                       std::span<float> dvalues, const adapter_options& options = {},
                       const executor& where = default_executor()) const noexcept {
    const bool wants_dx = dx.data != nullptr || !dx.empty();
    if (dvalues.size() != spectrum_.size()) return status::shape_mismatch;
    if (const status s = detail::check_backward(x, cols(), dy, rows(), dx, wants_dx); s != status::ok) return s;
    if (x.rows == 0) return status::ok;
    const backward_plan plan = plan_backward(x.rows);
    detail::scratch_memory memory;
    if (const status s = memory.acquire(options.workspace, plan.floats()); s != status::ok) return s;
    float* x_panels = memory.take(plan.panels() * plan.x_step);
    float* dy_panels = memory.take(plan.panels() * plan.dy_step);
    detail::scratch_slots slots(memory.take(plan.slots * plan.slot_floats), plan.slot_floats);
    if (spectrum_.size() == 0)
      detail::fill_rows(dx, 0.0f);
    else
      detail::with_lanes(plan.lanes, [&](auto lanes) {
        constexpr std::size_t W = decltype(lanes)::value;
        spectral_gradients<W>(x, dy, wants_dx ? dx : rows_view<float>{}, plan, x_panels, dy_panels, slots, where);
        sampled_products<W>(plan, x_panels, dy_panels, dvalues, where);
      });
    if (wants_dx) detail::add_base_gradient(base_, dy, dx, product, slots, where);
    return status::ok;
  }

  /// Bytes of workspace for a backward pass of `tokens`.
  std::size_t backward_workspace_bytes(std::size_t tokens) const noexcept {
    return tokens == 0 ? 0 : detail::workspace_for(plan_backward(tokens).floats());
  }

  /// out [out, in] = F T, dense. @throws shape_error, std::bad_alloc
  void delta(rows_view<float> out, const executor& where = default_executor()) const {
    check_dense(out, "delta");
#if QWHA_HAS_AVX512
    if constexpr (requires(const Transform& t) { t.scale(scaling::orthonormal); })
      if (detail::streams_rows<Transform>(out)) return stream(out, detail::no_addend{}, where);
#endif
    parallel_for(where, rows(), detail::row_grain(cols()), [&](std::size_t first, std::size_t last) {
      for (std::size_t r = first; r < last; ++r) detail::delta_row(spectrum_.ref(), transform_, r, out.row(r));
    });
  }

  /// out [in] = row `row` of F T. @throws shape_error
  void delta_row(std::size_t row, std::span<float> out) const {
    if (row >= rows() || out.size() != cols())
      throw shape_error("sparse_spectral_adapter::delta_row: row " + std::to_string(row) + " into " +
                        std::to_string(out.size()) + " values, but the adapter is " +
                        detail::shape_text(rows(), cols()));
    detail::delta_row(spectrum_.ref(), transform_, row, out.data());
  }

  /// out [out, in] = WQ + F T, dense: each element is the rounded sum of those of `dequantize` and `delta`.
  /// @throws shape_error, std::bad_alloc
  void merge(rows_view<float> out, const executor& where = default_executor()) const {
    check_dense(out, "merge");
#if QWHA_HAS_AVX512
    if constexpr (Q::block_size % 16 == 0 && requires(const Transform& t) { t.scale(scaling::orthonormal); })
      if (detail::streams_rows<Transform>(out) && cols() % Q::block_size == 0)
        return stream(out, detail::base_addend<Q>{base_}, where);
#endif
    parallel_for(where, rows(), detail::row_grain(cols()), [&](std::size_t first, std::size_t last) {
      aligned_buffer<float> scratch(cols());
      for (std::size_t r = first; r < last; ++r) merged_row(r, out.row(r), scratch.data());
    });
  }

 private:
  using tiles = detail::spectrum_tiles<T>;
  static_assert(detail::one_token_strip == tiles::side);

  struct forward_plan {
    adapter_path path;
    std::size_t lanes;         // of a panel; 1: a single token
    std::size_t panel_floats;  // of x̂ and F x̂, all tokens
    std::size_t slab;          // rows
    std::size_t slots, slot_floats;
    std::size_t few_floats;  // of x for packed rows; 0: by slabs
    std::size_t floats() const noexcept { return panel_floats + few_floats + slots * slot_floats; }
  };
  struct backward_plan {
    std::size_t tokens, lanes, x_step, dy_step, slots, slot_floats;
    std::size_t panels() const noexcept { return (tokens + lanes - 1) / lanes; }
    std::size_t floats() const noexcept { return panels() * (x_step + dy_step) + slots * slot_floats; }
    detail::panel_tokens tokens_of(std::size_t panel) const noexcept {
      return {nullptr, panel * lanes, std::min(lanes, tokens - panel * lanes)};
    }
  };

  static sparse_spectrum<T> matching(const quantized_matrix<Q>& base, sparse_spectrum<T> spectrum) {
    if (base.rows() != spectrum.rows() || base.cols() != spectrum.cols())
      throw shape_error("sparse_spectral_adapter: the spectrum is " +
                        detail::shape_text(spectrum.rows(), spectrum.cols()) + ", the base " +
                        detail::shape_text(base.rows(), base.cols()));
    return spectrum;
  }
  void check_dense(rows_view<float> out, const char* what) const {
    if (out.rows != rows() || out.cols != cols() || !detail::well_formed(out) || (!out.empty() && out.data == nullptr))
      throw shape_error(std::string("sparse_spectral_adapter::") + what + ": the output is " +
                        detail::shape_text(out.rows, out.cols) + ", the adapter " + detail::shape_text(rows(), cols()));
  }

#if QWHA_HAS_AVX512
  /// out = F T + addend, around the caches.
  template <class Addend>
  void stream(rows_view<float> out, const Addend& addend, const executor& where) const {
    parallel_for(where, rows(), detail::stream_grain(cols()), [&](std::size_t first, std::size_t last) {
      detail::stream_rows(spectrum_.ref(), transform_, first, last, addend, out);
    });
  }
#endif

  /// out = row of WQ + F T. @param scratch  cols() floats
  void merged_row(std::size_t row, float* out, float* scratch) const noexcept {
    base_.decode_row(row, out);
    if (spectrum_.columns(row).empty()) return;
    detail::delta_row(spectrum_.ref(), transform_, row, scratch);
    for (std::size_t i = 0; i < cols(); ++i) out[i] += scratch[i];
  }

  template <class Product>
  forward_plan plan_forward(std::size_t tokens, const adapter_options& options) const noexcept {
    const std::size_t in = cols();
    forward_plan p{path(tokens, options), detail::panel_lanes(tokens), 0, 0, 0, 0, 0};
    p.slab = detail::slab_rows_for<Product>(rows(), in, options.slab_rows);
    const std::size_t slab_floats = detail::padded(p.slab * in);
    if (p.path == adapter_path::weights) {
      p.slot_floats = slab_floats + detail::padded(in);
    } else {
      const std::size_t panels = spectrum_.size() == 0 ? 0 : (tokens + p.lanes - 1) / p.lanes;
      p.panel_floats = panels * detail::padded(p.lanes * in);
      if (tokens == 1) {
        p.panel_floats += detail::base_forward_one_floats<Q>(in) + detail::padded(tiles_.floats());
        return p;
      }
      if (tokens <= detail::most_packed_tokens<Q>)
        p.few_floats = tokens * detail::base_forward_one_floats<Q>(in);
      else
        p.panel_floats += panels * detail::padded(p.lanes * rows());
      p.slot_floats =
          std::max(p.few_floats == 0 ? slab_floats : 0, panels == 0 ? 0 : p.lanes * detail::scratch_stride(in));
    }
    p.slots = std::min(detail::scratch_slots::most,
                       std::max((rows() + p.slab - 1) / p.slab, (tokens + p.lanes - 1) / p.lanes));
    return p;
  }

  template <class Product>
  void forward_by_weights(const Product& product, rows_view<const float> x, rows_view<float> y,
                          const forward_plan& plan, detail::scratch_slots& slots, const executor& where) const {
    detail::for_each_unit(where, {rows(), plan.slab}, slots, [&](std::size_t first, std::size_t count, float* scratch) {
      const rows_view<float> slab(scratch + detail::padded(cols()), count, cols());
      for (std::size_t i = 0; i < count; ++i) merged_row(first + i, slab.row(i), scratch);
      product(rows_view<const float>(slab), x, rows_view<float>(y.data + first, y.rows, count, y.stride));
    });
  }

  /// @param scratch  plan.panel_floats of a single token
  void forward_one(rows_view<const float> x, rows_view<float> y, float* scratch, const executor& where) const {
    const spectrum_ref<T> f = spectrum_.ref();
    float* x_hat = scratch;
    float* base_scratch = scratch + (f.size() == 0 ? 0 : detail::padded(cols()));
    const auto product = [&](const auto& addition) {
      detail::base_forward_one(base_, x.data, y.data, base_scratch, where, addition);
    };
    if (f.size() == 0)
      return product([](std::size_t, std::size_t count, float* sums) { std::fill_n(sums, count, 0.0f); });
    detail::transform_rows(transform_, x, rows_view<float>(x_hat, 1, cols()));
    if constexpr (tiles::available) {
      if (!tiles_.empty()) {
        float* planes = base_scratch + detail::base_forward_one_floats<Q>(cols());
        tiles_.split(x_hat, cols(), planes);
        return product(
            [&](std::size_t first, std::size_t, float* sums) { tiles_.multiply(first / tiles::side, planes, sums); });
      }
    }
    product([&](std::size_t first, std::size_t count, float* sums) {
      for (std::size_t i = 0; i < count; ++i)
        sums[i] = detail::sum_lanes(detail::sparse_dot<1>(f, f.offsets[first + i], f.offsets[first + i + 1], x_hat));
    });
  }

  template <std::size_t W, class Product>
  void forward_by_activations([[maybe_unused]] const Product& product, rows_view<const float> x, rows_view<float> y,
                              const forward_plan& plan, float* panels, detail::scratch_slots& slots,
                              const executor& where) const {
    const spectrum_ref<T> f = spectrum_.ref();
    const std::size_t step = detail::padded(W * cols()), panel_count = spectrum_.size() == 0 ? 0 : (x.rows + W - 1) / W;
    const auto tokens_of = [&](std::size_t panel) {
      return detail::panel_tokens{nullptr, panel * W, std::min(W, x.rows - panel * W)};
    };
    if constexpr (W == 1) {
      if (x.rows == 1) {  // the panel is x̂ itself
        forward_one(x, y, panels, where);
        return;
      }
    }
    // F x̂ comes first, while the panels are in cache: where the base follows in slabs, as panels of its own.
    float *const x_hat = panels, *const sums = panels + panel_count * step;
    const bool packed = plan.few_floats != 0;
    constexpr std::size_t rows_at_once = 256;
    const std::size_t parts = (rows() + rows_at_once - 1) / rows_at_once, sums_step = detail::padded(W * rows());
    const std::size_t together = where.run == nullptr ? 1 : panel_count;
    for (std::size_t start = 0; start < panel_count; start += together) {
      detail::for_each_unit(where, {together, 1}, slots, [&](std::size_t i, std::size_t, float* scratch) {
        detail::transform_panel<W>(transform_, x, tokens_of(start + i), scratch, x_hat + (start + i) * step);
      });
      parallel_for(where, together * parts, 1, [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) {
          const std::size_t panel = start + i / parts, first = i % parts * rows_at_once;
          const std::size_t count = std::min(rows_at_once, rows() - first);
          if (packed)
            detail::sparse_product<W>(f, first, count, x_hat + panel * step, tokens_of(panel),
                                      [&](std::size_t t, std::size_t r, auto v) { v.store(y.row(t) + r); });
          else
            detail::sparse_product<W>(f, first, count, x_hat + panel * step, sums + panel * sums_step + first * W);
        }
      });
    }
    if (packed) {
      if (panel_count == 0) detail::fill_rows(y, 0.0f);
      return detail::add_base_forward_few(base_, x, y, panels + plan.panel_floats, where);
    }
    const auto add_sums = [&](std::size_t first, std::size_t count) {
      for (std::size_t panel = 0; panel < panel_count; ++panel) {
        const auto add = [&, t = panel * W](std::size_t lane, std::size_t r, auto v) {
          float* to = y.row(t + lane) + first + r;
          (decltype(v)::load(to) + v).store(to);
        };
        detail::deinterleave<W>(sums + panel * sums_step + first * W, tokens_of(panel).count, count, add);
      }
    };
    detail::base_forward(base_, x, y, product, plan.slab, slots, where, add_sums);
  }

  backward_plan plan_backward(std::size_t tokens) const noexcept {
    backward_plan p{tokens, detail::panel_lanes(tokens), 0, 0, 0, 0};
    p.x_step = detail::padded(p.lanes * cols());
    p.dy_step = detail::padded(p.lanes * rows());
    p.slot_floats =
        std::max(p.x_step + p.lanes * detail::scratch_stride(cols()), detail::base_gradient_tiles::floats<Q>);
    p.slots = std::min(detail::scratch_slots::most,
                       std::max(p.panels(), (cols() - 1) / detail::base_gradient_tiles::cols<Q> + 1));
    return p;
  }

  /// x̂ and dy in panels, and dx = (dy F) T unless dx is empty.
  template <std::size_t W>
  void spectral_gradients(rows_view<const float> x, rows_view<const float> dy, rows_view<float> dx,
                          const backward_plan& plan, float* x_panels, float* dy_panels, detail::scratch_slots& slots,
                          const executor& where) const {
    const spectrum_ref<T> f = spectrum_.ref();
    detail::for_each_unit(where, {plan.panels(), 1}, slots, [&](std::size_t panel, std::size_t, float* scratch) {
      const detail::panel_tokens tokens = plan.tokens_of(panel);
      float* z = scratch;
      float* row_scratch = scratch + plan.x_step;
      float* dy_panel = dy_panels + panel * plan.dy_step;
      detail::transform_panel<W>(transform_, x, tokens, row_scratch, x_panels + panel * plan.x_step);
      detail::interleave<W>(dy.row(tokens.first), dy.stride, tokens.count, rows(), dy_panel);
      if (dx.empty()) return;
      std::fill_n(z, W * cols(), 0.0f);
      detail::add_transposed_sparse_product<W>(f, dy_panel, z);
      const rows_view<float> target = dx.rows_from(tokens.first, tokens.count);
      detail::deinterleave<W>(z, tokens.count, cols(),
                              [&](std::size_t lane, std::size_t c, auto v) { v.store(target.row(lane) + c); });
      detail::transform_rows_transpose(transform_, target);
    });
  }

  template <std::size_t W>
  void sampled_products(const backward_plan& plan, const float* x_panels, const float* dy_panels,
                        std::span<float> dvalues, const executor& where) const {
    constexpr std::size_t together = 4;  // panels whose partial sums meet in one register before the lanes are added
    const spectrum_ref<T> f = spectrum_.ref();
    parallel_for(where, rows(), 64, [&](std::size_t first, std::size_t last) {
      std::size_t panel = 0;
      const auto add = [&](auto group) {
        constexpr std::size_t G = decltype(group)::value;
        detail::add_sampled_products<W, G>(f, first, last - first, x_panels + panel * plan.x_step, plan.x_step,
                                           dy_panels + panel * plan.dy_step, plan.dy_step, dvalues.data());
        panel += G;
      };
      while (panel + together <= plan.panels()) add(std::integral_constant<std::size_t, together>{});
      while (panel < plan.panels()) add(std::integral_constant<std::size_t, 1>{});
    });
  }

  quantized_matrix<Q> base_;
  sparse_spectrum<T> spectrum_;
  [[no_unique_address]] Transform transform_;
  tiles tiles_;  ///< of spectrum_, or empty
};

}  // namespace qwha::inline QWHA_ISA
