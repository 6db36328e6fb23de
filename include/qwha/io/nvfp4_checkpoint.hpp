// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// NVFP4 weights in safetensors, of compressed-tensors and of ModelOpt, whose global scales are each other's inverse.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/base/executor.hpp>
#include <qwha/base/finite.hpp>
#include <qwha/base/rows_view.hpp>
#include <qwha/io/dtype.hpp>
#include <qwha/io/message.hpp>
#include <qwha/io/tensor.hpp>
#include <qwha/io/tensor_file.hpp>
#include <qwha/quant/minifloat.hpp>
#include <qwha/quant/nvfp4.hpp>
#include <qwha/quant/quantized_matrix.hpp>

namespace qwha::io {

/// Whose convention a layer follows.
enum class nvfp4_maker {
  compressed_tensors,  ///< weight = E2M1 * (block scale / global scale)
  modelopt             ///< weight = E2M1 * (block scale * global scale)
};

}  // namespace qwha::io

namespace qwha::io::inline QWHA_ISA {

/// An NVFP4 weight. Refers to the file's bytes, which must outlive it. All dimensions before the last, `in`, are rows.
///
/// compressed-tensors: `<module>.weight_packed` U8 [out, in / 2], `.weight_scale` F8_E4M3 [out, in / 16],
/// `.weight_global_scale` F32 [1], a divisor. ModelOpt: `.weight` U8, `.weight_scale` F8_E4M3, `.weight_scale_2` F32, a
/// multiplier. The even element is in the low nibble. Source: vllm-project/compressed-tensors,
/// compressors/nvfp4/base.py; ModelCloud/GPTQModel, gptqmodel/utils/model_dequant.py.
class nvfp4_layer {
 public:
  /// @param module  "model.layers.0.self_attn.q_proj"
  /// @throws format_error that names file, tensor and rule: missing tensors, other types, shapes that contradict each
  ///         other; value_error for scales that are NaN, zero where they divide, or make weights that are not finite
  nvfp4_layer(const tensor_file& file, std::string_view module)
      : file_(file.file()),
        maker_(file.contains(joined(module, ".weight_packed")) ? nvfp4_maker::compressed_tensors
                                                               : nvfp4_maker::modelopt) {
    const bool divides = maker_ == nvfp4_maker::compressed_tensors;
    codes_ = file.at(joined(module, divides ? ".weight_packed" : ".weight"));
    scales_ = file.at(joined(module, ".weight_scale"));
    const tensor& global = file.at(joined(module, divides ? ".weight_global_scale" : ".weight_scale_2"));
    if (codes_.dtype != dtype::u8) fail(codes_, joined("is of type ", name(codes_.dtype), ", NVFP4 codes must be u8"));
    if (scales_.dtype != dtype::f8_e4m3)
      fail(scales_, joined("is of type ", name(scales_.dtype), ", NVFP4 scales must be f8_e4m3"));
    if (global.dtype != dtype::f32 || global.size() != 1)
      fail(global, joined("is ", name(global.dtype), " of shape ", shape_text(global.shape), ", must be one f32"));
    std::vector<std::size_t> expected = scales_.shape;
    if (!expected.empty()) expected.back() *= nvfp4::code_bytes;
    if (scales_.size() == 0 || scales_.shape.empty() || codes_.shape != expected)
      fail(codes_, joined("has shape ", shape_text(codes_.shape), ", which is not 8 bytes for each scale of ",
                          shape_text(scales_.shape)));
    global_ = file.read<float>(global.name)[0];
    check_values(global);
  }

  nvfp4_maker maker() const noexcept { return maker_; }
  std::size_t rows() const noexcept { return scales_.rows(); }
  std::size_t cols() const noexcept { return scales_.cols() * nvfp4::block_size; }
  /// As in the file: a divisor or a multiplier.
  float global_scale() const noexcept { return global_; }

  /// Rows first … first + out.rows - 1 of the weight.
  /// @par Numerics  two roundings, as the makers' own code: of the block's scale, and of its product with E2M1
  /// @throws shape_error when `out` is not [n, cols()] or the rows are not all there
  void dequantize_rows(std::size_t first, rows_view<float> out, const executor& where = default_executor()) const {
    if (out.cols != cols() || first > rows() || out.rows > rows() - first)
      throw shape_error(joined(file_, ": tensor ", quoted_name(codes_.name), ": rows ", first, " to ", first, " + ",
                               out.rows, " of ", out.cols, " columns were asked, the weight is [", rows(), ", ", cols(),
                               "]"));
    parallel_for(where, out.rows, 16, [&](std::size_t begin, std::size_t end) {
      for (std::size_t r = begin; r < end; ++r)
        for (std::size_t b = 0; b < scales_.cols(); ++b) {
          const std::size_t block = (first + r) * scales_.cols() + b;
          const float scale = parameters().times(e4m3_value(std::to_integer<std::uint8_t>(scales_.bytes[block])));
          const std::byte* codes = codes_.bytes.data() + block * nvfp4::code_bytes;
          float* w = out.row(r) + b * nvfp4::block_size;
          for (std::size_t i = 0; i < nvfp4::block_size; ++i)
            w[i] = e2m1_values[std::to_integer<unsigned>(codes[i / 2]) >> (i % 2 * 4) & 15u] * scale;
        }
    });
  }
  void dequantize(rows_view<float> out, const executor& where = default_executor()) const {
    if (out.rows != rows())
      throw shape_error(joined(file_, ": tensor ", quoted_name(codes_.name), " has ", rows(), " rows"));
    dequantize_rows(0, out, where);
  }

  /// The weight as NVFP4 matrix without a copy: refers to the file's bytes. Equal to `dequantize_rows`, bit for bit.
  quantized_matrix<nvfp4> matrix() const {
    return quantized_matrix<nvfp4>::refer(rows(), cols(), codes_.bytes, scales_.bytes, parameters());
  }

 private:
  [[noreturn]] void fail(const tensor& t, const std::string& rule) const {
    throw format_error(joined(file_, ": tensor ", quoted_name(t.name), " ", rule));
  }
  nvfp4_parameters parameters() const noexcept {
    const bool divides = maker_ == nvfp4_maker::compressed_tensors;
    return {global_, divides ? nvfp4_convention::divisor : nvfp4_convention::multiplier};
  }

  void check_values(const tensor& global) const {
    const auto bad = [&](const tensor& t, const std::string& rule) {
      throw value_error(joined(file_, ": tensor ", quoted_name(t.name), ": ", rule));
    };
    const float largest = parameters().times(e4m3_value(0x7e));  // of a block
    if (!is_finite(global_) || !is_finite(6 * largest))
      bad(global, "the global scale, or a weight that it makes, is not finite");
    for (std::size_t i = 0; i < scales_.bytes.size(); ++i)
      if ((std::to_integer<unsigned>(scales_.bytes[i]) & 0x7fu) == 0x7fu) bad(scales_, joined("scale ", i, " is NaN"));
  }

  std::string file_;
  nvfp4_maker maker_;
  tensor codes_, scales_;
  float global_ = 1;
};

/// Names of the modules whose tensors are named and typed as NVFP4 weights, in file order.
inline std::vector<std::string> nvfp4_modules(const tensor_file& file) {
  std::vector<std::string> names;
  for (const tensor& t : file.tensors()) {
    constexpr std::string_view suffix = ".weight_scale";
    if (t.dtype != dtype::f8_e4m3 || !t.name.ends_with(suffix)) continue;
    const std::string module = t.name.substr(0, t.name.size() - suffix.size());
    if (file.contains(module + ".weight_packed") || file.contains(module + ".weight_scale_2")) names.push_back(module);
  }
  return names;
}

}  // namespace qwha::io::inline QWHA_ISA
