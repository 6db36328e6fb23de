// SPDX-License-Identifier: MIT
#include "quantize.hpp"

namespace adapt {

extern template std::unique_ptr<quantized_layer> quantize_affine<2>(const options&, qwha::rows_view<const float>,
                                                                    const layer_inputs&);
extern template std::unique_ptr<quantized_layer> quantize_affine<3>(const options&, qwha::rows_view<const float>,
                                                                    const layer_inputs&);
extern template std::unique_ptr<quantized_layer> quantize_affine<4>(const options&, qwha::rows_view<const float>,
                                                                    const layer_inputs&);

std::unique_ptr<quantized_layer> quantize_layer(const options& options, qwha::rows_view<const float> w,
                                                const layer_inputs& inputs) {
  switch (options.format) {
    case format::nf4:
    case format::nf4_dq:
    case format::fp4:
    case format::fp4_dq: return round_to_codebook(options.format, w);
    case format::mxfp4:
    case format::nvfp4: return round_to_float4(options.format, w);
    case format::int8:
    case format::q4_0:
    case format::q8_0:
    case format::q4_k: return round_to_integers(options.format, w);
    case format::affine: break;
  }
  switch (options.bits) {
    case 2: return quantize_affine<2>(options, w, inputs);
    case 3: return quantize_affine<3>(options, w, inputs);
    default: return quantize_affine<4>(options, w, inputs);
  }
}

}  // namespace adapt
