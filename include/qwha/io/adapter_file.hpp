// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Adapter files, loaded and saved: the one door to all formats.

#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>

#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/io/adapter_gguf.hpp>
#include <qwha/io/adapter_module.hpp>
#include <qwha/io/adapter_safetensors.hpp>
#include <qwha/io/gguf.hpp>
#include <qwha/io/mapped_file.hpp>
#include <qwha/io/message.hpp>
#include <qwha/io/qhft.hpp>
#include <qwha/io/safetensors.hpp>

namespace qwha::io::inline QWHA_ISA {

/// Loads our own files (.safetensors and .gguf, told apart by their first bytes) and folders of the reference (QHFT; or
/// the adapter_model.safetensors inside one). F is always against the orthonormal transform.
/// Cost: reads the file once. For QHFT folders that lack something, see `load_qhft`.
/// @throws io_error; format_error that names file, module or tensor, and the rule
inline adapter_file load_adapter(const std::filesystem::path& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) return load_qhft(path);
  constexpr std::string_view magic = "GGUF";
  bool is_gguf = false;
  {
    const mapped_file file(path);
    is_gguf = file.bytes().size() >= magic.size() && std::memcmp(file.bytes().data(), magic.data(), magic.size()) == 0;
  }
  if (is_gguf) return adapter_from_gguf(gguf_file(path));
  const safetensors_file file(path);
  if (!is_adapter(file) && std::filesystem::exists(path.parent_path() / detail::qhft_config_name, ignored))
    return load_qhft(path.has_parent_path() ? path.parent_path() : std::filesystem::path("."));
  return adapter_from_safetensors(file);
}

/// Saves by extension, .safetensors or .gguf; under a temporary name first, so that a file of this name is whole or
/// not there. For the reference's format see `save_qhft`.
/// @throws value_error for another extension; format_error, value_error or io_error that name file and module
inline void save_adapter(const std::filesystem::path& path, const adapter_file& adapter) {
  if (path.extension() == ".safetensors") return save_adapter_safetensors(path, adapter);
  if (path.extension() == ".gguf") return save_adapter_gguf(path, adapter);
  throw value_error(joined(path.string(), ": adapter files end in .safetensors or .gguf"));
}

}  // namespace qwha::io::inline QWHA_ISA
