// SPDX-License-Identifier: MIT
// The GGUF reader and writer against hand-built files: metadata types, tensors, rows, blocks, matrices without a copy.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include <qwha/io/gguf.hpp>
#include <qwha/io/gguf_writer.hpp>
#include "catch.hpp"
#include "expect.hpp"
#include "io/files.hpp"

namespace {

using namespace qwha;
using namespace qwha::test;

std::string emitted(const io::gguf_writer& writer) {
  std::string bytes;
  writer.emit([&](const void* data, std::size_t size) { bytes.append(static_cast<const char*>(data), size); });
  return bytes;
}

/// One block of Q4_0 from the format's description: d = 1, first byte 0x1f, the others 0x88 (two zeros).
const std::string q4_0_block = std::string("\x00\x3c\x1f", 3) + std::string(15, '\x88');

}  // namespace

TEST_CASE("metadata of every type is read from a hand-built file", "[io][gguf]") {
  for (const std::uint32_t version : {2u, 3u}) {
    const std::string bytes =
        gguf_head(0, 16, version) + gguf_entry("u8", 0, std::uint8_t{200}) + gguf_entry("i8", 1, std::int8_t{-100}) +
        gguf_entry("u16", 2, std::uint16_t{60000}) + gguf_entry("i16", 3, std::int16_t{-30000}) +
        gguf_entry("u32", 4, std::uint32_t{4000000000u}) + gguf_entry("i32", 5, std::int32_t{-2000000000}) +
        gguf_entry("f32", 6, 1.5f) + gguf_entry("bool", 7, std::uint8_t{1}) + gguf_entry("string", "text") +
        gguf_entry("u64", 10, std::uint64_t{1} << 63) + gguf_entry("i64", 11, std::int64_t{-5}) +
        gguf_entry("f64", 12, 2.25) +
        // arrays: element type, count, elements
        gguf_text("ints") + raw(9) + raw(5) + raw(std::uint64_t{3}) + raw(7) + raw(-8) + raw(9) + gguf_text("texts") +
        raw(9) + raw(8) + raw(std::uint64_t{2}) + gguf_text("a") + gguf_text("") + gguf_text("truths") + raw(9) +
        raw(7) + raw(std::uint64_t{2}) + std::string("\1\0", 2) + gguf_text("none") + raw(9) + raw(6) +
        raw(std::uint64_t{0});
    const auto file = io::gguf_file::from_memory(as_bytes(bytes), "hand");
    CHECK(file.value<int>("u8") == 200);
    CHECK(file.value<std::int8_t>("i8") == -100);
    CHECK(file.value<std::uint64_t>("u16") == 60000);
    CHECK(file.value<int>("i16") == -30000);
    CHECK(file.value<std::uint32_t>("u32") == 4000000000u);
    CHECK(file.value<std::int32_t>("i32") == -2000000000);
    CHECK(file.value<float>("f32") == 1.5f);
    CHECK(file.value<double>("u8") == 200.0);
    CHECK(file.value<bool>("bool"));
    CHECK(file.value<std::string>("string") == "text");
    CHECK(file.value<std::string_view>("string") == "text");
    CHECK(file.value<std::uint64_t>("u64") == std::uint64_t{1} << 63);
    CHECK(file.value<std::int64_t>("i64") == -5);
    CHECK(file.value<double>("f64") == 2.25);
    CHECK(file.value<std::vector<int>>("ints") == std::vector<int>{7, -8, 9});
    CHECK(file.value<std::vector<float>>("ints") == std::vector<float>{7, -8, 9});
    CHECK(file.value<std::vector<std::string_view>>("texts") == std::vector<std::string_view>{"a", ""});
    CHECK(file.value<std::vector<bool>>("truths") == std::vector<bool>{true, false});
    CHECK(file.value<std::vector<float>>("none").empty());
    CHECK(file.value_or<int>("missing", 3) == 3);
    CHECK(file.has_key("u8"));
    CHECK_FALSE(file.has_key("u9"));
    CHECK(file.keys().size() == 16);
    CHECK(file.names().empty());

    CHECK(mentions(message_of<format_error>([&] { (void)file.value<int>("u9"); }), {"hand", "'u9'"}));
    CHECK(mentions(message_of<format_error>([&] { (void)file.value<std::uint8_t>("i8"); }), {"'i8'"}));  // negative
    CHECK_THROWS_AS(file.value<int>("u32"), format_error);                                               // too large
    CHECK_THROWS_AS(file.value<int>("f32"), format_error);
    CHECK_THROWS_AS(file.value<int>("bool"), format_error);
    CHECK_THROWS_AS(file.value<bool>("u8"), format_error);
    CHECK_THROWS_AS(file.value<int>("ints"), format_error);
    CHECK_THROWS_AS(file.value<std::vector<int>>("u8"), format_error);
    CHECK_THROWS_AS(file.value<std::vector<unsigned>>("ints"), format_error);
    CHECK_THROWS_AS(file.value<std::string>("u8"), format_error);
    CHECK_THROWS_AS(file.value<float>("string"), format_error);
    CHECK_THROWS_AS(file.value_or<int>("string", 3), format_error);
  }
}

TEST_CASE("tensors of a hand-built file", "[io][gguf]") {
  const std::string head = gguf_head(3, 0) + gguf_tensor("m", {2, 3}, 0, 0) + gguf_tensor("s", {}, 30, 32) +
                           gguf_tensor("q", {32, 2}, 2, 64);
  std::string m;
  for (int i = 0; i < 6; ++i) m += raw(static_cast<float>(i));
  const std::string bytes =
      padded(head) + padded(m) + padded(raw(std::uint16_t{0x3f80})) + q4_0_block + q4_0_block;  // no padding at the end
  const auto file = io::gguf_file::from_memory(as_bytes(bytes));
  CHECK(file.names() == std::vector<std::string>{"m", "s", "q"});
  CHECK(file.at("m").shape == std::vector<std::size_t>{3, 2});  // outermost first
  CHECK(file.at("m").dtype == io::dtype::f32);
  CHECK(file.read<double>("m") == std::vector<double>{0, 1, 2, 3, 4, 5});
  CHECK(file.at("s").shape.empty());
  CHECK(file.read<float>("s") == std::vector<float>{1});
  CHECK(file.at("q").dtype == io::dtype::q4_0);
  CHECK(file.at("q").bytes.size() == 36);
  CHECK(file.contains("q"));
  CHECK_FALSE(file.contains("Q"));
  CHECK_THROWS_AS(file.at("Q"), format_error);

  std::vector<float> expected(64, 0);
  expected[0] = expected[32] = 7;
  expected[16] = expected[48] = -7;
  CHECK(file.read<float>("q") == expected);
  CHECK(file.read<int>("q") == std::vector<int>(expected.begin(), expected.end()));

  std::vector<float> row(32);
  file.read_rows("q", 1, rows_view<float>(row.data(), 1, 32));
  CHECK(row == std::vector<float>(expected.begin(), expected.begin() + 32));

  const auto matrix = io::gguf_matrix<q4_0>(file, "q");
  CHECK(matrix.rows() == 2);
  CHECK(matrix.cols() == 32);
  CHECK(matrix.codes(0) == file.at("q").bytes.data());  // no copy
  matrix.dequantize_row(1, row);
  CHECK(row == std::vector<float>(expected.begin(), expected.begin() + 32));
  CHECK(mentions(message_of<format_error>([&] { (void)io::gguf_matrix<q6_k>(file, "q"); }), {"'q'", "q4_0", "q6_k"}));
}

TEST_CASE("another alignment is honoured", "[io][gguf]") {
  const std::string head = gguf_head(2, 1) + gguf_entry("general.alignment", 4, std::uint32_t{64}) +
                           gguf_tensor("a", {1}, 0, 0) + gguf_tensor("b", {1}, 0, 64);
  const std::string bytes = padded(head, 64) + padded(raw(1.0f), 64) + raw(2.0f);
  const auto file = io::gguf_file::from_memory(as_bytes(bytes));
  CHECK(file.read<float>("a") == std::vector<float>{1});
  CHECK(file.read<float>("b") == std::vector<float>{2});
}

TEST_CASE("a type that is known by its size only can be listed, not converted", "[io][gguf]") {
  const std::string bytes = padded(gguf_head(1, 0) + gguf_tensor("x", {256}, 23, 0)) + std::string(136, '\1');
  const auto file = io::gguf_file::from_memory(as_bytes(bytes));
  CHECK(file.at("x").dtype == io::dtype::iq4_xs);
  CHECK(mentions(message_of<format_error>([&] { (void)file.read<float>("x"); }), {"'x'", "iq4_xs"}));
}

TEST_CASE("what the writer writes is read back, and written again byte for byte", "[io][gguf]") {
  const scratch_folder folder;
  std::vector<float> f(6);
  for (std::size_t i = 0; i < f.size(); ++i) f[i] = static_cast<float>(i) * 0.5f;
  const std::vector<std::int64_t> longs{-1, 2, std::numeric_limits<std::int64_t>::min()};
  const std::vector<half> halves(33, half(1.5f));
  const auto build = [&](std::uint32_t alignment) {
    io::gguf_writer w(alignment);
    w.set("general.architecture", "test");
    w.set("flag", true);
    w.set("count", std::uint32_t{7});
    w.set("rate", 0.5f);
    w.set("precise", 0.1);
    w.set("small", std::int8_t{-3});
    w.set("tokens", std::vector<std::string>{"<s>", "", "\xe2\x96\x81the"});
    w.set("scores", std::vector<float>{0, -1, -2});
    w.add(io::tensor_of<float>("f", {2, 3}, f));
    w.add(io::tensor_of<std::int64_t>("longs", {3}, longs));
    w.add(io::tensor_of<half>("halves", {1, 1, 1, 33}, halves));
    w.add({"q", io::dtype::q4_0, {1, 32}, std::as_bytes(std::span(q4_0_block))});
    return w;
  };
  for (const std::uint32_t alignment : {32u, 8u, 256u}) {
    const io::gguf_writer writer = build(alignment);
    writer.save(folder / "f.gguf");
    CHECK(folder.entries() == 1);
    CHECK(read_bytes(folder / "f.gguf") == emitted(writer));
    const io::gguf_file file(folder / "f.gguf");
    CHECK(file.value<std::string>("general.architecture") == "test");
    CHECK(file.value<bool>("flag"));
    CHECK(file.value<int>("count") == 7);
    CHECK(file.value<float>("rate") == 0.5f);
    CHECK(file.value<double>("precise") == 0.1);
    CHECK(file.value<int>("small") == -3);
    CHECK(file.value<std::vector<std::string>>("tokens") == std::vector<std::string>{"<s>", "", "\xe2\x96\x81the"});
    CHECK(file.value<std::vector<float>>("scores") == std::vector<float>{0, -1, -2});
    CHECK(file.read<float>("f") == f);
    CHECK(file.at("f").shape == std::vector<std::size_t>{2, 3});
    CHECK(file.read<std::int64_t>("longs") == longs);
    CHECK(file.at("halves").shape == std::vector<std::size_t>{1, 1, 1, 33});
    CHECK(file.read<float>("q")[0] == 7);
    for (const io::tensor& t : file.tensors())
      CHECK(static_cast<std::size_t>(t.bytes.data() - file.tensors()[0].bytes.data()) % alignment == 0);
  }
}

TEST_CASE("the writer refuses what readers refuse", "[io][gguf]") {
  io::gguf_writer w;
  const std::vector<float> x{1, 2};
  w.set("key", 1);
  CHECK_THROWS_AS(w.set("key", 2), value_error);
  CHECK_THROWS_AS(w.set("", 2), value_error);
  CHECK_THROWS_AS(io::gguf_writer(24), value_error);
  w.add(io::tensor_of<float>(std::string(63, 'n'), {2}, x));
  CHECK(mentions(message_of<format_error>([&] { w.add(io::tensor_of<float>(std::string(64, 'n'), {2}, x)); }),
                 {"63", "64"}));
  CHECK_THROWS_AS(w.add(io::tensor_of<float>(std::string(63, 'n'), {2}, x)), format_error);
  CHECK_THROWS_AS(w.add(io::tensor_of<float>("rank", {1, 1, 1, 1, 2}, x)), format_error);
  CHECK_THROWS_AS(w.add({"type", io::dtype::u64, {1}, std::as_bytes(std::span(x))}), format_error);
  CHECK_THROWS_AS(w.add({"size", io::dtype::f32, {3}, std::as_bytes(std::span(x))}), format_error);
  CHECK_THROWS_AS(w.add({"rows", io::dtype::q4_0, {2, 16}, std::as_bytes(std::span(x))}), format_error);
}

TEST_CASE("the real model opens, and its tensors fill the file", "[io][gguf][model]") {
  const char* cache = std::getenv("QWHA_CACHE");
  const char* home = std::getenv("HOME");
  const std::filesystem::path path =
      (cache != nullptr ? std::filesystem::path(cache)
                        : std::filesystem::path(home == nullptr ? "." : home) / ".cache/qwha") /
      "gemma-3-270m-q4_k_m.gguf";
  if (!std::filesystem::exists(path)) {
    WARN("skipped: the model is not in the cache");
    return;
  }
  const io::gguf_file file(path);
  CHECK(file.value<std::string>("general.architecture") == "gemma3");
  CHECK(file.value<std::size_t>("gemma3.block_count") == 18);
  CHECK(file.value<std::vector<std::string_view>>("tokenizer.ggml.tokens").size() == 262144);
  CHECK(file.at("token_embd.weight").shape == std::vector<std::size_t>{262144, 640});
  CHECK(file.at("blk.0.attn_q.weight").shape == std::vector<std::size_t>{1024, 640});
  std::size_t end = 0;
  for (const io::tensor& t : file.tensors()) {
    CHECK(io::convertible(t.dtype));
    end += (t.bytes.size() + 31) / 32 * 32;
  }
  CHECK(end <= std::filesystem::file_size(path));
  CHECK(end > std::filesystem::file_size(path) / 20 * 19);  // the rest is metadata

  // A slab of the embedding equals the same rows of the matrix that refers to the file.
  const io::tensor& embedding = file.at("token_embd.weight");
  std::vector<float> slab(3 * 640), row(640);
  file.read_rows("token_embd.weight", 262141, rows_view<float>(slab.data(), 3, 640));
  REQUIRE(embedding.dtype == io::dtype::q8_0);
  io::gguf_matrix<q8_0>(file, "token_embd.weight").dequantize_row(262143, row);
  CHECK(std::equal(row.begin(), row.end(), slab.begin() + 2 * 640));
  const auto embedded = file.read<float>("token_embd.weight");
  CHECK(std::equal(slab.begin(), slab.end(), embedded.end() - 3 * 640));
}
