// SPDX-License-Identifier: MIT
#include <qwha/quant/mxfp4.hpp>
#include <qwha/quant/nvfp4.hpp>

#include "quantized_layer_as.hpp"

namespace adapt {

std::unique_ptr<quantized_layer> round_to_float4(format f, qwha::rows_view<const float> w) {
  return f == format::mxfp4 ? round_as<qwha::mxfp4>(w) : round_as<qwha::nvfp4>(w);
}

}  // namespace adapt
