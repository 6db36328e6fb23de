// SPDX-License-Identifier: MIT
#include "quantize_affine.hpp"

namespace adapt {

template std::unique_ptr<quantized_layer> quantize_affine<4>(const options&, qwha::rows_view<const float>,
                                                             const layer_inputs&);

}  // namespace adapt
