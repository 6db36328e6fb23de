// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Adapter files of our own in GGUF: a set of keys beside those that ggml gives low-rank adapters.
///
/// Keys: `general.type` "adapter", `general.architecture` that of the base, `adapter.type` "qwha",
/// `adapter.qwha.version` u32, `adapter.qwha.scaling` "orthonormal" (T = H / sqrt(in)); by module, arrays of one
/// length: `adapter.qwha.modules`,
/// `.orders` (text), `.out`, `.in` (u64) and, where known, `.bases` (base_fingerprint); free metadata under `adapter.qwha.metadata.`. Tensors of a module:
/// `<name>.weight.qwha_row_ptr` I64, `.qwha_col` I32, `.qwha_val` F32.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/io/adapter_arrays.hpp>
#include <qwha/io/adapter_module.hpp>
#include <qwha/io/gguf.hpp>
#include <qwha/io/gguf_writer.hpp>
#include <qwha/io/message.hpp>

namespace qwha::io::inline QWHA_ISA {

namespace detail {
inline constexpr std::string_view adapter_metadata_prefix = "adapter.qwha.metadata.";
}

/// Is this an adapter file of our own?
inline bool is_adapter(const gguf_file& file) {
  return file.value_or<std::string>("general.type", "") == "adapter" &&
         file.value_or<std::string>("adapter.type", "") == "qwha";
}

/// @throws format_error that names file, module or tensor, and the rule
inline adapter_file adapter_from_gguf(const gguf_file& file) {
  if (!is_adapter(file))
    throw format_error(
        joined(file.file(), ": is no qwha adapter: general.type must be 'adapter' and adapter.type 'qwha'"));
  const auto version = file.value<std::uint32_t>("adapter.qwha.version");
  if (version != detail::adapter_version)
    throw format_error(joined(file.file(), ": has adapter version ", version, ", only 1 is known"));
  if (const auto scaling = file.value<std::string>("adapter.qwha.scaling"); scaling != "orthonormal")
    throw format_error(joined(file.file(), ": has the unknown scaling ", quoted_name(scaling)));
  const auto names = file.value<std::vector<std::string>>("adapter.qwha.modules");
  const auto orders = file.value<std::vector<std::string>>("adapter.qwha.orders");
  const auto out = file.value<std::vector<std::uint64_t>>("adapter.qwha.out");
  const auto in = file.value<std::vector<std::uint64_t>>("adapter.qwha.in");
  const auto bases =
      file.value_or<std::vector<std::string>>("adapter.qwha.bases", std::vector<std::string>(names.size()));
  if (orders.size() != names.size() || out.size() != names.size() || in.size() != names.size() ||
      bases.size() != names.size())
    throw format_error(
        joined(file.file(), ": the arrays adapter.qwha.modules, orders, out, in and bases differ in length"));
  adapter_file adapter;
  for (std::size_t i = 0; i < names.size(); ++i) {
    adapter.modules.push_back(detail::read_module(file, names[i], ".weight", orders[i], out[i], in[i]));
    adapter.modules.back().base_fingerprint = bases[i];
  }
  detail::check_modules(file.file(), adapter);
  if (file.tensors().size() != 3 * adapter.modules.size())
    throw format_error(joined(file.file(), ": holds tensors that belong to no module of adapter.qwha.modules"));
  for (const gguf_value& v : file.values())
    if (v.key.starts_with(detail::adapter_metadata_prefix))
      adapter.metadata.emplace(v.key.substr(detail::adapter_metadata_prefix.size()), file.value<std::string>(v.key));
  if (const auto base = file.value_or<std::string>("general.architecture", "unknown"); base != "unknown")
    adapter.metadata["architecture"] = base;
  return adapter;
}

/// @throws format_error, value_error or io_error that name the file and the module; nothing is left behind then.
///         GGUF limits names to 63 bytes, of which ".weight.qwha_row_ptr" takes 20.
inline void save_adapter_gguf(const std::filesystem::path& path, const adapter_file& adapter) {
  const std::string file = path.string();
  detail::check_modules(file, adapter);
  constexpr std::size_t longest =
      gguf_longest_name - std::string_view(".weight").size() - detail::adapter_offsets_suffix.size();
  std::vector<std::string> names, orders, bases;
  std::vector<std::uint64_t> out, in;
  for (const adapter_module& m : adapter.modules) {
    if (m.name.size() > longest)
      throw format_error(joined(file, ": the module name ", quoted_name(m.name), " has ", m.name.size(),
                                " bytes; GGUF adapters allow ", longest, ". Save as .safetensors instead"));
    names.push_back(m.name);
    orders.push_back(detail::checked_order_name(file, m.name, m.order_name, m.spectrum.cols()));
    bases.push_back(m.base_fingerprint);
    out.push_back(m.spectrum.rows());
    in.push_back(m.spectrum.cols());
  }
  const auto architecture = adapter.metadata.find("architecture");
  gguf_writer writer;
  writer.set("general.type", "adapter");
  writer.set("general.architecture",
             architecture == adapter.metadata.end() ? std::string("unknown") : architecture->second);
  writer.set("adapter.type", "qwha");
  writer.set("adapter.qwha.version", detail::adapter_version);
  writer.set("adapter.qwha.scaling", "orthonormal");
  writer.set("adapter.qwha.modules", names);
  writer.set("adapter.qwha.orders", orders);
  writer.set("adapter.qwha.out", out);
  writer.set("adapter.qwha.in", in);
  if (std::any_of(bases.begin(), bases.end(), [](const std::string& b) { return !b.empty(); }))
    writer.set("adapter.qwha.bases", bases);
  for (const auto& [key, value] : adapter.metadata)
    if (key != "architecture") writer.set(std::string(detail::adapter_metadata_prefix) + key, value);
  const detail::adapter_arrays arrays(adapter, ".weight");
  for (const tensor& t : arrays.tensors()) writer.add(t);
  writer.save(path);
}

}  // namespace qwha::io::inline QWHA_ISA
