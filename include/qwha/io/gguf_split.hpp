// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// GGUF models split into several files: what a part says of itself, and what the others are called.

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>

#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/io/message.hpp>

namespace qwha::io {

/// Metadata keys split.no, split.count and split.tensors.count. Source: ggml-org/llama.cpp, tools/gguf-split.
struct gguf_split {
  std::size_t part = 0, count = 1;          ///< a file that is not split is part 0 of 1
  std::optional<std::size_t> tensors = {};  ///< of all parts together
};

}  // namespace qwha::io

namespace qwha::io::inline QWHA_ISA {

/// "model-00002-of-00003.gguf" beside "model-00001-of-00003.gguf", for part 1 of 3.
/// @throws format_error when the first part's name does not end as it must
inline std::filesystem::path gguf_part_path(const std::filesystem::path& first, std::size_t part, std::size_t count) {
  const auto five_digits = [](std::size_t n) {
    const std::string text = std::to_string(n);
    return std::string(text.size() < 5 ? 5 - text.size() : 0, '0') + text;
  };
  const auto ending = [&](std::size_t p) {
    return joined("-", five_digits(p + 1), "-of-", five_digits(count), ".gguf");
  };
  const std::string name = first.filename().string(), end = ending(0);
  if (!name.ends_with(end))
    throw format_error(
        joined(first.string(), ": is the first of ", count, " parts, so its name must end in ", quoted_name(end)));
  return first.parent_path() / (name.substr(0, name.size() - end.size()) + ending(part));
}

}  // namespace qwha::io::inline QWHA_ISA
