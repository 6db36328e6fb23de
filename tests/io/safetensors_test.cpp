// SPDX-License-Identifier: MIT
// The safetensors reader and writer against the format's own text: worked example, types, order, shards.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include <qwha/io/safetensors.hpp>
#include <qwha/io/safetensors_writer.hpp>
#include "catch.hpp"
#include "expect.hpp"
#include "io/files.hpp"

namespace {

using namespace qwha;
using namespace qwha::test;

std::string emitted(std::span<const io::tensor> tensors, const std::map<std::string, std::string>& metadata = {}) {
  std::string bytes;
  io::emit_safetensors([&](const void* data, std::size_t size) { bytes.append(static_cast<const char*>(data), size); },
                       "test", tensors, metadata);
  return bytes;
}

/// The 104 bytes that the official writer gives for w = [1, -2], from the format's description.
const std::string worked_example =
    std::string("\x58\0\0\0\0\0\0\0", 8) +
    "{\"__metadata__\":{\"format\":\"pt\"},\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}   " +
    std::string("\x00\x00\x80\x3f\x00\x00\x00\xc0", 8);

}  // namespace

TEST_CASE("the worked example is read and written byte for byte", "[io][safetensors]") {
  REQUIRE(worked_example.size() == 104);
  const auto file = io::safetensors_file::from_memory(as_bytes(worked_example));
  CHECK(file.names() == std::vector<std::string>{"w"});
  CHECK(file.at("w").dtype == io::dtype::f32);
  CHECK(file.at("w").shape == std::vector<std::size_t>{2});
  CHECK(file.read<float>("w") == std::vector<float>{1, -2});
  CHECK(file.metadata().at("format") == "pt");

  const std::vector<float> values{1, -2};
  CHECK(emitted(std::vector{io::tensor_of<float>("w", {2}, values)}, {{"format", "pt"}}) == worked_example);
}

TEST_CASE("files go through the disk unchanged and tensors sort widest first", "[io][safetensors]") {
  const scratch_folder folder;
  const std::vector<float> f{1.5f, -2, 3, 4, 5, 6};
  const std::vector<std::int64_t> i{-1, std::int64_t{1} << 60};
  const std::vector<std::uint8_t> u{1, 2, 255};
  const std::vector<half> h{half(0.5f), half(65504.f)};
  const std::vector<bfloat16> b{bfloat16(3.f)};
  const std::vector<float> none;
  std::vector<io::tensor> tensors{
      io::tensor_of<std::uint8_t>("a bytes", {3}, u), io::tensor_of<float>("matrix \"quoted\" \xc3\xa9", {2, 3}, f),
      io::tensor_of<half>("halves", {1, 2}, h),       io::tensor_of<bfloat16>("scalar", {}, b),
      io::tensor_of<std::int64_t>("longs", {2}, i),   io::tensor_of<float>("empty", {0, 7}, none)};
  io::write_safetensors(folder / "t.safetensors", tensors, {{"note", "line\nbreak"}});
  CHECK(folder.entries() == 1);  // no temporary file is left

  const io::safetensors_file file(folder / "t.safetensors");
  CHECK(file.names() ==
        std::vector<std::string>{"longs", "empty", "matrix \"quoted\" \xc3\xa9", "scalar", "halves", "a bytes"});
  for (const io::tensor& t : tensors) {
    INFO(t.name);
    const io::tensor& back = file.at(t.name);
    CHECK(back.dtype == t.dtype);
    CHECK(back.shape == t.shape);
    REQUIRE(back.bytes.size() == t.bytes.size());
    CHECK((t.bytes.empty() || std::memcmp(back.bytes.data(), t.bytes.data(), t.bytes.size()) == 0));
  }
  CHECK(file.metadata().at("note") == "line\nbreak");
  CHECK(emitted(file.tensors(), file.metadata()) == read_bytes(folder / "t.safetensors"));
  CHECK(file.read<float>("halves") == std::vector<float>{0.5f, 65504.f});
  CHECK(file.read<double>("scalar") == std::vector<double>{3});
  CHECK(file.read<std::int64_t>("longs") == i);
  CHECK(file.read<float>("matrix \"quoted\" \xc3\xa9", executor::serial()) == f);
}

TEST_CASE("every alignment of a tensor can be read", "[io][safetensors]") {
  for (std::size_t shift = 0; shift < 8; ++shift) {
    const std::string buffer = std::string(shift, '\1') + raw(1.0) + raw(-2.5);
    const std::string header = "{\"pad\":{\"dtype\":\"U8\",\"shape\":[" + std::to_string(shift) +
                               "],\"data_offsets\":[0," + std::to_string(shift) +
                               "]},\"x\":{\"dtype\":\"F64\",\"shape\":[2],\"data_offsets\":[" + std::to_string(shift) +
                               "," + std::to_string(shift + 16) + "]}}";
    const std::string bytes = safetensors_bytes(header, buffer);
    CHECK(io::safetensors_file::from_memory(as_bytes(bytes)).read<double>("x") == std::vector<double>{1, -2.5});
  }
}

TEST_CASE("integers are read exactly or not at all", "[io][convert]") {
  const std::vector<double> whole{0, -7, 127}, broken{0, 0.5}, large{128},
      endless{std::numeric_limits<double>::infinity()};
  const std::vector<std::int64_t> long_values{std::numeric_limits<std::int64_t>::max()};
  const auto file = [](const io::tensor& t) { return emitted(std::vector{t}); };
  const auto read = [&]<class T>(const io::tensor& t, T) {
    const std::string bytes = file(t);
    return io::safetensors_file::from_memory(as_bytes(bytes)).template read<T>("x");
  };
  CHECK(read(io::tensor_of<double>("x", {3}, whole), std::int8_t{}) == std::vector<std::int8_t>{0, -7, 127});
  CHECK_THROWS_AS(read(io::tensor_of<double>("x", {3}, whole), std::uint8_t{}), value_error);
  CHECK_THROWS_AS(read(io::tensor_of<double>("x", {2}, broken), std::int8_t{}), value_error);
  CHECK_THROWS_AS(read(io::tensor_of<double>("x", {1}, large), std::int8_t{}), value_error);
  CHECK_THROWS_AS(read(io::tensor_of<double>("x", {1}, endless), std::int64_t{}), value_error);
  CHECK_THROWS_AS(read(io::tensor_of<std::int64_t>("x", {1}, long_values), std::int32_t{}), value_error);
  CHECK(read(io::tensor_of<std::int64_t>("x", {1}, long_values), std::uint64_t{}) ==
        std::vector<std::uint64_t>{0x7fffffffffffffffu});
  CHECK(std::isinf(read(io::tensor_of<double>("x", {1}, endless), float{})[0]));  // values are as in the file
}

TEST_CASE("small floating-point types match their definitions", "[io][convert]") {
  // Value of a code by its definition: (-1)^s 2^(e - bias) (1 + m / 2^M), subnormals without the 1.
  const auto by_definition = [](unsigned code, int exponent_bits, int mantissa_bits, int bias) {
    const double sign = (code >> (exponent_bits + mantissa_bits)) & 1u ? -1 : 1;
    const int e = static_cast<int>((code >> mantissa_bits) & ((1u << exponent_bits) - 1u));
    const double m = (code & ((1u << mantissa_bits) - 1u)) / std::pow(2.0, mantissa_bits);
    return sign * (e == 0 ? std::pow(2.0, 1 - bias) * m : std::pow(2.0, e - bias) * (1 + m));
  };
  std::string all;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  const auto read = [&](const std::string& type, std::size_t count) {
    const std::string bytes = safetensors_bytes(
        "{\"x\":{\"dtype\":\"" + type + "\",\"shape\":[" + std::to_string(count) + "],\"data_offsets\":[0,256]}}", all);
    return io::safetensors_file::from_memory(as_bytes(bytes)).read<float>("x");
  };
  const auto e4m3 = read("F8_E4M3", 256), e5m2 = read("F8_E5M2", 256), e8m0 = read("F8_E8M0", 256),
             e4m3z = read("F8_E4M3FNUZ", 256), e5m2z = read("F8_E5M2FNUZ", 256), f4 = read("F4", 512);
  for (unsigned c = 0; c < 256; ++c) {
    INFO("code " << c);
    if ((c & 0x7f) == 0x7f)
      CHECK(std::isnan(e4m3[c]));
    else
      CHECK(e4m3[c] == by_definition(c, 4, 3, 7));
    if ((c & 0x7c) != 0x7c)
      CHECK(e5m2[c] == by_definition(c, 5, 2, 15));
    else
      CHECK((c & 3 ? std::isnan(e5m2[c]) : std::isinf(e5m2[c])));
    if (c == 0xff)
      CHECK(std::isnan(e8m0[c]));
    else
      CHECK(e8m0[c] == std::pow(2.0, static_cast<int>(c) - 127));
    if (c == 0x80)
      CHECK((std::isnan(e4m3z[c]) && std::isnan(e5m2z[c])));
    else
      CHECK((e4m3z[c] == by_definition(c, 4, 3, 8) && e5m2z[c] == by_definition(c, 5, 2, 16)));
    CHECK(f4[2 * c] == by_definition(c & 15, 2, 1, 1));
    CHECK(f4[2 * c + 1] == by_definition(c >> 4, 2, 1, 1));
  }
  CHECK_THROWS_AS(read("F6_E2M3", 1), format_error);  // and its bytes do not fit 256
}

TEST_CASE("rows are read by slabs", "[io][convert]") {
  std::vector<float> values(5 * 7);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  const std::string bytes = emitted(std::vector{io::tensor_of<float>("m", {5, 7}, values)});
  const auto file = io::safetensors_file::from_memory(as_bytes(bytes));
  std::vector<double> out(2 * 9, -1);
  file.read_rows("m", 3, rows_view<double>(out.data(), 2, 7, 9));
  for (std::size_t r = 0; r < 2; ++r)
    for (std::size_t c = 0; c < 9; ++c) CHECK(out[r * 9 + c] == (c < 7 ? static_cast<double>((3 + r) * 7 + c) : -1));
  CHECK_THROWS_AS(file.read_rows("m", 4, rows_view<double>(out.data(), 2, 7)), shape_error);
  CHECK_THROWS_AS(file.read_rows("m", 6, rows_view<double>(out.data(), 0, 7)), shape_error);
  CHECK_THROWS_AS(file.read_rows("m", 0, rows_view<double>(out.data(), 1, 6)), shape_error);
  CHECK_THROWS_AS(file.read_rows("n", 0, rows_view<double>(out.data(), 1, 7)), format_error);

  // F4 rows of odd length start inside a byte.
  const std::string packed =
      safetensors_bytes("{\"x\":{\"dtype\":\"F4\",\"shape\":[2,3],\"data_offsets\":[0,3]}}", "\x21\x43\x65");
  const auto odd = io::safetensors_file::from_memory(as_bytes(packed));
  std::vector<float> row(3);
  odd.read_rows("x", 1, rows_view<float>(row.data(), 1, 3));
  CHECK(row == std::vector<float>{2, 3, 4});  // codes 4, 5, 6
}

TEST_CASE("a sharded checkpoint is one file", "[io][safetensors]") {
  const scratch_folder folder;
  const std::vector<float> one{1}, two{2}, three{3};
  io::write_safetensors(folder / "model-00001-of-00002.safetensors",
                        std::vector{io::tensor_of<float>("a", {1}, one), io::tensor_of<float>("b", {1}, two)},
                        {{"k", "v"}});
  io::write_safetensors(folder / "model-00002-of-00002.safetensors",
                        std::vector{io::tensor_of<float>("c", {1}, three)});
  const auto index = folder / "model.safetensors.index.json";
  const auto map = [&](const std::string& weights) {
    write_bytes(index, "{\"metadata\":{},\"weight_map\":" + weights + "}");
  };
  const std::string good =
      R"({"a":"model-00001-of-00002.safetensors","b":"model-00001-of-00002.safetensors","c":"model-00002-of-00002.safetensors"})";

  SECTION("by folder and by index") {
    map(good);
    for (const auto& path : {folder.path(), index}) {
      const io::safetensors_file file(path);
      CHECK(file.names() == std::vector<std::string>{"a", "b", "c"});
      CHECK(file.read<float>("b") == two);
      CHECK(file.read<float>("c") == three);
      CHECK(file.metadata().at("k") == "v");
    }
  }
  SECTION("copies share the mapping") {
    map(good);
    auto file = std::make_unique<io::safetensors_file>(index);
    const io::safetensors_file copy = *file;
    file.reset();
    CHECK(copy.read<float>("a") == one);
  }
  SECTION("lies in the index") {
    map(R"({"a":"../model-00001-of-00002.safetensors"})");
    CHECK_THROWS_AS(io::safetensors_file(index), format_error);
    map(R"({"a":".."})");
    CHECK_THROWS_AS(io::safetensors_file(index), format_error);
    map(R"({"a":"model-00002-of-00002.safetensors"})");
    CHECK(mentions(message_of<format_error>([&] { (void)io::safetensors_file(index); }),
                   {"'a'", "model-00002-of-00002.safetensors"}));
    map(R"({"a":"model-00003-of-00002.safetensors"})");
    CHECK_THROWS_AS(io::safetensors_file(index), io_error);
    map(R"({"a":"model-00001-of-00002.safetensors","a":"model-00001-of-00002.safetensors"})");
    CHECK_THROWS_AS(io::safetensors_file(index), format_error);
    map(R"({"a":7})");
    CHECK_THROWS_AS(io::safetensors_file(index), format_error);
    map("[]");
    CHECK_THROWS_AS(io::safetensors_file(index), format_error);
    write_bytes(index, "[]");
    CHECK_THROWS_AS(io::safetensors_file(index), format_error);
  }
  SECTION("a tensor in two shards") {
    io::write_safetensors(folder / "model-00002-of-00002.safetensors",
                          std::vector{io::tensor_of<float>("a", {1}, three)});
    map(R"({"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"})");
    CHECK_THROWS_AS(io::safetensors_file(index), format_error);
    map(R"({"a":"model-00002-of-00002.safetensors","b":"model-00001-of-00002.safetensors"})");
    CHECK(
        mentions(message_of<format_error>([&] { (void)io::safetensors_file(index); }), {"two tensors are named 'a'"}));
  }
  SECTION("no model at all") { CHECK_THROWS_AS(io::safetensors_file(folder.path()), io_error); }
}

TEST_CASE("the writer refuses what it could not read back", "[io][safetensors]") {
  const std::vector<float> x{1, 2};
  const auto t = io::tensor_of<float>("x", {2}, x);
  CHECK_THROWS_AS(io::tensor_of<float>("x", {3}, x), shape_error);
  CHECK(mentions(message_of<format_error>([&] { (void)emitted(std::vector{t, t}); }), {"'x'"}));
  CHECK_THROWS_AS(emitted(std::vector{io::tensor_of<float>("__metadata__", {2}, x)}), format_error);
  CHECK_THROWS_AS(emitted(std::vector{io::tensor_of<float>("\xff", {2}, x)}), format_error);
  io::tensor blocks{"q", io::dtype::q4_0, {32}, std::as_bytes(std::span(x))};
  CHECK_THROWS_AS(emitted(std::vector{blocks}), format_error);
  io::tensor lie{"x", io::dtype::f32, {3}, std::as_bytes(std::span(x))};
  CHECK_THROWS_AS(emitted(std::vector{lie}), format_error);
  CHECK(emitted({}) == safetensors_bytes("{}      ", ""));
}
