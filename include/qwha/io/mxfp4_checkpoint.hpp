// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// MXFP4 weights in safetensors, as OpenAI's and as compressed-tensors name them; both lie as our format does.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/io/dtype.hpp>
#include <qwha/io/message.hpp>
#include <qwha/io/tensor.hpp>
#include <qwha/io/tensor_file.hpp>
#include <qwha/quant/mxfp4.hpp>
#include <qwha/quant/quantized_matrix.hpp>

namespace qwha::io::inline QWHA_ISA {

namespace detail {

/// Names of the tensors of one MXFP4 weight.
struct mxfp4_names {
  std::string codes, scales;
  bool blocks;  ///< the codes have a dimension of their own for the bytes of a block
};

/// Of what `module` has in the file: OpenAI's `<module>_blocks` and `_scales`; `<module>.weight_packed`, else `.weight`,
/// with `.weight_scale`.
inline mxfp4_names mxfp4_names_of(const tensor_file& file, std::string_view module) {
  if (file.contains(joined(module, "_blocks"))) return {joined(module, "_blocks"), joined(module, "_scales"), true};
  const bool packed = file.contains(joined(module, ".weight_packed"));
  return {joined(module, packed ? ".weight_packed" : ".weight"), joined(module, ".weight_scale"), false};
}

}  // namespace detail

/// An MXFP4 weight without a copy: refers to the file's bytes, which must outlive it. All dimensions before the last,
/// `in`, are rows: those of several experts one after another.
///
/// OpenAI: `<module>_blocks` U8 […, in / 32, 16] and `<module>_scales` U8 […, in / 32]; compressed-tensors:
/// `<module>.weight_packed` (others: `.weight`) U8 […, in / 2] and `.weight_scale` U8 or F8_E8M0 […, in / 32]. The even
/// element is in the low nibble. Source: openai/gpt-oss, gpt_oss/torch/weights.py; vllm-project/compressed-tensors.
/// @param module  "model.layers.0.mlp.experts.gate_up_proj"
/// @throws format_error that names file, tensor and rule: missing tensors, other types, shapes that contradict each
///         other; value_error for a scale that is NaN or whose block would not be finite in float
inline quantized_matrix<mxfp4> mxfp4_matrix(const tensor_file& file, std::string_view module) {
  const detail::mxfp4_names names = detail::mxfp4_names_of(file, module);
  const tensor &codes = file.at(names.codes), &scales = file.at(names.scales);
  const auto fail = [&](const tensor& t, const std::string& rule) {
    throw format_error(joined(file.file(), ": tensor ", quoted_name(t.name), " ", rule));
  };
  if (codes.dtype != dtype::u8) fail(codes, joined("is of type ", name(codes.dtype), ", MXFP4 codes must be u8"));
  if (scales.dtype != dtype::u8 && scales.dtype != dtype::f8_e8m0)
    fail(scales, joined("is of type ", name(scales.dtype), ", MXFP4 scales must be u8 or f8_e8m0"));
  std::vector<std::size_t> expected = scales.shape;
  if (names.blocks)
    expected.push_back(mxfp4::code_bytes);
  else if (!expected.empty())
    expected.back() *= mxfp4::code_bytes;
  if (scales.size() == 0 || scales.shape.empty() || codes.shape != expected)
    fail(codes, joined("has shape ", shape_text(codes.shape), ", which is not 16 bytes for each scale of ",
                       shape_text(scales.shape)));
  constexpr std::uint8_t largest = 252;  // 6 * 2^(252 - 127) is finite
  for (std::size_t i = 0; i < scales.bytes.size(); ++i)
    if (std::to_integer<std::uint8_t>(scales.bytes[i]) > largest)
      throw value_error(joined(file.file(), ": tensor ", quoted_name(scales.name), ": scale ", i, " is ",
                               std::to_integer<int>(scales.bytes[i]), ", ",
                               scales.bytes[i] == std::byte{0xff} ? "which is NaN" : "beyond what float holds"));
  return quantized_matrix<mxfp4>::refer(scales.rows(), scales.cols() * mxfp4::block_size, codes.bytes, scales.bytes);
}

/// Names of the modules whose tensors are named and typed as MXFP4 weights, in file order.
inline std::vector<std::string> mxfp4_modules(const tensor_file& file) {
  std::vector<std::string> names;
  for (const tensor& t : file.tensors()) {
    if (t.dtype != dtype::u8) continue;
    for (const std::string_view suffix : {"_blocks", ".weight_packed", ".weight"}) {
      if (!t.name.ends_with(suffix)) continue;
      const std::string module = t.name.substr(0, t.name.size() - suffix.size());
      const std::string scales = module + (suffix == "_blocks" ? "_scales" : ".weight_scale");
      if (!file.contains(scales)) continue;
      const dtype type = file.at(scales).dtype;
      if (type == dtype::u8 || type == dtype::f8_e8m0) names.push_back(module);
    }
  }
  return names;
}

}  // namespace qwha::io::inline QWHA_ISA
