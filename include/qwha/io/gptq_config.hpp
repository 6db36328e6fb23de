// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// What quantize_config.json or config.json say of a GPTQ checkpoint.
/// Source: AutoGPTQ/AutoGPTQ, auto_gptq/quantization/config.py; ModelCloud/GPTQModel, gptqmodel/quantization/config.py.

#include <algorithm>
#include <array>
#include <cctype>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/io/file_name.hpp>
#include <qwha/io/json.hpp>
#include <qwha/io/mapped_file.hpp>
#include <qwha/io/message.hpp>

namespace qwha::io {

/// How the fields of `qzeros` are meant.
enum class gptq_version {
  v1,  ///< "gptq": the zero point less one, modulo 2^bits
  v2   ///< "gptq_v2": the zero point
};

/// The configuration of a GPTQ checkpoint, as far as reading needs it. Modules may differ: their tensors have the last
/// word on bits and groups.
struct gptq_config {
  gptq_version version = gptq_version::v1;
  int bits = 0;                                ///< 0: not said
  std::optional<std::size_t> group_size = {};  ///< inputs per group, 0 for a whole row; nothing: not said
  bool act_order = false;                      ///< only a hint; `g_idx` counts
  bool symmetric = true;                       ///< only a hint; `qzeros` counts
  std::vector<std::string> quantizer = {};     ///< "gptqmodel:2.1.0"; empty: not said
  std::string model_file = {};                 ///< name without extension that old AutoGPTQ gave the tensors
};

}  // namespace qwha::io

namespace qwha::io::inline QWHA_ISA {

namespace detail {

/// Fields of a configuration; null counts as missing.
class gptq_fields {
 public:
  gptq_fields(const std::string& file, const nlohmann::json& object) : file_(file), object_(object) {
    if (!object.is_object()) fail("the quantization is no JSON object");
  }

  [[noreturn]] void fail(const std::string& rule) const { throw format_error(joined(file_, ": ", rule)); }
  const nlohmann::json* find(const char* key) const {
    const auto it = object_.find(key);
    return it == object_.end() || it->is_null() ? nullptr : &*it;
  }
  /// In lower case, since writers differ; empty where missing.
  std::string text(const char* key) const {
    std::string value = raw_text(key);
    std::transform(value.begin(), value.end(), value.begin(),
                   [](unsigned char c) { return static_cast<char>(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c); });
    return value;
  }
  std::string raw_text(const char* key) const {
    const nlohmann::json* v = find(key);
    if (v == nullptr) return {};
    if (!v->is_string()) fail(joined("'", key, "' is not a string"));
    return v->get<std::string>();
  }
  bool truth(const char* key, bool fallback) const {
    const nlohmann::json* v = find(key);
    if (v == nullptr) return fallback;
    if (!v->is_boolean()) fail(joined("'", key, "' is neither true nor false"));
    return v->get<bool>();
  }
  std::optional<std::int64_t> whole(const char* key) const {
    const nlohmann::json* v = find(key);
    if (v == nullptr) return std::nullopt;
    if (!v->is_number_integer() || (v->is_number_unsigned() && v->get<std::uint64_t>() > (std::uint64_t{1} << 62)))
      fail(joined("'", key, "' is not a whole number"));
    return v->get<std::int64_t>();
  }
  /// Two names of one field, of which both, one or none may be there.
  std::string either(const char* key, const char* other) const {
    const std::string a = text(key), b = text(other);
    if (!a.empty() && !b.empty() && a != b)
      fail(joined("'", key, "' is ", quoted_name(a), ", but '", other, "' is ", quoted_name(b)));
    return a.empty() ? b : a;
  }

 private:
  const std::string& file_;
  const nlohmann::json& object_;
};

inline gptq_version gptq_version_of(const gptq_fields& fields) {
  const std::string method = fields.either("quant_method", "method");
  if (!method.empty() && method != "gptq") fields.fail(joined("holds ", quoted_name(method), ", not GPTQ"));
  if (fields.truth("is_marlin_format", false)) fields.fail("has the layout 'marlin', which is not read");
  const std::string format = fields.either("checkpoint_format", "format");
  if (format.empty() || format == "gptq") return gptq_version::v1;
  if (format == "gptq_v2") return gptq_version::v2;
  fields.fail(joined("has the layout ", quoted_name(format), ", which is not read; only 'gptq' and 'gptq_v2' are"));
}

}  // namespace detail

/// The configuration from its JSON object: quantize_config.json, or `quantization_config` of config.json.
/// @param file  how messages call it
/// @throws format_error for another method than GPTQ, another layout than "gptq" and "gptq_v2" (gptq_p, marlin,
///         bitblas, gemm), other words than of 32 bits, and fields of a wrong type or out of range
inline gptq_config parse_gptq_config(const std::string& file, const nlohmann::json& object) {
  const detail::gptq_fields fields(file, object);
  gptq_config config;
  config.version = detail::gptq_version_of(fields);
  if (const std::string words = fields.text("pack_dtype"); !words.empty() && words != "int32")
    fields.fail(joined("packs codes in ", quoted_name(words), ", only 'int32' is read"));
  if (const auto bits = fields.whole("bits")) {
    if (*bits != 2 && *bits != 3 && *bits != 4 && *bits != 8)
      fields.fail(joined("'bits' is ", *bits, ", only 2, 3, 4 and 8 are read"));
    config.bits = static_cast<int>(*bits);
  }
  if (const auto group = fields.whole("group_size")) {
    if (*group == 0 || *group < -1 || *group > (std::int64_t{1} << 31))
      fields.fail(joined("'group_size' is ", *group, ", it must be positive, or -1 for whole rows"));
    config.group_size = *group == -1 ? 0 : static_cast<std::size_t>(*group);
  }
  config.act_order = fields.truth("desc_act", false);
  config.symmetric = fields.truth("sym", true);
  config.model_file = fields.raw_text("model_file_base_name");
  if (!config.model_file.empty() && !plain_file_name(config.model_file))
    fields.fail(joined("'model_file_base_name' ", quoted_name(config.model_file), " is not a plain file name"));
  if (const nlohmann::json* meta = fields.find("meta");
      meta != nullptr && meta->is_object() && meta->contains("quantizer"))
    for (const nlohmann::json& name : (*meta)["quantizer"].is_array() ? (*meta)["quantizer"] : nlohmann::json::array())
      if (name.is_string()) config.quantizer.push_back(name.get<std::string>());
  return config;
}

/// The configuration of the checkpoint in `folder`. Where both files speak, they must agree on version and bits;
/// quantize_config.json then counts. Neither: version 1, all else from the tensors.
/// @throws format_error, io_error
inline gptq_config read_gptq_config(const std::filesystem::path& folder) {
  constexpr std::size_t longest = std::size_t{1} << 26;
  std::optional<gptq_config> found;
  for (const char* name : {"quantize_config.json", "config.json"}) {
    const std::filesystem::path path = folder / name;
    std::error_code ignored;
    if (!std::filesystem::exists(path, ignored)) continue;
    const std::string file = path.string();
    const mapped_file map(path);
    if (map.bytes().size() > longest) throw format_error(joined(file, ": is longer than 64 MiB"));
    const nlohmann::json json = parse_json(file, map.bytes());
    const bool of_model = std::string_view(name) == "config.json";
    if (of_model && (!json.is_object() || !json.contains("quantization_config"))) continue;
    const gptq_config config = parse_gptq_config(file, of_model ? json["quantization_config"] : json);
    if (!found) {
      found = config;
    } else if (found->version != config.version ||
               (found->bits != 0 && config.bits != 0 && found->bits != config.bits)) {
      throw format_error(joined(file, ": quantize_config.json beside it names another layout or number of bits"));
    }
  }
  return found.value_or(gptq_config{});
}

}  // namespace qwha::io::inline QWHA_ISA
