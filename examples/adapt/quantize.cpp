// SPDX-License-Identifier: MIT
#include "quantize.hpp"

#include <qwha/quant/mxfp4.hpp>
#include <qwha/quant/nf4.hpp>
#include <qwha/quant/nvfp4.hpp>

#include "quantize_as.hpp"

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
    case format::nf4: return quantize_as<qwha::nf4<64>>(options, w, inputs);
    case format::mxfp4: return quantize_as<qwha::mxfp4>(options, w, inputs);
    case format::nvfp4: return quantize_as<qwha::nvfp4>(options, w, inputs);
    case format::affine: break;
  }
  switch (options.bits) {
    case 2: return quantize_affine<2>(options, w, inputs);
    case 3: return quantize_affine<3>(options, w, inputs);
    default: return quantize_affine<4>(options, w, inputs);
  }
}

}  // namespace adapt
