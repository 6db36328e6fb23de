// SPDX-License-Identifier: MIT
// What is in a model or adapter file? Prints it in plain words:
//
//   inspect model.gguf | model.safetensors | folder of a checkpoint | adapter file or folder
//
// Nothing is converted or copied: files are mapped, so a large model opens at once.

#include <algorithm>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <qwha/io.hpp>

namespace {

namespace fs = std::filesystem;
namespace io = qwha::io;

std::string bytes_text(double bytes) {
  const char* const units[] = {"bytes", "kB", "MB", "GB", "TB"};
  std::size_t unit = 0;
  while (bytes >= 1000 && unit + 1 < std::size(units)) {
    bytes /= 1000;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
  return text;
}

/// A line per tensor, then a line per type: how much of the file it is, and what a weight costs.
void print_tensors(std::span<const io::tensor> tensors) {
  struct sum {
    std::size_t tensors = 0, elements = 0, bytes = 0;
  };
  std::map<std::string_view, sum> types;
  std::size_t width = 0;
  for (const io::tensor& t : tensors) width = std::max(width, io::quoted_name(t.name).size());
  std::printf("\n%zu tensors:\n", tensors.size());
  for (const io::tensor& t : tensors) {
    std::printf("  %-*s  %-5s %-16s %s%s\n", static_cast<int>(width), io::quoted_name(t.name).c_str(),
                std::string(name(t.dtype)).c_str(), io::shape_text(t.shape).c_str(),
                bytes_text(static_cast<double>(t.bytes.size())).c_str(),
                io::convertible(t.dtype) ? "" : "  (cannot be converted)");
    sum& s = types[name(t.dtype)];
    ++s.tensors;
    s.elements += t.size();
    s.bytes += t.bytes.size();
  }
  std::printf("\nby type:\n");
  for (const auto& [type, s] : types)
    std::printf("  %-5s %5zu tensors, %s, %.2f bits a value\n", std::string(type).c_str(), s.tensors,
                bytes_text(static_cast<double>(s.bytes)).c_str(),
                s.elements == 0 ? 0.0 : 8.0 * static_cast<double>(s.bytes) / static_cast<double>(s.elements));
}

std::string value_text(const io::gguf_file& file, const io::gguf_value& v) {
  if (v.is_array) return io::joined(v.count, " values of type ", name(v.type));
  if (v.type == io::gguf_type::string) return io::quoted_name(file.value<std::string_view>(v.key));
  if (v.type == io::gguf_type::boolean) return file.value<bool>(v.key) ? "true" : "false";
  char text[32];
  std::snprintf(text, sizeof text, "%.9g", file.value<double>(v.key));
  return text;
}

void print_gguf(const io::gguf_file& file) {
  std::printf("%s: a GGUF file\n\n%zu metadata keys:\n", file.file().c_str(), file.values().size());
  for (const io::gguf_value& v : file.values())
    std::printf("  %s = %s\n", io::quoted_name(v.key).c_str(), value_text(file, v).c_str());
  print_tensors(file.tensors());
}

void print_safetensors(const io::safetensors_file& file) {
  std::printf("%s: safetensors\n", file.file().c_str());
  for (const auto& [key, text] : file.metadata())
    std::printf("  %s = %s\n", io::quoted_name(key).c_str(), io::quoted_name(text).c_str());
  print_tensors(file.tensors());
}

void print_adapter(const fs::path& path) {
  const io::adapter_file adapter = io::load_adapter(path);
  std::printf("%s: a Walsh-Hadamard adapter, W = WQ + F T, for %zu layers\n", path.string().c_str(),
              adapter.modules.size());
  for (const auto& [key, text] : adapter.metadata)
    std::printf("  %s = %s\n", io::quoted_name(key).c_str(), io::quoted_name(text).c_str());
  std::size_t parameters = 0;
  for (const io::adapter_module& m : adapter.modules) {
    const auto& f = m.spectrum;
    const std::size_t cells = f.rows() * f.cols();
    std::printf("  %s  F [%zu, %zu], %zu coefficients (%.2f %%, equal to rank %.1f), T of order %s\n",
                io::quoted_name(m.name).c_str(), f.rows(), f.cols(), f.size(),
                cells == 0 ? 0.0 : 100.0 * static_cast<double>(f.size()) / static_cast<double>(cells),
                static_cast<double>(f.size()) / static_cast<double>(f.rows() + f.cols()), m.order_name.c_str());
    parameters += f.size();
  }
  std::printf("%zu coefficients in all\n", parameters);
}

void inspect(const fs::path& path) {
  if (fs::is_directory(path))
    return fs::exists(path / "adapter_config.json") ? print_adapter(path)
                                                    : print_safetensors(io::safetensors_file(path));
  if (path.extension() == ".gguf") {
    const io::gguf_file file(path);
    return io::is_adapter(file) ? print_adapter(path) : print_gguf(file);
  }
  const io::safetensors_file file(path);
  return io::is_adapter(file) ? print_adapter(path) : print_safetensors(file);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: inspect FILE-OR-FOLDER\n");
    return 2;
  }
  try {
    inspect(argv[1]);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "inspect: %s\n", e.what());
    return 1;
  }
  return 0;
}
