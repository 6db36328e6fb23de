// SPDX-License-Identifier: MIT
#pragma once
/// A safetensors file in memory whose tensors a test may change before it is opened.

#include <cstddef>
#include <cstring>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <qwha/io/safetensors_writer.hpp>
#include "io/files.hpp"

namespace qwha::test {

class tensors_in_memory {
 public:
  struct entry {
    io::dtype dtype;
    std::vector<std::size_t> shape;
    std::string bytes;
  };
  std::map<std::string, entry> tensors;

  template <class T>
  void set(const std::string& name, io::dtype dtype, std::vector<std::size_t> shape, const std::vector<T>& values) {
    tensors[name] = {dtype, std::move(shape),
                     std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T))};
  }
  void set_text(const std::string& name, const std::string& text) {
    tensors[name] = {io::dtype::u8, {text.size()}, text};
  }

  /// The file's bytes, which an opened file refers to.
  std::string bytes() const {
    std::vector<io::tensor> all;
    for (const auto& [name, e] : tensors) all.push_back({name, e.dtype, e.shape, as_bytes(e.bytes)});
    std::string file;
    io::emit_safetensors([&](const void* data, std::size_t size) { file.append(static_cast<const char*>(data), size); },
                         "memory", all);
    return file;
  }
};

}  // namespace qwha::test
