// SPDX-License-Identifier: MIT
// The C++ half of interop.py: `write FOLDER` makes files, `read FOLDER` checks the files that Python made.

#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <qwha/io/adapter_file.hpp>
#include <qwha/io/gguf_writer.hpp>
#include <qwha/io/safetensors_writer.hpp>

namespace {

namespace fs = std::filesystem;
namespace io = qwha::io;

void expect(bool holds, const std::string& what) {
  if (!holds) throw std::runtime_error("not as expected: " + what);
}

void write(const fs::path& folder) {
  const std::vector<float> f32{1, 2, 3, 4, 5, 6.5f}, scalar{2.25f}, empty;
  const std::vector<std::int64_t> i64{-1, std::int64_t{1} << 40};
  const std::vector<qwha::half> f16{qwha::half(0.5f), qwha::half(-2.0f)};
  const std::vector<std::uint8_t> u8{255};
  io::write_safetensors(
      folder / "ours.safetensors",
      std::vector{io::tensor_of<float>("f32", {2, 3}, f32), io::tensor_of<std::int64_t>("i64", {2}, i64),
                  io::tensor_of<qwha::half>("f16", {2}, f16), io::tensor_of<std::uint8_t>("u8", {1}, u8),
                  io::tensor_of<float>("scalar", {}, scalar), io::tensor_of<float>("empty", {0, 3}, empty)},
      {{"format", "pt"}});
  std::string block("\x00\x38", 2);  // half 0.5
  for (char c = 0; c < 32; ++c) block += c;
  io::gguf_writer writer;
  writer.set("general.architecture", "test");
  writer.set("count", 7);
  writer.set("texts", std::vector<std::string>{"a", "", "\xc3\xa9"});
  writer.set("numbers", std::vector<float>{1.5f, -2});
  writer.add(io::tensor_of<float>("f32", {2, 3}, f32));
  writer.add({"q8_0", io::dtype::q8_0, {1, 32}, std::as_bytes(std::span(block))});
  writer.save(folder / "ours.gguf");
  io::adapter_file adapter;
  adapter.modules.push_back({"m", {3, 24, {0, 1, 1, 3}, {5, 0, 23}, {1.0f, -2.0f, 0.5f}}, ""});
  io::save_adapter(folder / "adapter.safetensors", adapter);
  io::save_adapter(folder / "adapter.gguf", adapter);
}

template <class File>
void check_numbers(const File& file, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const auto values = file.template read<double>(name);
    expect(values.size() == 12 && file.at(name).shape == std::vector<std::size_t>{3, 4}, name);
    for (int i = 0; i < 12; ++i)
      expect(values[static_cast<std::size_t>(i)] == i * i - 20, std::string(name) + " " + std::to_string(i));
  }
}

void read(const fs::path& folder) {
  const io::safetensors_file safetensors(folder / "theirs.safetensors");
  check_numbers(safetensors, {"float16", "float32", "float64", "int8", "int16", "int32", "int64"});
  expect(safetensors.read<int>("uint8")[0] == 236 && safetensors.read<int>("bool")[0] == 0 &&
             safetensors.read<int>("bool")[11] == 1,
         "uint8 and bool");
  const io::gguf_file gguf(folder / "theirs.gguf");
  check_numbers(gguf, {"float16", "float32", "float64", "int8", "int16", "int32", "int64"});
  expect(gguf.value<std::uint32_t>("u32") == 4000000000u && gguf.value<double>("f64") == 0.1 && gguf.value<bool>("yes"),
         "metadata");
  expect(gguf.value<std::vector<std::string>>("texts") == std::vector<std::string>{"a", "", "\xc3\xa9"}, "texts");
  expect(gguf.value<std::vector<int>>("ints") == std::vector<int>{1, -2, 3}, "ints");
  const io::safetensors_file expected(folder / "expected.safetensors");
  expect(expected.tensors().size() == 11, "number of block formats");
  for (const io::tensor& t : expected.tensors()) {
    const auto want = expected.read<float>(t.name), got = gguf.read<float>(t.name);
    expect(want.size() == got.size(), t.name);
    for (std::size_t i = 0; i < want.size(); ++i)  // one product and one sum in float, in either order or fused
      expect(std::abs(want[i] - got[i]) <= 0x1p-20f * (std::abs(want[i]) + 64.0f), t.name + " " + std::to_string(i));
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  try {
    std::string_view(argv[1]) == "write" ? write(argv[2]) : read(argv[2]);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
  return 0;
}
