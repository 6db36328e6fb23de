// SPDX-License-Identifier: MIT
#pragma once
/// Files for tests: a folder that goes away, and builders of raw bytes that share no code with the library's writers.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace qwha::test {

/// A fresh folder, removed with all that is in it.
class scratch_folder {
 public:
  scratch_folder() {
    std::random_device random;
    do path_ = std::filesystem::temp_directory_path() / ("qwha-test-" + std::to_string(random()));
    while (!std::filesystem::create_directory(path_));
  }
  scratch_folder(const scratch_folder&) = delete;
  scratch_folder& operator=(const scratch_folder&) = delete;
  ~scratch_folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::filesystem::path operator/(std::string_view name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }
  std::size_t entries() const {
    return static_cast<std::size_t>(
        std::distance(std::filesystem::directory_iterator(path_), std::filesystem::directory_iterator()));
  }

 private:
  std::filesystem::path path_;
};

inline void write_bytes(const std::filesystem::path& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}
inline std::string read_bytes(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}
inline std::span<const std::byte> as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

template <class T>
std::string raw(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

/// A safetensors file from the text of its header and its buffer.
inline std::string safetensors_bytes(const std::string& header, const std::string& buffer) {
  return raw(std::uint64_t{header.size()}) + header + buffer;
}

/// Pieces of a GGUF file.
inline std::string gguf_text(std::string_view text) { return raw(std::uint64_t{text.size()}) + std::string(text); }
inline std::string gguf_head(std::int64_t tensors, std::int64_t values, std::uint32_t version = 3) {
  return "GGUF" + raw(version) + raw(tensors) + raw(values);
}
inline std::string gguf_tensor(std::string_view name, std::vector<std::int64_t> extents, std::int32_t type,
                               std::uint64_t offset) {
  std::string bytes = gguf_text(name) + raw(static_cast<std::uint32_t>(extents.size()));
  for (const std::int64_t e : extents) bytes += raw(e);
  return bytes + raw(type) + raw(offset);
}
template <class T>
std::string gguf_entry(std::string_view key, std::int32_t type, T value) {
  return gguf_text(key) + raw(type) + raw(value);
}
inline std::string gguf_entry(std::string_view key, std::string_view text) {
  return gguf_text(key) + raw(std::int32_t{8}) + gguf_text(text);
}
inline std::string padded(std::string bytes, std::size_t alignment = 32) {
  bytes.resize((bytes.size() + alignment - 1) / alignment * alignment, '\0');
  return bytes;
}

}  // namespace qwha::test
