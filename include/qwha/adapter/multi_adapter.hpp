// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Several sparse spectral adapters over one base: each token names the one it wants, and is transformed once.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <qwha/adapter/base_product.hpp>
#include <qwha/adapter/dense_product.hpp>
#include <qwha/adapter/scratch.hpp>
#include <qwha/adapter/sparse_spectral_adapter.hpp>
#include <qwha/adapter/sparse_spectrum.hpp>
#include <qwha/adapter/spectral_delta.hpp>
#include <qwha/adapter/spectral_product.hpp>
#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/base/executor.hpp>
#include <qwha/base/rows_view.hpp>
#include <qwha/base/status.hpp>
#include <qwha/quant/quantized_matrix.hpp>
#include <qwha/transform/wht.hpp>

namespace qwha {

/// The choice of a token that takes the base as it is.
inline constexpr std::int32_t no_adapter = -1;

}  // namespace qwha

namespace qwha::inline QWHA_ISA {

/// Adapters F_0 … F_{n-1} over one base, for engines that serve many requests in one batch. Always the activation path:
/// x̂ = T x does not depend on the adapter, and the product with WQ is shared by all tokens.
///
/// Refers to the base as sparse_spectral_adapter does; reentrant; same bits for any executor.
template <class T, class Q, class Transform = wht<native>>
class multi_adapter {
 public:
  /// @throws shape_error that names an adapter of another shape than the base; unsupported_order
  multi_adapter(const quantized_matrix<Q>& base, std::vector<sparse_spectrum<T>> adapters)
      : base_(base), adapters_(std::move(adapters)), transform_(detail::make_transform<Transform>(base.cols())) {
    for (std::size_t a = 0; a < adapters_.size(); ++a)
      if (adapters_[a].rows() != rows() || adapters_[a].cols() != cols())
        throw shape_error("multi_adapter: adapter " + std::to_string(a) + " is " +
                          detail::shape_text(adapters_[a].rows(), adapters_[a].cols()) + ", the base " +
                          detail::shape_text(rows(), cols()));
  }

  std::size_t rows() const noexcept { return base_.rows(); }      ///< out
  std::size_t cols() const noexcept { return base_.cols(); }      ///< in
  std::size_t size() const noexcept { return adapters_.size(); }  ///< adapters
  const quantized_matrix<Q>& base() const noexcept { return base_; }
  /// @pre adapter < size()
  const sparse_spectrum<T>& spectrum(std::size_t adapter) const noexcept { return adapters_[adapter]; }

  /// y_t = (WQ + F_{choice[t]} T) x_t for every token t.
  /// @param choice  [tokens], each below size(), or `no_adapter`
  /// @param options path and costs are not looked at
  /// Cost: the product with WQ, one transform per token that has an adapter, and the coefficients of the adapters in
  /// use once per panel of their tokens. Errors: as sparse_spectral_adapter::forward; shape_mismatch also where
  /// `choice` has another length or names an adapter that is not there.
  status forward(rows_view<const float> x, rows_view<float> y, std::span<const std::int32_t> choice,
                 const adapter_options& options = {}, const executor& where = default_executor()) const noexcept {
    return forward_with(tile_product{}, x, y, choice, options, where);
  }

  /// The same with the engine's dense product.
  template <slab_product Product>
  status forward_with(const Product& product, rows_view<const float> x, rows_view<float> y,
                      std::span<const std::int32_t> choice, const adapter_options& options = {},
                      const executor& where = default_executor()) const noexcept {
    if (const status s = detail::check_views(x, cols(), y, rows()); s != status::ok) return s;
    if (choice.size() != x.rows) return status::shape_mismatch;
    for (const std::int32_t c : choice)
      if (c < no_adapter || (c >= 0 && static_cast<std::size_t>(c) >= size())) return status::shape_mismatch;
    if (y.empty()) return status::ok;

    const sizes n = plan<Product>(x.rows, options);
    detail::scratch_memory memory;
    if (const status s = memory.acquire(options.workspace, n.floats()); s != status::ok) return s;
    const auto indices = [&](std::size_t count) {
      return reinterpret_cast<std::uint32_t*>(memory.take(detail::padded(count)));
    };
    grouping g{indices(size() + 1), indices(x.rows), reinterpret_cast<panel_of*>(indices(n.panels * panel_words))};
    float* x_panels = memory.take(n.panel_floats);
    float* few = memory.take(n.few_floats);
    detail::scratch_slots slots(memory.take(n.slots * n.slot_floats), n.slot_floats);

    detail::with_lanes(group_tokens(choice, g), [&](auto lanes) {
      constexpr std::size_t W = decltype(lanes)::value;
      const std::size_t step = detail::padded(W * cols());
      cut_panels(W, g);
      detail::for_each_unit(where, {g.panel_count, 1}, slots, [&](std::size_t p, std::size_t, float* scratch) {
        detail::transform_panel<W>(transform_, x, g.tokens_of(p), scratch, x_panels + p * step);
      });
      const auto add_coefficients = [&](std::size_t first, std::size_t count) {
        const auto add = [&](std::size_t t, std::size_t r, auto v) {
          (decltype(v)::load(y.row(t) + r) + v).store(y.row(t) + r);
        };
        for (std::size_t p = 0; p < g.panel_count; ++p)
          detail::sparse_product<W>(adapters_[g.panels[p].adapter].ref(), first, count, x_panels + p * step,
                                    g.tokens_of(p), add);
      };
      if (n.few_floats == 0) return detail::base_forward(base_, x, y, product, n.slab, slots, where, add_coefficients);
      constexpr std::size_t rows_at_once = 256;
      parallel_for(where, rows(), rows_at_once, [&](std::size_t first, std::size_t last) {
        detail::fill_rows(rows_view<float>(y.data + first, y.rows, last - first, y.stride), 0.0f);
        add_coefficients(first, last - first);
      });
      detail::add_base_forward_few(base_, x, y, few, where);
    });
    return status::ok;
  }

  /// Bytes of workspace for a forward pass of `tokens`, whatever they choose.
  template <slab_product Product = tile_product>
  std::size_t workspace_bytes(std::size_t tokens, const adapter_options& options = {}) const noexcept {
    return tokens == 0 || rows() == 0 ? 0 : detail::workspace_for(plan<Product>(tokens, options).floats());
  }

 private:
  struct sizes {
    std::size_t index_floats, panels, panel_floats;
    std::size_t few_floats;  // of x for packed rows; 0: by slabs
    std::size_t slab, slots, slot_floats;
    std::size_t floats() const noexcept { return index_floats + panel_floats + few_floats + slots * slot_floats; }
  };
  /// Tokens of one adapter that share a panel: places [first, first + count) of the list.
  struct panel_of {
    std::uint32_t adapter, first, count;
  };
  static constexpr std::size_t panel_words = sizeof(panel_of) / sizeof(std::uint32_t);
  struct grouping {
    std::uint32_t* starts;  // [adapters + 1] places in the list
    std::uint32_t* list;    // tokens by adapter, ascending inside one
    panel_of* panels;
    std::size_t panel_count = 0;
    detail::panel_tokens tokens_of(std::size_t p) const noexcept { return {list, panels[p].first, panels[p].count}; }
  };

  /// Sizes for the worst choice: panels are at most one per adapter in use more than whole ones.
  template <class Product>
  sizes plan(std::size_t tokens, const adapter_options& options) const noexcept {
    sizes n{};
    const std::size_t lanes = detail::panel_lanes(tokens), used = std::min(tokens, size());
    n.panels = used == 0 ? 0 : tokens;  // of one lane; fewer where they are wider
    n.index_floats = detail::padded(size() + 1) + detail::padded(tokens) + detail::padded(n.panels * panel_words);
    n.panel_floats = (tokens + used * lanes) * detail::padded(cols());
    n.slab = detail::slab_rows_for<Product>(rows(), cols(), options.slab_rows);
    if (tokens <= detail::most_packed_tokens<Q>) n.few_floats = tokens * detail::base_forward_one_floats<Q>(cols());
    n.slot_floats =
        std::max(n.few_floats == 0 ? detail::padded(n.slab * cols()) : 0, lanes * detail::scratch_stride(cols()));
    n.slots = std::min(detail::scratch_slots::most, std::max((rows() + n.slab - 1) / n.slab, n.panels));
    return n;
  }

  /// Counting sort of the tokens by adapter. Returns the lanes that the largest group asks for.
  std::size_t group_tokens(std::span<const std::int32_t> choice, grouping& g) const noexcept {
    std::fill_n(g.starts, size() + 1, 0u);
    for (const std::int32_t c : choice)
      if (c >= 0) ++g.starts[c + 1];
    std::uint32_t largest = 1;
    for (std::size_t a = 0; a < size(); ++a) {
      largest = std::max(largest, g.starts[a + 1]);
      g.starts[a + 1] += g.starts[a];
    }
    for (std::size_t t = 0; t < choice.size(); ++t)
      if (choice[t] >= 0) g.list[g.starts[choice[t]]++] = static_cast<std::uint32_t>(t);  // starts become ends
    return detail::panel_lanes(largest);
  }

  void cut_panels(std::size_t lanes, grouping& g) const noexcept {
    std::uint32_t first = 0;
    for (std::size_t a = 0; a < size(); ++a)
      for (const std::uint32_t end = g.starts[a]; first < end;) {
        const auto count = static_cast<std::uint32_t>(std::min<std::size_t>(lanes, end - first));
        g.panels[g.panel_count++] = {static_cast<std::uint32_t>(a), first, count};
        first += count;
      }
  }

  quantized_matrix<Q> base_;
  std::vector<sparse_spectrum<T>> adapters_;
  [[no_unique_address]] Transform transform_;
};

}  // namespace qwha::inline QWHA_ISA
