// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// A quantized layer of one format: for the files that compile them.

#include <qwha/adapter/sparse_spectral_adapter.hpp>
#include <qwha/quant/quantize.hpp>

#include "engine/adapted.hpp"
#include "quantize.hpp"

namespace adapt {

template <class Q>
class quantized_layer_as final : public quantized_layer {
 public:
  explicit quantized_layer_as(qwha::quantized_matrix<Q> w) : w_(std::move(w)) {}

  void dequantize(qwha::rows_view<float> out) const override { w_.dequantize(out); }
  engine::linear bare(std::vector<float> bias) const override { return engine::make_quantized(w_, std::move(bias)); }
  engine::linear repaired(qwha::sparse_spectrum<float> spectrum, std::vector<float> bias) const override {
    return engine::make_adapted(qwha::sparse_spectral_adapter<float, Q>(w_, std::move(spectrum)), std::move(bias));
  }

 private:
  qwha::quantized_matrix<Q> w_;
};

template <class Q, class Solver>
std::unique_ptr<quantized_layer> quantize_with(const Solver& solver, qwha::rows_view<const float> w) {
  return std::make_unique<quantized_layer_as<Q>>(qwha::quantize<Q>(w, solver));
}
/// On the grid of least squared error.
template <class Q>
std::unique_ptr<quantized_layer> round_as(qwha::rows_view<const float> w) {
  return quantize_with<Q>(qwha::round_to_nearest{qwha::grid_search::mse}, w);
}

}  // namespace adapt
