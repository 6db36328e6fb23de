// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Writes GPTQ checkpoints that GPTQModel, AutoGPTQ and what builds on them load.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/base/float16.hpp>
#include <qwha/io/atomic_file.hpp>
#include <qwha/io/dtype.hpp>
#include <qwha/io/gptq_config.hpp>
#include <qwha/io/gptq_layer.hpp>
#include <qwha/io/message.hpp>
#include <qwha/io/safetensors_writer.hpp>
#include <qwha/io/tensor.hpp>
#include <qwha/io/word_transpose.hpp>
#include <qwha/quant/affine.hpp>
#include <qwha/quant/quantized_matrix.hpp>

namespace qwha::io::inline QWHA_ISA {

/// Collects layers and other tensors, then writes model.safetensors, quantize_config.json and, where the model's
/// configuration is known, config.json. All layers share bits, group and kind of zero point, as one configuration says.
class gptq_writer {
 public:
  explicit gptq_writer(gptq_version version = gptq_version::v2) : version_(version) {}

  /// A quantized layer; its codes and parameters are copied. Scales are half, as loaders keep them.
  /// @param module  "model.layers.0.self_attn.q_proj"
  /// @param bias    [out], or empty
  /// @throws shape_error when `in` or `out` is no multiple of 32 or the bias is of another length; value_error when the
  ///         layer has other bits or groups than those before it, or a zero point 0, which version 1 stores as -1 and
  ///         loaders read in different ways
  template <int Bits, std::size_t Group, zero_point Z>
  void add(const std::string& module, const quantized_matrix<affine<Bits, Group, Z, half>>& matrix,
           std::span<const half> bias = {}) {
    using format = affine<Bits, Group, Z, half>;
    const auto fail = [&](const std::string& rule) { return joined("module ", quoted_name(module), ": ", rule); };
    const std::size_t rows = matrix.rows(), cols = matrix.cols();
    if (rows == 0 || cols == 0 || rows % 32 != 0 || cols % 32 != 0)
      throw shape_error(fail(joined("GPTQ checkpoints hold weights of multiples of 32, not [", rows, ", ", cols, "]")));
    if (!bias.empty() && bias.size() != rows)
      throw shape_error(fail(joined("the bias has ", bias.size(), " values for ", rows, " outputs")));
    const layout kind{Bits, Group, format::symmetric};
    if (!modules_.empty() && kind != layout_)
      throw value_error(fail(joined("is ", format::name(), ", unlike the layers before it")));

    const std::size_t words = detail::code_words(cols, Bits), groups = matrix.blocks_per_row();
    arrays a{module, rows, cols, groups};
    a.codes.resize(words * rows);
    a.zeros.resize(groups * detail::code_words(rows, Bits));
    a.scales.resize(groups * rows);
    std::vector<std::byte> zeros(4 * detail::code_words(rows, Bits));
    // The rows of the matrix are the streams of the checkpoint: turning words again undoes what the reader does.
    for (std::size_t r = 0; r < rows; ++r)
      for (std::size_t w = 0; w < words; ++w)
        a.codes[w * rows + r] = qwha::detail::load_bytes<4>(matrix.codes(r) + 4 * w);
    for (std::size_t g = 0; g < groups; ++g) {
      std::fill(zeros.begin(), zeros.end(), std::byte{0});
      for (std::size_t r = 0; r < rows; ++r) {
        const std::byte* p = matrix.parameters(r) + g * format::parameter_bytes;
        a.scales[g * rows + r] = half(qwha::detail::load_scalar<half>(p));
        std::uint32_t zero = 1u << (Bits - 1);
        if constexpr (!format::symmetric) zero = std::to_integer<std::uint32_t>(p[sizeof(half)]);
        if (version_ == gptq_version::v1 && zero-- == 0)
          throw value_error(fail(joined("row ", r, ", group ", g,
                                        " has zero point 0, which version 1 does not hold "
                                        "without doubt: write version 2")));
        put(zeros.data(), r, zero, Bits);
      }
      std::memcpy(a.zeros.data() + g * zeros.size() / 4, zeros.data(), zeros.size());
    }
    a.groups_of_inputs.resize(cols);
    for (std::size_t i = 0; i < cols; ++i) a.groups_of_inputs[i] = static_cast<std::int32_t>(i / Group);
    a.bias.assign(bias.begin(), bias.end());
    layout_ = kind;
    modules_.push_back(std::move(a));
  }

  /// Any other tensor (embeddings, norms): refers to its bytes until `save`.
  void add(tensor t) { others_.push_back(std::move(t)); }

  /// config.json of the model, to be written with the quantization in it.
  /// @pre  an object
  void set_model_config(nlohmann::json config) { model_config_ = std::move(config); }

  /// The configuration that is written. GPTQModel and AutoGPTQ name some fields differently: both names are there.
  nlohmann::json config() const {
    const char* format = version_ == gptq_version::v1 ? "gptq" : "gptq_v2";
    std::size_t widest = 0;
    for (const arrays& a : modules_) widest = std::max(widest, a.cols);
    const bool whole_rows = layout_.group >= widest;
    return {{"bits", layout_.bits},
            {"group_size", whole_rows ? nlohmann::json(-1) : nlohmann::json(layout_.group)},
            {"desc_act", false},
            {"sym", layout_.symmetric},
            {"lm_head", false},
            {"quant_method", "gptq"},
            {"method", "gptq"},
            {"checkpoint_format", format},
            {"format", format},
            {"pack_dtype", "int32"},
            {"meta", {{"quantizer", {"qwha"}}}}};
  }

  /// Writes into a folder that exists, each file whole or not at all, the tensors first.
  /// @throws value_error when no layer was added; io_error; format_error as `write_safetensors`
  void save(const std::filesystem::path& folder) const {
    if (modules_.empty()) throw value_error(joined(folder.string(), ": a GPTQ checkpoint needs a quantized layer"));
    std::vector<tensor> all = others_;
    for (const arrays& a : modules_) a.append_to(all);
    write_safetensors(folder / "model.safetensors", all, {{"format", "pt"}});
    write_json(folder / "quantize_config.json", config());
    if (model_config_.is_object()) {
      nlohmann::json merged = model_config_;
      merged["quantization_config"] = config();
      write_json(folder / "config.json", merged);
    }
  }

 private:
  struct layout {
    int bits = 0;
    std::size_t group = 0;
    bool symmetric = false;
    bool operator==(const layout&) const = default;
  };
  struct arrays {
    std::string module;
    std::size_t rows = 0, cols = 0, groups = 0;
    std::vector<std::uint32_t> codes = {}, zeros = {};
    std::vector<half> scales = {}, bias = {};
    std::vector<std::int32_t> groups_of_inputs = {};

    void append_to(std::vector<tensor>& all) const {
      const auto add = [&](const char* suffix, dtype type, std::vector<std::size_t> shape, auto values) {
        all.push_back({module + suffix, type, std::move(shape), std::as_bytes(values)});
      };
      add(".qweight", dtype::i32, {codes.size() / rows, rows}, std::span(codes));
      add(".qzeros", dtype::i32, {groups, zeros.size() / groups}, std::span(zeros));
      add(".scales", dtype::f16, {groups, rows}, std::span(scales));
      add(".g_idx", dtype::i32, {cols}, std::span(groups_of_inputs));
      if (!bias.empty()) add(".bias", dtype::f16, {rows}, std::span(bias));
    }
  };

  /// Code `i` into a stream of zeros.
  static void put(std::byte* stream, std::size_t i, std::uint32_t code, int bits) noexcept {
    const std::size_t bit = i * static_cast<std::size_t>(bits);
    const auto shift = static_cast<int>(bit % 8);
    stream[bit / 8] |= static_cast<std::byte>(code << shift);
    if (shift + bits > 8) stream[bit / 8 + 1] |= static_cast<std::byte>(code >> (8 - shift));
  }
  static void write_json(const std::filesystem::path& path, const nlohmann::json& json) {
    const std::string text = json.dump(2) + "\n";
    atomic_file file(path);
    file.write(text.data(), text.size());
    file.commit();
  }

  gptq_version version_;
  layout layout_;
  std::deque<arrays> modules_;
  std::vector<tensor> others_;
  nlohmann::json model_config_;
};

}  // namespace qwha::io::inline QWHA_ISA
