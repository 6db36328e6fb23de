// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// GGUF and safetensors behind one door: tensors by the engine's names, decoded to float.

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <qwha/io/gguf.hpp>
#include <qwha/io/safetensors.hpp>

#include "linear.hpp"

namespace engine {

class weight_file {
 public:
  /// A GGUF file, or a folder with safetensors.
  explicit weight_file(const std::filesystem::path& path);

  const std::string& name() const noexcept { return name_; }
  /// Null when the model is a folder.
  const qwha::io::gguf_file* gguf() const noexcept { return gguf_.get(); }

  bool has(std::string_view tensor) const;
  const qwha::io::tensor& at(std::string_view tensor) const;
  /// A vector of `size` floats. @throws qwha::format_error: absent, another size, a type that cannot be read, not
  /// finite
  std::vector<float> vector(std::string_view tensor, std::size_t size) const;
  /// A dense matrix [rows, cols]. Same errors.
  matrix dense(std::string_view tensor, std::size_t rows, std::size_t cols) const;
  /// The matrix as it lies in the file, decoded row by row when read. Finiteness is checked on reading.
  std::shared_ptr<const weight_source> stored(std::string_view tensor, std::size_t rows, std::size_t cols) const;
  /// Number of elements of all tensors.
  std::size_t elements() const;

 private:
  const qwha::io::tensor& at(std::string_view tensor, std::size_t rows, std::size_t cols) const;

  std::string name_;
  std::shared_ptr<const qwha::io::gguf_file> gguf_;
  std::shared_ptr<const qwha::io::safetensors_file> safetensors_;
};

}  // namespace engine
