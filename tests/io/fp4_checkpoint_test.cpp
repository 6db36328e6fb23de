// SPDX-License-Identifier: MIT
// MXFP4 and NVFP4 weights of all makers, built by hand, and every way in which they may be wrong.

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include <qwha/base/random.hpp>
#include <qwha/io/mxfp4_checkpoint.hpp>
#include <qwha/io/nvfp4_checkpoint.hpp>
#include <qwha/io/safetensors.hpp>
#include "catch.hpp"
#include "expect.hpp"
#include "io/tensors_in_memory.hpp"

namespace {

using namespace qwha;
using namespace qwha::test;

constexpr float e2m1[16] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6};

std::vector<std::uint8_t> random_bytes(std::size_t count, std::uint32_t below, std::uint64_t seed) {
  const counter_random random(seed);
  std::vector<std::uint8_t> bytes(count);
  for (std::size_t i = 0; i < count; ++i) bytes[i] = static_cast<std::uint8_t>(random.below(below, i));
  return bytes;
}

float element(const std::vector<std::uint8_t>& codes, std::size_t i) {
  return e2m1[i % 2 == 0 ? codes[i / 2] & 15 : codes[i / 2] >> 4];
}

/// E4M3 by its definition.
float e4m3(unsigned code) {
  const float sign = (code & 0x80u) != 0 ? -1.0f : 1.0f;
  const int exponent = static_cast<int>(code >> 3 & 15u);
  const auto mantissa = static_cast<float>(code & 7u);
  return sign * (exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10));
}

template <class Weights>
std::vector<float> all_of(const Weights& m) {
  std::vector<float> w(m.rows() * m.cols());
  m.dequantize({w.data(), m.rows(), m.cols()});
  return w;
}

constexpr std::size_t rows = 6, cols = 96;

tensors_in_memory mxfp4_file(const std::string& maker) {
  tensors_in_memory file;
  const auto codes = random_bytes(rows * cols / 2, 256, 1), scales = random_bytes(rows * cols / 32, 253, 2);
  if (maker == "openai") {
    file.set("m_blocks", io::dtype::u8, {2, 3, cols / 32, 16}, codes);  // two experts
    file.set("m_scales", io::dtype::u8, {2, 3, cols / 32}, scales);
  } else {
    file.set(maker == "packed" ? "m.weight_packed" : "m.weight", io::dtype::u8, {rows, cols / 2}, codes);
    file.set("m.weight_scale", maker == "packed" ? io::dtype::u8 : io::dtype::f8_e8m0, {rows, cols / 32}, scales);
  }
  return file;
}

constexpr float global = 0.37f;

tensors_in_memory nvfp4_file(bool divides, float global_scale = global) {
  tensors_in_memory file;
  auto scales = random_bytes(rows * cols / 16, 255, 4);
  for (auto& s : scales) s = s == 0x7f ? 0x7e : s;
  file.set(divides ? "m.weight_packed" : "m.weight", io::dtype::u8, {rows, cols / 2},
           random_bytes(rows * cols / 2, 256, 3));
  file.set("m.weight_scale", io::dtype::f8_e4m3, {rows, cols / 16}, scales);
  if (divides)
    file.set("m.weight_global_scale", io::dtype::f32, {1}, std::vector{global_scale});
  else
    file.set("m.weight_scale_2", io::dtype::f32, {}, std::vector{global_scale});
  return file;
}

template <class Read>
std::string message(const tensors_in_memory& tensors, Read read) {
  const std::string bytes = tensors.bytes();
  const auto file = io::safetensors_file::from_memory(as_bytes(bytes), "file");
  try {
    read(file);
  } catch (const error& e) {
    return e.what();
  }
  return {};
}
std::string mxfp4_message(const tensors_in_memory& t) {
  return message(t, [](const auto& file) { (void)io::mxfp4_matrix(file, "m"); });
}
std::string nvfp4_message(const tensors_in_memory& t) {
  return message(t, [](const auto& file) { io::nvfp4_layer layer(file, "m"); });
}

}  // namespace

TEST_CASE("the worked example: byte 0x72 under scale 128 is 2 and 12", "[io][mxfp4]") {
  auto tensors = mxfp4_file("openai");
  tensors.tensors["m_blocks"].bytes[0] = 0x72;
  tensors.tensors["m_scales"].bytes[0] = static_cast<char>(128);
  const std::string bytes = tensors.bytes();
  const auto file = io::safetensors_file::from_memory(as_bytes(bytes), "file");
  const std::vector<float> w = all_of(io::mxfp4_matrix(file, "m"));
  CHECK(w[0] == 2.0f);
  CHECK(w[1] == 12.0f);
}

TEST_CASE("MXFP4 of all makers is read exactly, without a copy", "[io][mxfp4]") {
  const auto codes = random_bytes(rows * cols / 2, 256, 1), scales = random_bytes(rows * cols / 32, 253, 2);
  for (const char* maker : {"openai", "packed", "plain"}) {
    INFO(maker);
    const std::string bytes = mxfp4_file(maker).bytes();
    const auto file = io::safetensors_file::from_memory(as_bytes(bytes), "file");
    CHECK(io::mxfp4_modules(file) == std::vector<std::string>{"m"});
    CHECK(io::nvfp4_modules(file).empty());
    const auto m = io::mxfp4_matrix(file, "m");
    CHECK(m.rows() == rows);
    CHECK(m.cols() == cols);
    CHECK((m.codes(0) >= as_bytes(bytes).data() && m.codes(0) < as_bytes(bytes).data() + bytes.size()));
    const std::vector<float> w = all_of(m);
    for (std::size_t i = 0; i < w.size(); ++i) REQUIRE(w[i] == std::ldexp(element(codes, i), scales[i / 32] - 127));
  }
}

TEST_CASE("NVFP4 of both makers is read as they compute it", "[io][nvfp4]") {
  for (const bool divides : {true, false}) {
    INFO((divides ? "compressed-tensors" : "ModelOpt"));
    const tensors_in_memory tensors = nvfp4_file(divides);
    const std::string bytes = tensors.bytes();
    const auto file = io::safetensors_file::from_memory(as_bytes(bytes), "file");
    CHECK(io::nvfp4_modules(file) == std::vector<std::string>{"m"});
    CHECK(io::mxfp4_modules(file).empty());
    const io::nvfp4_layer layer(file, "m");
    CHECK(layer.maker() == (divides ? io::nvfp4_maker::compressed_tensors : io::nvfp4_maker::modelopt));
    CHECK(layer.rows() == rows);
    CHECK(layer.cols() == cols);
    CHECK(layer.global_scale() == global);
    const auto codes = random_bytes(rows * cols / 2, 256, 3);
    const std::vector<float> w = all_of(layer), quantized = all_of(layer.matrix());
    const std::string& scales = tensors.tensors.at("m.weight_scale").bytes;
    for (std::size_t i = 0; i < w.size(); ++i) {
      const float block = e4m3(static_cast<unsigned char>(scales[i / 16]));
      const volatile float scale = divides ? block / global : block * global;
      REQUIRE(w[i] == element(codes, i) * scale);
      REQUIRE(quantized[i] == w[i]);
    }
    std::vector<float> last(cols);
    layer.dequantize_rows(rows - 1, {last.data(), 1, cols});
    CHECK(std::equal(last.begin(), last.end(), w.end() - static_cast<std::ptrdiff_t>(cols)));
  }
}

TEST_CASE("every broken rule of an MXFP4 weight has its message", "[io][mxfp4][hostile]") {
  const auto broken = [](const char* maker, auto change, std::initializer_list<std::string_view> parts) {
    auto tensors = mxfp4_file(maker);
    change(tensors.tensors);
    const std::string said = mxfp4_message(tensors);
    INFO(said);
    CHECK(said.starts_with("file: "));
    CHECK(mentions(said, parts));
  };
  REQUIRE(mxfp4_message(mxfp4_file("openai")).empty());
  broken("openai", [](auto& t) { t.erase("m_scales"); }, {"'m_scales'"});
  broken("openai", [](auto& t) { t.erase("m_blocks"); }, {"'m.weight'"});
  broken("packed", [](auto& t) { t.erase("m.weight_scale"); }, {"'m.weight_scale'"});
  broken("openai", [](auto& t) { t["m_blocks"].dtype = io::dtype::i8; }, {"'m_blocks'", "i8"});
  broken("openai", [](auto& t) { t["m_scales"].dtype = io::dtype::f8_e4m3; }, {"'m_scales'", "f8_e4m3"});
  broken("openai", [](auto& t) { t["m_blocks"].shape = {2, 3, 6, 8}; }, {"'m_blocks'", "[2, 3, 6, 8]"});
  broken("openai", [](auto& t) { t["m_blocks"].shape = {6, 3, 16}; }, {"'m_blocks'", "[2, 3, 3]"});
  broken("openai", [](auto& t) { t["m_scales"].shape = {3, 2, 3}; }, {"'m_blocks'", "[3, 2, 3]"});
  broken("openai", [](auto& t) { t["m_scales"].bytes.resize(1), t["m_scales"].shape.clear(); }, {"'m_blocks'", "[]"});
  broken("openai",
         [](auto& t) {
           t["m_scales"] = {io::dtype::u8, {0, std::size_t{1} << 55}, ""};
           t["m_blocks"] = {io::dtype::u8, {0, std::size_t{1} << 55, 16}, ""};
         },
         {"'m_blocks'"});
  broken("packed", [](auto& t) { t["m.weight_packed"].shape = {3, cols}; }, {"'m.weight_packed'", "[3, 96]"});
  broken("plain", [](auto& t) { t["m.weight_scale"].bytes[7] = '\xff'; }, {"'m.weight_scale'", "scale 7", "NaN"});
  broken("plain", [](auto& t) { t["m.weight_scale"].bytes[0] = '\xfe'; }, {"'m.weight_scale'", "254", "float"});
}

TEST_CASE("every broken rule of an NVFP4 weight has its message", "[io][nvfp4][hostile]") {
  const auto broken = [](bool divides, auto change, std::initializer_list<std::string_view> parts) {
    auto tensors = nvfp4_file(divides);
    change(tensors);
    const std::string said = nvfp4_message(tensors);
    INFO(said);
    CHECK(said.starts_with("file: "));
    CHECK(mentions(said, parts));
  };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  REQUIRE(nvfp4_message(nvfp4_file(true)).empty());
  REQUIRE(nvfp4_message(nvfp4_file(false)).empty());
  for (const char* name : {"m.weight_scale", "m.weight_global_scale"})
    broken(true, [&](auto& f) { f.tensors.erase(name); }, {name});
  broken(false, [](auto& f) { f.tensors.erase("m.weight_scale_2"); }, {"'m.weight_scale_2'"});
  broken(false, [](auto& f) { f.tensors.erase("m.weight"); }, {"'m.weight'"});
  broken(true, [](auto& f) { f.tensors["m.weight_packed"].dtype = io::dtype::i8; }, {"'m.weight_packed'", "i8"});
  broken(true, [](auto& f) { f.tensors["m.weight_scale"].dtype = io::dtype::u8; }, {"'m.weight_scale'", "u8"});
  broken(true, [](auto& f) { f.tensors["m.weight_scale"].shape = {3, 12}; }, {"'m.weight_packed'", "[3, 12]"});
  broken(true, [](auto& f) { f.tensors["m.weight_packed"].shape = {cols / 2, rows}; }, {"'m.weight_packed'"});
  broken(true, [](auto& f) { f.set("m.weight_global_scale", io::dtype::f32, {2}, std::vector<float>{1, 1}); },
         {"'m.weight_global_scale'", "[2]"});
  broken(true, [](auto& f) { f.set("m.weight_global_scale", io::dtype::i32, {1}, std::vector<int>{1}); },
         {"'m.weight_global_scale'", "i32"});
  for (const float bad : {0.0f, nan, 1e-38f, std::numeric_limits<float>::infinity()})
    broken(true, [&](auto& f) { f.set("m.weight_global_scale", io::dtype::f32, {1}, std::vector{bad}); },
           {"'m.weight_global_scale'", "finite"});
  for (const float bad : {nan, 1e38f})
    broken(false, [&](auto& f) { f.set("m.weight_scale_2", io::dtype::f32, {1}, std::vector{bad}); },
           {"'m.weight_scale_2'", "finite"});
  broken(false, [](auto& f) { f.tensors["m.weight_scale"].bytes[5] = '\xff'; }, {"'m.weight_scale'", "scale 5", "NaN"});
  const std::string bytes = nvfp4_file(true).bytes();
  const auto file = io::safetensors_file::from_memory(as_bytes(bytes), "file");
  const io::nvfp4_layer layer(file, "m");
  std::vector<float> out(cols);
  CHECK(mentions(message_of<shape_error>([&] { layer.dequantize_rows(rows, {out.data(), 1, cols}); }),
                 {"'m.weight_packed'"}));
  CHECK_THROWS_AS(layer.dequantize({out.data(), 1, cols}), shape_error);
}
