// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// The body of `quantize_affine`: for the files that compile it, one for each number of bits.

#include <qwha/fit/gptq.hpp>
#include <qwha/quant/affine.hpp>

#include "quantized_layer_as.hpp"

namespace adapt {

template <class Q>
std::unique_ptr<quantized_layer> solve_as(const options& options, qwha::rows_view<const float> w,
                                          const layer_inputs& inputs) {
  if (options.solver == solver::rtn) return round_as<Q>(w);
  qwha::gptq how{inputs.moment};
  how.factor = inputs.factor;
  how.magr = options.solver == solver::gptq_magr;
  how.magr_settings.alpha = options.magr_alpha;
  how.descent = {.passes = options.descent, .codes = true, .scales = true};
  return quantize_with<Q>(how, w);
}

template <int Bits>
std::unique_ptr<quantized_layer> quantize_affine(const options& options, qwha::rows_view<const float> w,
                                                 const layer_inputs& inputs) {
  switch (options.group) {
    case 32: return solve_as<qwha::affine<Bits, 32>>(options, w, inputs);
    case 128: return solve_as<qwha::affine<Bits, 128>>(options, w, inputs);
    default: return solve_as<qwha::affine<Bits, 64>>(options, w, inputs);
  }
}

}  // namespace adapt
