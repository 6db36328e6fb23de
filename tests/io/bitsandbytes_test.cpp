// SPDX-License-Identifier: MIT
// Layers of bitsandbytes built by hand: NF4 and FP4, plain and nested, odd shapes, and every way in which they may be
// wrong.

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include <qwha/base/random.hpp>
#include <qwha/io/bitsandbytes.hpp>
#include <qwha/io/safetensors.hpp>
#include "catch.hpp"
#include "expect.hpp"
#include "io/tensors_in_memory.hpp"

namespace {

using namespace qwha;
using namespace qwha::test;

// The package's tables, from its own table of the format.
const std::vector<float> nf4_map{-1.0f,
                                 -0.6961928009986877f,
                                 -0.5250730514526367f,
                                 -0.39491748809814453f,
                                 -0.28444138169288635f,
                                 -0.18477343022823334f,
                                 -0.09105003625154495f,
                                 0.0f,
                                 0.07958029955625534f,
                                 0.16093020141124725f,
                                 0.24611230194568634f,
                                 0.33791524171829224f,
                                 0.44070982933044434f,
                                 0.5626170039176941f,
                                 0.7229568362236023f,
                                 1.0f};
const std::vector<float> fp4_map{0, 0.0625f / 12,  8 / 12.f,  1,  4 / 12.f,  6 / 12.f,  2 / 12.f,  3 / 12.f,
                                 0, -0.0625f / 12, -8 / 12.f, -1, -4 / 12.f, -6 / 12.f, -2 / 12.f, -3 / 12.f};

/// A layer of random codes and scales, and the weights that it stands for.
struct sample {
  tensors_in_memory file;
  std::vector<float> weights;

  sample(std::size_t out, std::size_t in, std::size_t block, bool fp4, bool nested) {
    const counter_random random(out * 1000 + in);
    std::uint64_t draw = 0;
    const std::vector<float>& map = fp4 ? fp4_map : nf4_map;
    const std::size_t n = out * in, blocks = (n + block - 1) / block;
    std::vector<float> absmax(blocks);
    std::string state = std::string(R"({"quant_type":")") + (fp4 ? "fp4" : "nf4") + R"(","blocksize":)" +
                        std::to_string(block) + R"(,"dtype":"float32","shape":[)" + std::to_string(out) + "," +
                        std::to_string(in) + "]";
    const auto number = [&] { return static_cast<float>(random.uniform(draw++)); };
    if (nested) {
      std::vector<float> nested_map(256), nested_absmax((blocks + 255) / 256);
      for (std::size_t i = 0; i < 256; ++i) nested_map[i] = (static_cast<float>(i) - 127.5f) / 127.5f;
      for (float& a : nested_absmax) a = 0.5f + number();
      std::vector<std::uint8_t> codes(blocks);
      for (std::size_t b = 0; b < blocks; ++b) {
        codes[b] = static_cast<std::uint8_t>(random.below(256, draw++));
        const volatile float product = nested_map[codes[b]] * nested_absmax[b / 256];  // rounded before the sum
        absmax[b] = product + 1.75f;
      }
      file.set("m.weight.absmax", io::dtype::u8, {blocks}, codes);
      file.set("m.weight.nested_absmax", io::dtype::f32, {nested_absmax.size()}, nested_absmax);
      file.set("m.weight.nested_quant_map", io::dtype::f32, {256}, nested_map);
      state += R"(,"nested_blocksize":256,"nested_dtype":"float32","nested_offset":1.75)";
    } else {
      for (float& a : absmax) a = number();
      file.set("m.weight.absmax", io::dtype::f32, {blocks}, absmax);
    }
    std::vector<std::uint8_t> bytes((n + 1) / 2);
    for (std::size_t i = 0; i < n; ++i) {
      const std::uint32_t code = random.below(16, draw++);
      bytes[i / 2] = static_cast<std::uint8_t>(bytes[i / 2] | (i % 2 == 0 ? code << 4 : code));
      weights.push_back(map[code] * absmax[i / block]);
    }
    file.set("m.weight", io::dtype::u8, {bytes.size(), 1}, bytes);
    file.set("m.weight.quant_map", io::dtype::f32, {16}, map);
    file.set_text(std::string("m.weight.quant_state.bitsandbytes__") + (fp4 ? "fp4" : "nf4"), state + "}");
  }
};

template <class Weights>
std::vector<float> all_of(const Weights& m) {
  std::vector<float> w(m.rows() * m.cols());
  m.dequantize({w.data(), m.rows(), m.cols()});
  return w;
}

}  // namespace

TEST_CASE("the worked example: 0xF6 under absmax 2 is 2 and -0.1821", "[io][bitsandbytes]") {
  sample s(2, 32, 64, false, false);
  std::vector<std::uint8_t> codes(32, 0x77);
  codes[0] = 0xf6;
  s.file.set("m.weight", io::dtype::u8, {32, 1}, codes);
  s.file.set("m.weight.absmax", io::dtype::f32, {1}, std::vector<float>{2});
  const std::string bytes = s.file.bytes();
  const auto file = io::safetensors_file::from_memory(as_bytes(bytes), "file");
  const std::vector<float> w = all_of(io::bitsandbytes_layer(file, "m"));
  CHECK(w[0] == 2.0f);
  CHECK(w[1] == 2 * -0.09105003625154495f);
  CHECK(w[2] == 0.0f);
}

TEST_CASE("bitsandbytes layers are read exactly", "[io][bitsandbytes]") {
  struct shape {
    std::size_t out, in, block;
  };
  for (const bool fp4 : {false, true})
    for (const bool nested : {false, true})
      for (const shape& s : {shape{8, 128, 64}, {300, 96, 64}, {5, 33, 32}, {3, 100, 4096}, {1, 1, 64}}) {
        INFO((fp4 ? "fp4" : "nf4") << (nested ? " nested " : " plain ") << s.out << "x" << s.in << " by " << s.block);
        const sample layer(s.out, s.in, s.block, fp4, nested);
        const std::string bytes = layer.file.bytes();
        const auto file = io::safetensors_file::from_memory(as_bytes(bytes), "file");
        CHECK(io::bitsandbytes_modules(file) == std::vector<std::string>{"m"});
        const io::bitsandbytes_layer read(file, "m");
        CHECK(read.type() == (fp4 ? io::bitsandbytes_type::fp4 : io::bitsandbytes_type::nf4));
        CHECK(read.nested() == nested);
        CHECK(read.rows() == s.out);
        CHECK(read.cols() == s.in);
        CHECK(read.block_size() == s.block);
        CHECK(all_of(read) == layer.weights);
        std::vector<float> last(s.in);
        read.dequantize_rows(s.out - 1, {last.data(), 1, s.in});
        CHECK(std::equal(last.begin(), last.end(), layer.weights.end() - static_cast<std::ptrdiff_t>(s.in)));
      }
}

TEST_CASE("NF4 and FP4 of bitsandbytes are ours", "[io][bitsandbytes]") {
  for (const bool nested : {false, true}) {
    const sample layer(24, 256, 64, false, nested);
    const std::string bytes = layer.file.bytes();
    const auto file = io::safetensors_file::from_memory(as_bytes(bytes), "file");
    const io::bitsandbytes_layer read(file, "m");
    CHECK(all_of(read.matrix<nf4<64>>()) == layer.weights);
    CHECK(all_of(read.matrix<nf4<32>>()) == layer.weights);
    CHECK(mentions(message_of<format_error>([&] { (void)read.matrix<nf4<128>>(); }), {"file", "m.weight", "of 64"}));
  }
  const std::string fp4_bytes = sample(24, 256, 64, true, false).file.bytes();
  const auto fp4_file = io::safetensors_file::from_memory(as_bytes(fp4_bytes), "file");
  const io::bitsandbytes_layer fp4_layer(fp4_file, "m");
  CHECK(all_of(fp4_layer.matrix<fp4<64>>()) == all_of(fp4_layer));
  const auto refusal = [](const sample& layer) {
    const std::string bytes = layer.file.bytes();
    const auto file = io::safetensors_file::from_memory(as_bytes(bytes), "file");
    return io::bitsandbytes_layer(file, "m").refusal<nf4<64>>();
  };
  CHECK(mentions(refusal({8, 96, 64, false, false}), {"cross"}));
  CHECK(mentions(refusal({8, 64, 64, true, false}), {"levels"}));
  sample other(8, 64, 64, false, false);
  std::vector<float> map = nf4_map;
  map[3] = -0.4f;  // the file's own table counts
  other.file.set("m.weight.quant_map", io::dtype::f32, {16}, map);
  CHECK(mentions(refusal(other), {"levels"}));
}

TEST_CASE("every broken rule of a bitsandbytes layer has its message", "[io][bitsandbytes][hostile]") {
  const std::string state = "m.weight.quant_state.bitsandbytes__nf4";
  const auto text = [](const std::string& fields) { return R"({"quant_type":"nf4","dtype":"float32")" + fields + "}"; };
  const auto message = [](bool nested, auto change) {
    sample s(8, 64, 64, false, nested);
    change(s.file);
    const std::string bytes = s.file.bytes();
    const auto file = io::safetensors_file::from_memory(as_bytes(bytes), "file");
    try {
      io::bitsandbytes_layer layer(file, "m");
    } catch (const error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  REQUIRE(message(false, [](auto&) {}).empty());
  REQUIRE(message(true, [](auto&) {}).empty());
  const auto broken = [&](bool nested, auto change, std::initializer_list<std::string_view> parts) {
    const std::string said = message(nested, change);
    INFO(said);
    CHECK(said.starts_with("file: "));
    CHECK(mentions(said, parts));
  };
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  for (const char* name : {"m.weight", "m.weight.absmax", "m.weight.quant_map", state.c_str()})
    broken(false, [&](auto& f) { f.tensors.erase(name); }, {name});
  for (const char* name : {"m.weight.nested_absmax", "m.weight.nested_quant_map"})
    broken(true, [&](auto& f) { f.tensors.erase(name); }, {name});
  const auto with_state = [&](const std::string& fields, std::initializer_list<std::string_view> parts) {
    broken(false, [&](auto& f) { f.set_text(state, text(fields)); }, parts);
  };
  with_state("", {state, "'shape'"});
  with_state(R"(,"blocksize":64,"shape":null)", {state, "'shape'"});
  with_state(R"(,"blocksize":64,"shape":[])", {state, "'shape'"});
  with_state(R"(,"blocksize":64,"shape":[8,-64])", {state, "'shape'", "positive"});
  with_state(R"(,"blocksize":64,"shape":[8,0])", {state, "'shape'", "positive"});
  with_state(R"(,"blocksize":64,"shape":[8,64.0])", {state, "'shape'"});
  with_state(R"(,"blocksize":64,"shape":[4294967296,4294967296])", {state, "overflows"});
  with_state(R"(,"blocksize":64,"shape":[8,63])", {"'m.weight'", "256 bytes", "[8, 63]", "252"});
  with_state(R"(,"shape":[8,64])", {state, "'blocksize'"});
  with_state(R"(,"blocksize":0,"shape":[8,64])", {state, "'blocksize' 0"});
  with_state(R"(,"blocksize":96,"shape":[8,64])", {state, "'blocksize' 96", "power of two"});
  with_state(R"(,"blocksize":8192,"shape":[8,64])", {state, "8192"});
  with_state(R"(,"blocksize":32,"shape":[8,64])", {"'m.weight.absmax'", "8 elements", "need 16"});
  with_state(R"(,"blocksize":64,"blocksize":64,"shape":[8,64])", {state, "twice"});
  broken(false, [&](auto& f) { f.set_text(state, "{"); }, {state, "JSON"});
  broken(false, [&](auto& f) { f.set_text(state, "[1]"); }, {state, "object"});
  broken(false, [&](auto& f) { f.set_text(state, std::string(100000, ' ')); }, {state, "short"});
  broken(false, [&](auto& f) { f.set_text(state, R"({"quant_type":"fp4","blocksize":64,"shape":[8,64]})"); },
         {state, "'quant_type'"});
  broken(false, [&](auto& f) { f.set_text("m.weight.quant_state.bitsandbytes__fp4", "{}"); }, {"'m.weight'", "both"});
  broken(false,
         [&](auto& f) { f.set("m.weight.absmax", io::dtype::f32, {8}, std::vector<float>{1, 1, 1, nan, 1, 1, 1, 1}); },
         {"'m.weight.absmax'", "block 3", "not finite"});
  broken(false, [&](auto& f) { f.set("m.weight.absmax", io::dtype::u8, {8}, std::vector<std::uint8_t>(8)); },
         {"'m.weight.absmax'", "u8"});
  broken(false, [&](auto& f) { f.set("m.weight.absmax", io::dtype::f32, {7}, std::vector<float>(7)); },
         {"'m.weight.absmax'", "7 elements"});
  broken(false, [&](auto& f) { f.set("m.weight.quant_map", io::dtype::f32, {15}, std::vector<float>(15)); },
         {"'m.weight.quant_map'", "[15]", "16"});
  broken(false, [&](auto& f) { f.set("m.weight.quant_map", io::dtype::f32, {16}, std::vector<float>(16, infinity)); },
         {"'m.weight.quant_map'", "not finite"});
  broken(false,
         [&](auto& f) {
           f.set("m.weight.quant_map", io::dtype::f32, {16}, std::vector<float>(16, 1e30f));
           f.set("m.weight.absmax", io::dtype::f32, {8}, std::vector<float>(8, 1e30f));
         },
         {"'m.weight.absmax'", "largest"});
  const auto nested_state = [&](const std::string& fields, std::initializer_list<std::string_view> parts) {
    broken(true, [&](auto& f) { f.set_text(state, text(R"(,"blocksize":64,"shape":[8,64])" + fields)); }, parts);
  };
  nested_state("", {state, "'nested_blocksize'"});
  nested_state(R"(,"nested_blocksize":3,"nested_offset":0)", {state, "power of two"});
  nested_state(R"(,"nested_blocksize":256)", {state, "'nested_offset'"});
  nested_state(R"(,"nested_blocksize":256,"nested_offset":"0")", {state, "'nested_offset'"});
  nested_state(R"(,"nested_blocksize":256,"nested_offset":1e39)", {state, "'nested_offset'", "not finite"});
  nested_state(R"(,"nested_blocksize":256,"nested_offset":0,"nested_dtype":"float16")", {state, "'nested_dtype'"});
  broken(true, [&](auto& f) { f.set("m.weight.nested_quant_map", io::dtype::f32, {255}, std::vector<float>(255)); },
         {"'m.weight.nested_quant_map'", "[255]", "256"});
  broken(true, [&](auto& f) { f.set("m.weight.nested_absmax", io::dtype::f32, {2}, std::vector<float>(2)); },
         {"'m.weight.nested_absmax'", "[2]", "need 1"});
  broken(true, [&](auto& f) { f.set("m.weight.nested_absmax", io::dtype::f32, {1}, std::vector<float>{nan}); },
         {"'m.weight.absmax'", "not finite"});
  broken(true, [&](auto& f) { f.set("m.weight.absmax", io::dtype::f32, {8}, std::vector<float>(8)); },
         {"'m.weight.absmax'", "must be u8"});

  const sample good(8, 64, 64, false, false);
  const std::string bytes = good.file.bytes();
  const auto file = io::safetensors_file::from_memory(as_bytes(bytes), "file");
  const io::bitsandbytes_layer layer(file, "m");
  std::vector<float> out(64);
  CHECK(mentions(message_of<shape_error>([&] { layer.dequantize_rows(8, {out.data(), 1, 64}); }), {"'m.weight'"}));
  CHECK_THROWS_AS(layer.dequantize_rows(0, {out.data(), 1, 63}), shape_error);
}
