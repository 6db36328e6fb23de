// SPDX-License-Identifier: MIT
// GPTQ checkpoints against layers packed bit by bit: both versions, all widths, activation order, both repairs of zero
// points, as rows and as matrices; and every way in which a checkpoint may be wrong.

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include <qwha/io/gptq_checkpoint.hpp>
#include "catch.hpp"
#include "expect.hpp"
#include "io/files.hpp"
#include "io/gptq_samples.hpp"

namespace {

using namespace qwha;
using namespace qwha::test;

io::gptq_config configured(io::gptq_version version, int bits = 0, std::optional<std::size_t> group = {}) {
  io::gptq_config c;
  c.version = version;
  c.bits = bits;
  c.group_size = group;
  return c;
}

std::vector<float> dequantized(const io::gptq_layer& layer) {
  std::vector<float> w(layer.rows() * layer.cols());
  layer.dequantize({w.data(), layer.rows(), layer.cols()});
  return w;
}

/// The number of weights that differ from the sample's, bit for bit.
std::size_t differing(const gptq_sample& s, const std::vector<float>& w) {
  std::size_t count = w.size() == s.out * s.in ? 0 : 1;
  for (std::size_t o = 0; count == 0 && o < s.out; ++o)
    for (std::size_t i = 0; i < s.in; ++i) count += w[o * s.in + i] != s.weight(o, i);
  return count;
}

template <class Q>
std::vector<float> all_of(const quantized_matrix<Q>& m) {
  std::vector<float> w(m.rows() * m.cols());
  m.dequantize({w.data(), m.rows(), m.cols()});
  return w;
}

io::gptq_checkpoint opened(const std::string& bytes, const io::gptq_config& config,
                           io::gptq_zero_repair repair = io::gptq_zero_repair::per_field) {
  return {io::safetensors_file::from_memory(as_bytes(bytes), "file"), config, repair};
}

/// What reading module "m" says; empty when it is read.
std::string refusal(const gptq_tensors& tensors, const io::gptq_config& config = {}) {
  const std::string bytes = tensors.bytes();
  const auto checkpoint = opened(bytes, config);
  try {
    (void)checkpoint.layer("m");
  } catch (const error& e) {
    return e.what();
  }
  return {};
}

}  // namespace

TEST_CASE("the packing of these tests is the format's", "[io][gptq]") {
  CHECK(packed_words({0, 1, 2, 3, 4, 5, 6, 7}, 4) == std::vector<std::int32_t>{0x76543210});
  std::vector<unsigned> codes(32);
  for (unsigned i = 0; i < 32; ++i) codes[i] = i % 8;
  const auto as_signed = [](std::uint32_t x) { return static_cast<std::int32_t>(x); };
  CHECK(packed_words(codes, 3) ==
        std::vector<std::int32_t>{as_signed(0x88FAC688u), as_signed(0xC688FAC6u), as_signed(0xFAC688FAu)});
}

TEST_CASE("GPTQ layers of every width and version are read exactly", "[io][gptq]") {
  for (const int bits : {2, 3, 4, 8})
    for (const int version : {1, 2})
      for (const bool act_order : {false, true})
        for (const auto& [out, in, group] : {std::array<std::size_t, 3>{32, 64, 32}, {96, 160, 64}, {64, 96, 96}}) {
          INFO(bits << " bits, version " << version << ", act order " << act_order << ", " << out << "x" << in);
          const auto sample = gptq_sample::random(bits, out, in, group, act_order);
          const std::string bytes = gptq_tensors(sample, version).bytes();
          const auto config = configured(version == 1 ? io::gptq_version::v1 : io::gptq_version::v2);
          const auto checkpoint = opened(bytes, config);
          CHECK(checkpoint.modules() == std::vector<std::string>{"m"});
          const io::gptq_layer layer = checkpoint.layer("m");
          CHECK(layer.rows() == out);
          CHECK(layer.cols() == in);
          CHECK(layer.bits() == bits);
          CHECK(layer.groups() == sample.groups());
          CHECK(layer.group_size() == (act_order && sample.groups() > 1 ? 0 : group));
          CHECK(differing(sample, dequantized(layer)) == 0);
          std::vector<float> slab(3 * in);  // rows that start and end inside a band
          layer.dequantize_rows(out - 4, {slab.data(), 3, in});
          for (std::size_t i = 0; i < 3 * in; ++i) REQUIRE(slab[i] == sample.weight(out - 4 + i / in, i % in));
        }
}

TEST_CASE("a GPTQ layer is an affine matrix, bit for bit", "[io][gptq]") {
  const auto check = [&]<class Q>(Q, std::size_t group, std::size_t in) {
    INFO(Q::name() << " from groups of " << group << ", in = " << in);
    const auto sample = gptq_sample::random(Q::bits, 96, in, group);
    const std::string bytes = gptq_tensors(sample, 2).bytes();
    const auto layer = opened(bytes, configured(io::gptq_version::v2)).layer("m");
    CHECK(layer.refusal<Q>().empty());
    CHECK(differing(sample, all_of(layer.matrix<Q>())) == 0);
  };
  check(affine<2, 64>{}, 64, 256);
  check(affine<3, 64>{}, 64, 256);
  check(affine<3, 32>{}, 32, 96);
  check(affine<4, 64>{}, 64, 256);
  check(affine<8, 64>{}, 64, 256);
  check(affine<4, 32>{}, 128, 256);                                // four of ours in one group
  check(affine<3, 64>{}, 256, 256);                                // one group for the row
  check(affine<4, 64>{}, 64, 224);                                 // a short last group
  check(affine<4, 64, zero_point::asymmetric, float>{}, 64, 256);  // wider scales hold them too

  auto sample = gptq_sample::random(4, 32, 64, 32);
  const auto refusal_of = [&]<class Q>(Q, const gptq_sample& s) {
    const std::string bytes = gptq_tensors(s, 2).bytes();
    const auto layer = opened(bytes, configured(io::gptq_version::v2)).layer("m");
    const std::string why = layer.refusal<Q>();
    const std::string message = message_of<format_error>([&] { (void)layer.matrix<Q>(); });
    CHECK(mentions(message, {"file", "'m'"}));
    CHECK(message.find(why) != message.npos);
    return why;
  };
  CHECK(mentions(refusal_of(affine<3, 32>{}, sample), {"4 bits"}));
  CHECK(mentions(refusal_of(affine<4, 64>{}, sample), {"groups of 32"}));
  CHECK(mentions(refusal_of(affine<4, 32, zero_point::symmetric>{}, sample), {"zero points"}));
  CHECK(mentions(refusal_of(affine<4, 32, zero_point::asymmetric, bfloat16>{}, sample), {"f16"}));
  CHECK(mentions(refusal_of(affine<4, 32>{}, gptq_sample::random(4, 32, 64, 32, true)), {"activation order"}));
  std::fill(sample.zeros.begin(), sample.zeros.end(), 8u);
  const std::string bytes = gptq_tensors(sample, 1).bytes();
  const auto layer = opened(bytes, {}).layer("m");
  CHECK(layer.symmetric());
  CHECK(differing(sample, all_of(layer.matrix<affine<4, 32, zero_point::symmetric>>())) == 0);
}

TEST_CASE("zero points of version 1 are repaired by field or by word", "[io][gptq]") {
  for (const int bits : {2, 4, 8}) {
    INFO(bits);
    auto sample = gptq_sample::random(bits, 64, 64, 64);
    sample.zeros[0] = 0;
    gptq_tensors tensors(sample, 2);
    // As GPTQModel saves version 1: one subtracted from every field at once, with borrows.
    const std::uint32_t ones = bits == 2 ? 0x55555555u : bits == 4 ? 0x11111111u : 0x01010101u;
    for (std::int32_t& word : tensors.qzeros) word = static_cast<std::int32_t>(static_cast<std::uint32_t>(word) - ones);
    const std::string bytes = tensors.bytes();
    const auto config = configured(io::gptq_version::v1);
    CHECK(differing(sample, dequantized(opened(bytes, config, io::gptq_zero_repair::per_word).layer("m"))) == 0);
    CHECK(differing(sample, dequantized(opened(bytes, config).layer("m"))) != 0);  // some zero point is 0
    // Without a zero point 0 there is no borrow, and both agree.
    auto positive = sample;
    for (unsigned& z : positive.zeros) z = z == 0 ? 1 : z;
    const std::string plain = gptq_tensors(positive, 1).bytes();
    CHECK(differing(positive, dequantized(opened(plain, config, io::gptq_zero_repair::per_word).layer("m"))) == 0);
    CHECK(differing(positive, dequantized(opened(plain, config).layer("m"))) == 0);
  }
  const std::string three = gptq_tensors(gptq_sample::random(3, 32, 32, 32), 1).bytes();
  CHECK(mentions(message_of<format_error>([&] { (void)opened(three, {}, io::gptq_zero_repair::per_word).layer("m"); }),
                 {"m.qzeros", "3 bits"}));
}

TEST_CASE("a layer without g_idx has its groups one after another", "[io][gptq]") {
  const auto sample = gptq_sample::random(4, 32, 96, 32);
  gptq_tensors tensors(sample, 2);
  const auto read = [&](const io::gptq_config& config) {
    const std::string bytes = tensors.bytes();
    return differing(sample, dequantized(opened(bytes, config).layer("m")));
  };
  std::fill(tensors.g_idx.begin(), tensors.g_idx.end(), 0);  // never filled in
  CHECK(read(configured(io::gptq_version::v2)) == 0);
  CHECK(read(configured(io::gptq_version::v2, 4, 32)) == 0);
  const auto whole = gptq_sample::random(4, 32, 96, 96);  // one group, whatever the configuration says of others
  const std::string one = gptq_tensors(whole, 2).bytes();
  CHECK(differing(whole, dequantized(opened(one, configured(io::gptq_version::v2, 4, 32)).layer("m"))) == 0);
  tensors.g_idx_shape.clear();  // not there
  CHECK(read(configured(io::gptq_version::v2, 4, 32)) == 0);
  CHECK(read(configured(io::gptq_version::v2)) == 0);
}

TEST_CASE("the bits of a layer come from its shapes", "[io][gptq]") {
  // A configuration of 4 bits with a module of 8: the module has the last word.
  const auto sample = gptq_sample::random(8, 32, 64, 32);
  const std::string bytes = gptq_tensors(sample, 2).bytes();
  CHECK(differing(sample, dequantized(opened(bytes, configured(io::gptq_version::v2, 4, 32)).layer("m"))) == 0);
}

TEST_CASE("GPTQ configurations of all writers are understood", "[io][gptq]") {
  const auto parse = [](const std::string& text) { return io::parse_gptq_config("c", nlohmann::json::parse(text)); };
  CHECK(parse("{}").version == io::gptq_version::v1);
  const auto old = parse(R"({"bits":3,"group_size":128,"damp_percent":0.01,"desc_act":true,"static_groups":false,
      "sym":false,"true_sequential":true,"model_name_or_path":null,"model_file_base_name":"gptq_model-3bit-128g"})");
  CHECK(old.bits == 3);
  CHECK(old.group_size == 128);
  CHECK(old.act_order);
  CHECK_FALSE(old.symmetric);
  CHECK(old.model_file == "gptq_model-3bit-128g");
  const auto recent = parse(R"({"bits":4,"dynamic":{},"group_size":-1,"lm_head":false,"method":"gptq",
      "quant_method":"gptq","format":"gptq_v2","checkpoint_format":"gptq_v2","pack_dtype":"int32",
      "meta":{"quantizer":["gptqmodel:7.7.0"],"damp_percent":0.05}})");
  CHECK(recent.version == io::gptq_version::v2);
  CHECK(recent.group_size == 0);
  CHECK(recent.quantizer == std::vector<std::string>{"gptqmodel:7.7.0"});

  const auto broken = [&](const std::string& text) { return message_of<format_error>([&] { parse(text); }); };
  for (const char* layout : {"gptq_p", "marlin", "bitblas", "gemm"})
    CHECK(mentions(broken(std::string(R"({"checkpoint_format":")") + layout + "\"}"), {"c: ", layout}));
  CHECK(mentions(broken(R"({"is_marlin_format":true})"), {"marlin"}));
  CHECK(mentions(broken(R"({"quant_method":"awq"})"), {"'awq'"}));
  CHECK(mentions(broken(R"({"format":"gptq","checkpoint_format":"gptq_v2"})"), {"'gptq_v2'", "'gptq'"}));
  CHECK(mentions(broken(R"({"pack_dtype":"int16"})"), {"'int16'"}));
  CHECK(mentions(broken(R"({"bits":5})"), {"5"}));
  CHECK(mentions(broken(R"({"bits":"4"})"), {"'bits'"}));
  CHECK(mentions(broken(R"({"bits":18446744073709551615})"), {"'bits'"}));
  CHECK(mentions(broken(R"({"group_size":0})"), {"'group_size'"}));
  CHECK(mentions(broken(R"({"group_size":-2})"), {"'group_size'"}));
  CHECK(mentions(broken(R"({"group_size":1.5})"), {"'group_size'"}));
  CHECK(mentions(broken(R"({"sym":1})"), {"'sym'"}));
  CHECK(mentions(broken(R"({"checkpoint_format":4})"), {"'checkpoint_format'"}));
  CHECK(mentions(broken("[]"), {"object"}));
  for (const char* path : {"../model", "/etc/model", "a/b", "..", "c:model"})
    CHECK(mentions(broken(std::string(R"({"model_file_base_name":")") + path + "\"}"), {"plain file name"}));
}

TEST_CASE("a GPTQ folder is found its files", "[io][gptq]") {
  const auto sample = gptq_sample::random(4, 32, 64, 32);
  const std::string v1 = gptq_tensors(sample, 1).bytes(), v2 = gptq_tensors(sample, 2).bytes();
  {
    const scratch_folder folder;  // old AutoGPTQ
    write_bytes(folder / "gptq_model-4bit-32g.safetensors", v1);
    write_bytes(folder / "other.safetensors", v1);
    write_bytes(folder / "quantize_config.json",
                R"({"bits":4,"group_size":32,"model_file_base_name":"gptq_model-4bit-32g"})");
    CHECK(differing(sample, dequantized(io::gptq_checkpoint(folder.path()).layer("m"))) == 0);
  }
  {
    const scratch_folder folder;  // transformers: all in config.json
    write_bytes(folder / "model.safetensors", v2);
    write_bytes(folder / "config.json", R"({"quantization_config":{"bits":4,"checkpoint_format":"gptq_v2"}})");
    CHECK(differing(sample, dequantized(io::gptq_checkpoint(folder.path()).layer("m"))) == 0);
    write_bytes(folder / "quantize_config.json", R"({"bits":4,"checkpoint_format":"gptq"})");
    CHECK(mentions(message_of<format_error>([&] { io::gptq_checkpoint c(folder.path()); }), {"config.json", "layout"}));
    write_bytes(folder / "quantize_config.json", "{");
    CHECK(mentions(message_of<format_error>([&] { io::gptq_checkpoint c(folder.path()); }),
                   {"quantize_config.json", "JSON"}));
  }
  {
    const scratch_folder folder;  // shards
    gptq_tensors tensors(sample, 1);
    write_bytes(folder / "a.safetensors", tensors.bytes("x"));
    write_bytes(folder / "b.safetensors", tensors.bytes("y"));
    std::string map;
    for (const char* name : {"qweight", "qzeros", "scales", "g_idx"})
      map += std::string(map.empty() ? "" : ",") + "\"x." + name + "\":\"a.safetensors\",\"y." + name +
             "\":\"b.safetensors\"";
    write_bytes(folder / "model.safetensors.index.json", "{\"weight_map\":{" + map + "}}");
    const io::gptq_checkpoint checkpoint(folder.path());
    CHECK(checkpoint.modules() == std::vector<std::string>{"x", "y"});
    CHECK(differing(sample, dequantized(checkpoint.layer("y"))) == 0);
  }
  const scratch_folder folder;
  CHECK(mentions(message_of<format_error>([&] { io::gptq_checkpoint c(folder.path()); }), {"model.safetensors"}));
}

TEST_CASE("every broken rule of a GPTQ layer has its message", "[io][gptq][hostile]") {
  const auto sample = gptq_sample::random(4, 32, 64, 32);
  const gptq_tensors good(sample, 2);
  REQUIRE(refusal(good).empty());
  const auto broken = [&](auto change, std::initializer_list<std::string_view> parts, io::gptq_config config = {}) {
    gptq_tensors tensors = good;
    change(tensors);
    const std::string message = refusal(tensors, config);
    INFO(message);
    CHECK(message.starts_with("file: "));
    CHECK(mentions(message, parts));
  };
  broken([](auto& t) { t.qzeros_shape.clear(); }, {"'m.qzeros'"});
  broken([](auto& t) { t.scales_shape.clear(); }, {"'m.scales'"});
  broken([](auto& t) { t.qweight_shape = {8 * 32}; }, {"'m.qweight'", "matrix"});
  broken([](auto& t) { t.qweight_shape = {2, 4, 32}; }, {"'m.qweight'", "matrix"});
  broken([](auto& t) { t.qweight_shape = {32, 8}; }, {"'m.scales'", "[groups, 8]"});
  broken([](auto& t) { t.scales_shape = {32, 2}; }, {"'m.scales'", "[groups, 32]"});
  broken([](auto& t) { t.scales_shape = {64}; }, {"'m.scales'"});
  broken([](auto& t) { t.scales_shape = {1, 32}, t.scales.resize(32); }, {"'m.qzeros'", "1 groups"});
  broken([](auto& t) { t.qzeros_shape = {4, 2}; }, {"'m.qweight'", "qzeros [4, 2]"});
  broken([](auto& t) { t.qzeros_shape = {2, 5}, t.qzeros.resize(10); }, {"'m.qweight'", "[2, 5]"});
  broken([](auto& t) { t.qweight_shape = {7, 32}, t.qweight.resize(7 * 32); }, {"'m.qweight'", "64 inputs"});
  broken([](auto& t) { t.qweight_shape = {0, 32}, t.qweight.clear(); }, {"'m.qweight'"});
  broken([](auto& t) { t.g_idx_shape = {8, 8}; }, {"'m.g_idx'", "[in]"});
  broken([](auto& t) { t.g_idx_shape = {56}, t.g_idx.resize(56); }, {"'m.qweight'", "56 inputs"});
  broken([](auto& t) { t.g_idx[5] = 2; }, {"'m.g_idx'", "input 5", "group 2"});
  broken([](auto& t) { t.g_idx[63] = -1; }, {"'m.g_idx'", "input 63", "group -1"});
  broken([](auto& t) { t.g_idx[0] = std::numeric_limits<std::int32_t>::min(); }, {"'m.g_idx'", "input 0"});
  broken([](auto& t) { t.scales[40] = half::from_bits(0x7e00); }, {"'m.scales'", "group 1", "output 8"});
  broken([](auto& t) { t.scales[0] = half::from_bits(0x7c00); }, {"'m.scales'", "group 0", "not finite"});
  broken([](auto& t) { t.g_idx_shape.clear(); }, {"'m.scales'", "another number"},
         configured(io::gptq_version::v2, 4, 16));
  // 8 outputs: zero points of 2, 3 and 4 bits all fill one word, and without g_idx nobody knows the inputs.
  gptq_tensors narrow(gptq_sample::random(4, 8, 64, 32), 2);
  narrow.g_idx_shape.clear();
  CHECK(mentions(refusal(narrow), {"'m.qweight'", "several widths"}));
  CHECK(refusal(narrow, configured(io::gptq_version::v2, 4)).empty());

  const std::string bytes = good.bytes();
  const auto checkpoint = opened(bytes, {});
  CHECK(mentions(message_of<format_error>([&] { (void)checkpoint.layer("n"); }), {"file", "'n.qweight'"}));
  const auto layer = checkpoint.layer("m");
  std::vector<float> out(64);
  CHECK(mentions(message_of<shape_error>([&] { layer.dequantize_rows(32, {out.data(), 1, 64}); }), {"'m'"}));
  CHECK_THROWS_AS(layer.dequantize_rows(0, {out.data(), 1, 32}), shape_error);
  CHECK_THROWS_AS(layer.dequantize({out.data(), 1, 64}), shape_error);
}
