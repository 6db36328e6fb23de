// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Linear layers whose weights are a quantized matrix plus an adapter. The library's adapter does the forward pass, by
/// the path that its cost model picks and with the engine's product.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <qwha/adapter/low_rank_adapter.hpp>
#include <qwha/adapter/sparse_spectral_adapter.hpp>
#include <qwha/base/error.hpp>
#include <qwha/base/status.hpp>

#include "linear.hpp"

namespace engine {

/// `multiply_transposed` as the library's `slab_product`: inside one of the adapter's own tasks.
struct slab_multiply {
  void operator()(rows_view<const float> w, rows_view<const float> x, rows_view<float> y) const {
    multiply_transposed(x, w, y, executor::serial());
  }
};

template <class T, class Q>
qwha::status adapter_forward(const qwha::sparse_spectral_adapter<T, Q>& adapter, rows_view<const float> x,
                             rows_view<float> y, const executor& where) {
  return adapter.forward_with(slab_multiply{}, x, y, {}, where);
}
template <class Q>
qwha::status adapter_forward(const qwha::low_rank_adapter<Q>& adapter, rows_view<const float> x, rows_view<float> y,
                             const executor& where) {
  return adapter.forward_with(slab_multiply{}, x, y, where);
}

// out [in] += row of F T, or of B A
template <class T, class Q>
void add_delta(const qwha::sparse_spectral_adapter<T, Q>& adapter, std::size_t row, float* out,
               std::vector<float>& scratch) {
  adapter.delta_row(row, scratch);
  for (std::size_t i = 0; i < scratch.size(); ++i) out[i] += scratch[i];
}
template <class Q>
void add_delta(const qwha::low_rank_adapter<Q>& adapter, std::size_t row, float* out, std::vector<float>& scratch) {
  for (std::size_t k = 0; k < adapter.rank(); ++k)
    for (std::size_t i = 0; i < scratch.size(); ++i) out[i] += adapter.b()(row, k) * adapter.a()(k, i);
}

template <class T, class Q>
std::size_t parameter_bytes(const qwha::sparse_spectral_adapter<T, Q>& adapter) {
  return adapter.spectrum().size() * (sizeof(T) + sizeof(std::uint32_t));
}
template <class Q>
std::size_t parameter_bytes(const qwha::low_rank_adapter<Q>& adapter) {
  return adapter.size() * sizeof(float);
}

template <class Adapter>
class adapted_weights final : public weight_source {
 public:
  explicit adapted_weights(Adapter adapter) : adapter_(std::move(adapter)) {}
  std::size_t rows() const noexcept override { return adapter_.rows(); }
  std::size_t cols() const noexcept override { return adapter_.cols(); }
  std::size_t size_bytes() const noexcept override { return adapter_.base().size_bytes() + parameter_bytes(adapter_); }
  void read(std::size_t first, rows_view<float> out) const override {
    adapter_.base().dequantize_rows(first, out);
    std::vector<float> scratch(cols());
    for (std::size_t r = 0; r < out.rows; ++r) add_delta(adapter_, first + r, out.row(r), scratch);
  }
  bool multiply(rows_view<const float> x, rows_view<float> y, const executor& where) const override {
    if (const qwha::status s = adapter_forward(adapter_, x, y, where); s != qwha::status::ok)
      throw qwha::error(std::string("adapted linear: ") + qwha::describe(s));
    return true;
  }

 private:
  Adapter adapter_;
};

/// @param adapter  a qwha::sparse_spectral_adapter or qwha::low_rank_adapter; it shares the codes of its base
template <class Adapter>
linear make_adapted(Adapter adapter, std::vector<float> bias = {}) {
  return linear(std::make_shared<adapted_weights<Adapter>>(std::move(adapter)), std::move(bias));
}

}  // namespace engine
