// SPDX-License-Identifier: MIT
#include <qwha/quant/gguf_uniform.hpp>
#include <qwha/quant/int8_per_channel.hpp>
#include <qwha/quant/q4_k.hpp>

#include "quantized_layer_as.hpp"

namespace adapt {

std::unique_ptr<quantized_layer> round_to_integers(format f, qwha::rows_view<const float> w) {
  switch (f) {
    case format::q4_0: return round_as<qwha::q4_0>(w);
    case format::q8_0: return round_as<qwha::q8_0>(w);
    case format::q4_k: return round_as<qwha::q4_k>(w);
    default: return round_as<qwha::int8_per_channel>(w);
  }
}

}  // namespace adapt
