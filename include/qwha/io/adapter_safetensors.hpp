// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Adapter files of our own in safetensors.
///
/// Metadata: `format` "qwha", `qwha.version`, `qwha.scaling` "orthonormal" (T = H / sqrt(in)), and `qwha.modules`, a
/// JSON array of {"name", "out", "in", "order"} and, where it is known, "base" (base_fingerprint). Tensors of a module: `<name>.qwha_row_ptr` I64 [out + 1],
/// `<name>.qwha_col` I32 [p], `<name>.qwha_val` F32 [p].

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/io/adapter_arrays.hpp>
#include <qwha/io/adapter_module.hpp>
#include <qwha/io/json.hpp>
#include <qwha/io/message.hpp>
#include <qwha/io/safetensors.hpp>
#include <qwha/io/safetensors_writer.hpp>

namespace qwha::io::inline QWHA_ISA {

namespace detail {

/// `qwha.modules`
inline std::string module_list_text(const std::string& file, const adapter_file& adapter) {
  nlohmann::json list = nlohmann::json::array();
  for (const adapter_module& m : adapter.modules) {
    list.push_back({{"name", m.name},
                    {"out", m.spectrum.rows()},
                    {"in", m.spectrum.cols()},
                    {"order", checked_order_name(file, m.name, m.order_name, m.spectrum.cols())}});
    if (!m.base_fingerprint.empty()) list.back()["base"] = m.base_fingerprint;
  }
  try {
    return list.dump();
  } catch (const nlohmann::json::exception&) {
    throw format_error(joined(file, ": a module name is not UTF-8"));
  }
}

struct listed_module {
  std::string name, order, base;
  std::uint64_t out = 0, in = 0;
};

inline std::vector<listed_module> parse_module_list(const std::string& file, const std::string& text) {
  const nlohmann::json list = parse_json(file, text, 3);
  std::vector<listed_module> modules;
  if (!list.is_array()) throw format_error(joined(file, ": metadata 'qwha.modules' is no JSON array"));
  for (const nlohmann::json& m : list) {
    const auto has = [&](const char* key, auto is) { return m.is_object() && m.contains(key) && is(m[key]); };
    const auto is_text = [](const nlohmann::json& v) { return v.is_string(); };
    const auto is_count = [](const nlohmann::json& v) { return v.is_number_unsigned(); };
    if (!has("name", is_text) || !has("order", is_text) || !has("out", is_count) || !has("in", is_count))
      throw format_error(joined(file, ": an entry of metadata 'qwha.modules' lacks name, out, in or order"));
    if (m.contains("base") && !m["base"].is_string())
      throw format_error(joined(file, ": \"base\" of an entry of metadata 'qwha.modules' is no text"));
    modules.push_back({m["name"].get<std::string>(), m["order"].get<std::string>(), m.value("base", std::string()),
                       m["out"].get<std::uint64_t>(), m["in"].get<std::uint64_t>()});
  }
  return modules;
}

}  // namespace detail

/// Is this an adapter file of our own?
inline bool is_adapter(const safetensors_file& file) {
  const auto it = file.metadata().find("format");
  return it != file.metadata().end() && it->second == "qwha";
}

/// @throws format_error that names file, module or tensor, and the rule
inline adapter_file adapter_from_safetensors(const safetensors_file& file) {
  const auto& metadata = file.metadata();
  const auto text = [&](const char* key) -> const std::string& {
    const auto it = metadata.find(key);
    if (it == metadata.end())
      throw format_error(joined(file.file(), ": has no metadata key '", key, "', so is no qwha adapter"));
    return it->second;
  };
  if (text("format") != "qwha") throw format_error(joined(file.file(), ": is no qwha adapter"));
  if (text("qwha.version") != std::to_string(detail::adapter_version))
    throw format_error(
        joined(file.file(), ": has adapter version ", quoted_name(text("qwha.version")), ", only 1 is known"));
  if (text("qwha.scaling") != "orthonormal")
    throw format_error(joined(file.file(), ": has the unknown scaling ", quoted_name(text("qwha.scaling"))));
  adapter_file adapter;
  for (const detail::listed_module& m : detail::parse_module_list(file.file(), text("qwha.modules"))) {
    adapter.modules.push_back(detail::read_module(file, m.name, "", m.order, m.out, m.in));
    adapter.modules.back().base_fingerprint = m.base;
  }
  detail::check_modules(file.file(), adapter);
  if (file.tensors().size() != 3 * adapter.modules.size())
    throw format_error(joined(file.file(), ": holds tensors that belong to no module of 'qwha.modules'"));
  for (const auto& [key, value] : metadata)
    if (key != "format" && !key.starts_with("qwha.")) adapter.metadata.emplace(key, value);
  return adapter;
}

/// @throws format_error, value_error or io_error that name the file and the module; nothing is left behind then
inline void save_adapter_safetensors(const std::filesystem::path& path, const adapter_file& adapter) {
  const std::string file = path.string();
  detail::check_modules(file, adapter);
  std::map<std::string, std::string> metadata;
  for (const auto& [key, value] : adapter.metadata) {
    if (key == "format" || key.starts_with("qwha."))
      throw format_error(joined(file, ": the metadata key ", quoted_name(key), " is reserved"));
    metadata.emplace(key, value);
  }
  metadata.emplace("format", "qwha");
  metadata.emplace("qwha.version", std::to_string(detail::adapter_version));
  metadata.emplace("qwha.scaling", "orthonormal");
  metadata.emplace("qwha.modules", detail::module_list_text(file, adapter));
  write_safetensors(path, detail::adapter_arrays(adapter, "").tensors(), metadata);
}

}  // namespace qwha::io::inline QWHA_ISA
