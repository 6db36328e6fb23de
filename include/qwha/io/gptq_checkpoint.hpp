// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// GPTQ checkpoints as AutoGPTQ, GPTQModel and optimum write them: a folder with a configuration and safetensors.

#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/io/gptq_config.hpp>
#include <qwha/io/gptq_layer.hpp>
#include <qwha/io/message.hpp>
#include <qwha/io/safetensors.hpp>

namespace qwha::io::inline QWHA_ISA {

namespace detail {

/// The safetensors of a folder: an index, model.safetensors, the configured name, or the only file there is.
inline std::filesystem::path gptq_tensors_of(const std::filesystem::path& folder, const gptq_config& config) {
  std::error_code ignored;
  for (const char* name : {"model.safetensors.index.json", "model.safetensors"})
    if (std::filesystem::exists(folder / name, ignored)) return folder / name;
  if (!config.model_file.empty())
    if (auto path = folder / (config.model_file + ".safetensors"); std::filesystem::exists(path, ignored)) return path;
  std::vector<std::filesystem::path> found;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored))
    if (entry.path().extension() == ".safetensors") found.push_back(entry.path());
  if (found.size() != 1)
    throw format_error(joined(folder.string(),
                              ": has neither model.safetensors, nor an index, nor a single other "
                              ".safetensors file"));
  return found.front();
}

}  // namespace detail

/// A folder of GPTQ layers, read only. Copies share the mappings; layers refer to them.
class gptq_checkpoint {
 public:
  /// @throws io_error, format_error as `read_gptq_config` and `safetensors_file`
  explicit gptq_checkpoint(const std::filesystem::path& folder, gptq_zero_repair repair = gptq_zero_repair::per_field)
      : gptq_checkpoint(folder, read_gptq_config(folder), repair) {}
  /// The same where the configuration stands elsewhere.
  gptq_checkpoint(const std::filesystem::path& folder, const gptq_config& config,
                  gptq_zero_repair repair = gptq_zero_repair::per_field)
      : gptq_checkpoint(safetensors_file(detail::gptq_tensors_of(folder, config)), config, repair) {}
  gptq_checkpoint(safetensors_file tensors, gptq_config config, gptq_zero_repair repair = gptq_zero_repair::per_field)
      : tensors_(std::move(tensors)), config_(std::move(config)), repair_(repair) {}

  const gptq_config& config() const noexcept { return config_; }
  /// All tensors, those of layers that were not quantized among them.
  const safetensors_file& tensors() const noexcept { return tensors_; }
  /// Names of the quantized layers, in file order.
  std::vector<std::string> modules() const {
    constexpr std::string_view suffix = ".qweight";
    std::vector<std::string> names;
    for (const tensor& t : tensors_.tensors())
      if (t.name.ends_with(suffix)) names.push_back(t.name.substr(0, t.name.size() - suffix.size()));
    return names;
  }
  /// @throws as the constructor of `gptq_layer`
  gptq_layer layer(std::string_view module) const { return {tensors_, module, config_, repair_}; }

 private:
  safetensors_file tensors_;
  gptq_config config_;
  gptq_zero_repair repair_;
};

}  // namespace qwha::io::inline QWHA_ISA
