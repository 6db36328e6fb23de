// SPDX-License-Identifier: MIT
#pragma once
/// What the engine's tests share: where models and golden files lie, .npy files, temporary folders.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include <unistd.h>

namespace engine_test {

namespace fs = std::filesystem;

inline std::string read_text(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("cannot open " + path.string());
  return {std::istreambuf_iterator<char>(in), {}};
}

/// "6162" as "ab".
inline std::string bytes_of_hex(const std::string& hex) {
  std::string s;
  for (std::size_t i = 0; i < hex.size(); i += 2) s += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return s;
}

/// A folder named by an environment variable, or the first of `places` that is there.
inline std::optional<fs::path> find_folder(const char* variable, const std::vector<fs::path>& places) {
  if (const char* named = std::getenv(variable); named != nullptr && *named != '\0') {
    if (fs::exists(named)) return fs::path(named);
    return std::nullopt;
  }
  for (const fs::path& p : places)
    if (fs::exists(p)) return p;
  return std::nullopt;
}
/// Golden files, beside the project root or where QWHA_GOLDEN says.
inline std::optional<fs::path> golden_folder() {
  return find_folder("QWHA_GOLDEN", {fs::path(QWHA_TEST_SOURCE_DIR) / "../../shared/golden"});
}
/// Gemma 3 270M as cmake/setup.sh leaves it.
inline std::optional<fs::path> real_model() {
  const char* home = std::getenv("HOME");
  const char* xdg = std::getenv("XDG_CACHE_HOME");
  const fs::path base =
      xdg != nullptr && *xdg != '\0' ? fs::path(xdg) : fs::path(home == nullptr ? "" : home) / ".cache";
  const auto cache = find_folder("QWHA_CACHE", {base / "qwha"});
  if (!cache || !fs::exists(*cache / "gemma-3-270m-q4_k_m.gguf")) return std::nullopt;
  return *cache / "gemma-3-270m-q4_k_m.gguf";
}

/// The elements of a little-endian .npy file of type T, in C order.
template <class T>
std::vector<T> read_npy(const fs::path& path) {
  const std::string bytes = read_text(path);
  if (bytes.size() < 10 || bytes.substr(1, 5) != "NUMPY") throw std::runtime_error(path.string() + " is no .npy file");
  const std::size_t header = static_cast<unsigned char>(bytes[8]) + 256u * static_cast<unsigned char>(bytes[9]);
  const char kind = std::is_floating_point_v<T> ? 'f' : 'i';
  const std::string type = std::string("'<") + kind + std::to_string(sizeof(T)) + "'";
  if (bytes.substr(10, header).find(type) == std::string::npos)
    throw std::runtime_error(path.string() + " is not of type " + type);
  std::vector<T> values((bytes.size() - 10 - header) / sizeof(T));
  std::memcpy(values.data(), bytes.data() + 10 + header, values.size() * sizeof(T));
  return values;
}

/// A folder that vanishes with the object.
class temporary_folder {
 public:
  temporary_folder() {
    static int made = 0;
    path_ = fs::temp_directory_path() /
            ("qwha-engine-" + std::to_string(static_cast<long>(::getpid())) + "-" + std::to_string(made++));
    fs::create_directories(path_);
  }
  temporary_folder(const temporary_folder&) = delete;
  temporary_folder& operator=(const temporary_folder&) = delete;
  ~temporary_folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  const fs::path& path() const noexcept { return path_; }

 private:
  fs::path path_;
};

}  // namespace engine_test
