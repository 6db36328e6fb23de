// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// From the words on the command line to a quantized layer: the formats are types, so each is compiled once, in its own
/// file, and forgotten behind `quantized_layer`.

#include <memory>
#include <utility>
#include <vector>

#include <qwha/adapter/sparse_spectrum.hpp>
#include <qwha/base/rows_view.hpp>
#include <qwha/fit/gptq_factor.hpp>

#include "engine/linear.hpp"
#include "options.hpp"

namespace adapt {

/// A quantized weight of any format.
class quantized_layer {
 public:
  virtual ~quantized_layer() = default;
  /// All rows. @pre the shape fits
  virtual void dequantize(qwha::rows_view<float> out) const = 0;
  /// y = WQ x + b
  virtual engine::linear bare(std::vector<float> bias) const = 0;
  /// y = (WQ + F T) x + b
  virtual engine::linear repaired(qwha::sparse_spectrum<float> spectrum, std::vector<float> bias) const = 0;
};

/// What a solver may use beside the weights.
struct layer_inputs {
  const qwha::second_moment* moment = nullptr;
  const qwha::gptq_factor* factor = nullptr;  ///< of `moment`, shared by layers that read the same inputs
};

/// `w` in the format and by the solver of `options`.
std::unique_ptr<quantized_layer> quantize_layer(const options& options, qwha::rows_view<const float> w,
                                                const layer_inputs& inputs);

/// Round to nearest where the format fixes everything. @pre  `f` belongs to the family
std::unique_ptr<quantized_layer> round_to_codebook(format f, qwha::rows_view<const float> w);  ///< nf4, fp4
std::unique_ptr<quantized_layer> round_to_float4(format f, qwha::rows_view<const float> w);    ///< mxfp4, nvfp4
std::unique_ptr<quantized_layer> round_to_integers(format f, qwha::rows_view<const float> w);  ///< int8, GGUF

/// Integers in groups, where the bits are known and the group is not.
template <int Bits>
std::unique_ptr<quantized_layer> quantize_affine(const options& options, qwha::rows_view<const float> w,
                                                 const layer_inputs& inputs);

}  // namespace adapt
