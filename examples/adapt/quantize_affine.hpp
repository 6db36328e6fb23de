// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// The bodies of `quantize_layer`, one for each format: for the files that compile them.

#include <qwha/adapter/sparse_spectral_adapter.hpp>
#include <qwha/fit/gptq.hpp>
#include <qwha/quant/affine.hpp>
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

template <class Q>
std::unique_ptr<quantized_layer> quantize_as(const options& options, qwha::rows_view<const float> w,
                                             const layer_inputs& inputs) {
  const auto layer = [](qwha::quantized_matrix<Q> q) { return std::make_unique<quantized_layer_as<Q>>(std::move(q)); };
  if (options.solver == solver::rtn) return layer(qwha::quantize<Q>(w, qwha::round_to_nearest{qwha::grid_search::mse}));
  qwha::gptq how{inputs.moment};
  how.factor = inputs.factor;
  how.magr = options.solver == solver::gptq_magr;
  return layer(qwha::quantize<Q>(w, how));
}

template <int Bits>
std::unique_ptr<quantized_layer> quantize_affine(const options& options, qwha::rows_view<const float> w,
                                                 const layer_inputs& inputs) {
  switch (options.group) {
    case 32: return quantize_as<qwha::affine<Bits, 32>>(options, w, inputs);
    case 128: return quantize_as<qwha::affine<Bits, 128>>(options, w, inputs);
    default: return quantize_as<qwha::affine<Bits, 64>>(options, w, inputs);
  }
}

}  // namespace adapt
