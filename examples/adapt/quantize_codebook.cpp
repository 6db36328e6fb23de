// SPDX-License-Identifier: MIT
#include <qwha/quant/double_quantized.hpp>
#include <qwha/quant/fp4.hpp>
#include <qwha/quant/nf4.hpp>

#include "quantized_layer_as.hpp"

namespace adapt {

std::unique_ptr<quantized_layer> round_to_codebook(format f, qwha::rows_view<const float> w) {
  switch (f) {
    case format::nf4_dq: return round_as<qwha::double_quantized<qwha::nf4<>>>(w);
    case format::fp4: return round_as<qwha::fp4<>>(w);
    case format::fp4_dq: return round_as<qwha::double_quantized<qwha::fp4<>>>(w);
    default: return round_as<qwha::nf4<>>(w);
  }
}

}  // namespace adapt
