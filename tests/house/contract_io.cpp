// SPDX-License-Identifier: MIT
// Every public name of <qwha/io.hpp>, used as the contract writes it.

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <string>
#include <type_traits>
#include <vector>

#include <qwha/core.hpp>
#include <qwha/io.hpp>

#include "expect.hpp"

namespace {

namespace fs = std::filesystem;

struct scratch_folder {
  fs::path path;
  scratch_folder() : path(fs::temp_directory_path() / "qwha-contract-io") {
    fs::remove_all(path);
    fs::create_directories(path);
  }
  ~scratch_folder() { fs::remove_all(path); }
};

static_assert(qwha::io::dtype::f32 != qwha::io::dtype::f16 && qwha::io::dtype::bf16 != qwha::io::dtype::f64 &&
              qwha::io::dtype::i8 != qwha::io::dtype::i16 && qwha::io::dtype::i32 != qwha::io::dtype::i64 &&
              qwha::io::dtype::u8 != qwha::io::dtype::q4_0 && qwha::io::dtype::q6_k != qwha::io::dtype::q4_0);
static_assert(std::is_same_v<decltype(qwha::io::tensor::name), std::string>);
static_assert(std::is_same_v<decltype(qwha::io::tensor::dtype), qwha::io::dtype>);
static_assert(std::is_same_v<decltype(qwha::io::tensor::shape), std::vector<std::size_t>>);
static_assert(std::is_same_v<decltype(qwha::io::tensor::bytes), std::span<const std::byte>>);
static_assert(std::is_constructible_v<qwha::io::gguf_file, const fs::path&>);
static_assert(std::is_same_v<decltype(std::declval<const qwha::io::gguf_file&>().names()), std::vector<std::string>>);
static_assert(std::is_same_v<decltype(std::declval<const qwha::io::gguf_file&>().at("x")), const qwha::io::tensor&>);
static_assert(
    std::is_same_v<decltype(std::declval<const qwha::io::gguf_file&>().read<float>("x")), std::vector<float>>);

void safetensors(const fs::path& folder) {
  const std::string header = R"({"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}})";
  const float values[6]{1, 2, 3, 4, 5, 6};
  const std::uint64_t length = header.size();
  const fs::path file = folder / "a.safetensors";
  std::ofstream(file, std::ios::binary)
      .write(reinterpret_cast<const char*>(&length), 8)
      .write(header.data(), static_cast<std::streamsize>(header.size()))
      .write(reinterpret_cast<const char*>(values), sizeof values);
  const qwha::io::safetensors_file in(file);
  const std::vector<std::string> names = in.names();
  EXPECT(names == std::vector<std::string>{"a"});
  const qwha::io::tensor& a = in.at("a");
  EXPECT(a.name == "a" && a.dtype == qwha::io::dtype::f32 && a.shape == (std::vector<std::size_t>{2, 3}) &&
         a.bytes.size() == 24);
  EXPECT(in.read<float>("a")[5] == 6.0f);
  EXPECT(in.read<double>("a")[1] == 2.0);
  EXPECT_THROWS(in.at("b"), qwha::error);
  std::ofstream(folder / "short.safetensors") << "xx";
  EXPECT_THROWS(qwha::io::safetensors_file(folder / "short.safetensors"), qwha::format_error);
  EXPECT_THROWS(qwha::io::gguf_file(file), qwha::format_error);
}

void adapters(const fs::path& folder) {
  const qwha::sparse_spectrum<float> spectrum(3, 24, {0, 1, 1, 3}, {5, 0, 23}, {1.0f, -2.0f, 0.5f});
  qwha::io::adapter_file written;
  written.modules.push_back(qwha::io::adapter_module{
      .name = "model.layers.0.mlp.up_proj", .spectrum = spectrum, .order_name = qwha::order_name(24)});
  for (const char* name : {"adapter.safetensors", "adapter.gguf"}) {
    qwha::io::save_adapter(folder / name, written);
    const qwha::io::adapter_file read = qwha::io::load_adapter(folder / name);
    EXPECT(read.modules.size() == 1);
    if (read.modules.size() != 1) continue;
    EXPECT(read.modules[0].name == written.modules[0].name && read.modules[0].order_name == qwha::order_name(24));
    EXPECT(read.modules[0].spectrum == spectrum);
  }
  qwha::io::save_qhft(folder / "qhft", written, 1.0);
  const qwha::io::adapter_file read = qwha::io::load_adapter(folder / "qhft");
  EXPECT(read.modules.size() == 1 && read.modules[0].spectrum.size() == spectrum.size());
}

}  // namespace

int main() {
  const scratch_folder scratch;
  safetensors(scratch.path);
  adapters(scratch.path);
  return qwha::test::failures == 0 ? 0 : 1;
}
