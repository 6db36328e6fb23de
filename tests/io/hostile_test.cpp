// SPDX-License-Identifier: MIT
// Broken, lying and hostile files: each is refused with a message that names what is wrong, before anything large is
// allocated.

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include <qwha/io/gguf.hpp>
#include <qwha/io/safetensors.hpp>
#include "catch.hpp"
#include "io/allocation_watch.hpp"
#include "expect.hpp"
#include "io/files.hpp"

namespace {

using namespace qwha;
using namespace qwha::test;

/// What opening says; "" when it opens. Any other exception than format_error is a failure.
template <class File>
std::string refusal(const std::string& bytes) {
  largest_allocation = 0;
  try {
    File::from_memory(as_bytes(bytes), "file");
  } catch (const format_error& e) {
    return e.what();
  }
  return {};
}
std::string safetensors_refusal(const std::string& bytes) { return refusal<io::safetensors_file>(bytes); }
std::string gguf_refusal(const std::string& bytes) { return refusal<io::gguf_file>(bytes); }

struct broken {
  std::string bytes;
  std::vector<std::string_view> parts;  ///< of the message, besides the file's name
};

void check(const std::vector<broken>& table, std::string (*refuse)(const std::string&)) {
  for (std::size_t i = 0; i < table.size(); ++i) {
    const std::string message = refuse(table[i].bytes);
    INFO("case " << i << ": " << message);
    CHECK(message.starts_with("file: "));
    for (const std::string_view part : table[i].parts) CHECK(mentions(message, {part}));
    CHECK(largest_allocation < 32768);
  }
}

std::string entry(const std::string& text, const std::string& buffer = std::string(8, '\0')) {
  return safetensors_bytes("{\"x\":" + text + "}", buffer);
}

}  // namespace

TEST_CASE("safetensors: every broken rule has its message", "[io][hostile]") {
  const std::string good = R"({"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
  REQUIRE(safetensors_refusal(entry(good)).empty());
  std::string deep;
  for (int i = 0; i < 100000; ++i) deep += "{\"a\":";
  std::string deep_array = "{\"x\":";
  for (int i = 0; i < 100000; ++i) deep_array += '[';
  const std::vector<broken> table{
      {"", {"8 bytes"}},
      {"1234567", {"8 bytes"}},
      {raw(std::uint64_t{0}), {"'{'"}},
      {raw(std::uint64_t{100'000'001}) + "{}", {"100 MB"}},
      {raw(~std::uint64_t{0}) + "{}", {"100 MB"}},
      {raw(std::uint64_t{3}) + "{}", {"past the end"}},
      {safetensors_bytes(" {}", ""), {"'{'"}},
      {safetensors_bytes("[]", ""), {"'{'"}},
      {safetensors_bytes("\xef\xbb\xbf{}", ""), {"'{'"}},
      {safetensors_bytes("{", ""), {"bad header"}},
      {safetensors_bytes("{}}", ""), {"bad header"}},
      {safetensors_bytes("{}" + std::string(1, '\0'), ""), {"zero byte"}},
      {safetensors_bytes("{\"\xff\":1}", ""), {"UTF-8"}},
      {safetensors_bytes("{\"\xc0\x80\":1}", ""), {"UTF-8"}},
      {safetensors_bytes("{\"\xed\xa0\x80\":1}", ""), {"UTF-8"}},
      {safetensors_bytes("{}", "x"), {"1 bytes", "belong to none"}},
      {safetensors_bytes(R"({"__metadata__":{"a":1}})", ""), {"'a'"}},
      {safetensors_bytes(R"({"__metadata__":{"a":null}})", ""), {"'a'"}},
      {safetensors_bytes(R"({"__metadata__":{"a":{"b":"c"}}})", ""), {"'a'"}},
      {safetensors_bytes(R"({"__metadata__":{"a":"1","a":"2"}})", ""), {"'a'", "twice"}},
      {safetensors_bytes(R"({"__metadata__":{},"__metadata__":{}})", ""), {"__metadata__", "twice"}},
      {safetensors_bytes(R"({"__metadata__":"a"})", ""), {"object"}},
      {safetensors_bytes("{\"x\":" + good + ",\"x\":" + good + "}", std::string(8, '\0')), {"'x'"}},
      {safetensors_bytes(
           R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"x":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
           std::string(8, '\0')),
       {"'x'", "two tensors"}},
      {entry("1"), {"object"}},
      {entry("[]"), {"object"}},
      {entry("null"), {"object"}},
      {entry("{}"), {"'x'", "lacks"}},
      {entry(R"({"dtype":"F32","shape":[2]})"), {"'x'", "data_offsets"}},
      {entry(R"({"dtype":"F32","data_offsets":[0,8]})"), {"'x'", "shape"}},
      {entry(R"({"shape":[2],"data_offsets":[0,8]})"), {"'x'", "dtype"}},
      {entry(R"({"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]})"), {"'x'", "'dtype'", "twice"}},
      {entry(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8],"more":1})"), {"'x'", "'more'"}},
      {entry(R"({"dtype":"F33","shape":[2],"data_offsets":[0,8]})"), {"'x'", "'F33'"}},
      {entry(R"({"dtype":"","shape":[2],"data_offsets":[0,8]})"), {"'x'", "dtype"}},
      {entry(R"({"dtype":"Q4_0","shape":[2],"data_offsets":[0,8]})"), {"'x'", "'Q4_0'"}},
      {entry(R"({"dtype":4,"shape":[2],"data_offsets":[0,8]})"), {"'x'", "dtype"}},
      {entry(R"({"dtype":"F32","shape":2,"data_offsets":[0,8]})"), {"'x'", "shape"}},
      {entry(R"({"dtype":"F32","shape":[-2],"data_offsets":[0,8]})"), {"'x'", "negative"}},
      {entry(R"({"dtype":"F32","shape":[2.0],"data_offsets":[0,8]})"), {"'x'", "64-bit"}},
      {entry(R"({"dtype":"F32","shape":[2e0],"data_offsets":[0,8]})"), {"'x'", "64-bit"}},
      {entry(R"({"dtype":"F32","shape":["2"],"data_offsets":[0,8]})"), {"'x'", "string"}},
      {entry(R"({"dtype":"F32","shape":[[2]],"data_offsets":[0,8]})"), {"'x'", "array"}},
      {entry(R"({"dtype":"F32","shape":[true],"data_offsets":[0,8]})"), {"'x'", "truth"}},
      {entry(R"({"dtype":"F32","shape":[18446744073709551616],"data_offsets":[0,8]})"), {"'x'", "64-bit"}},
      {entry(R"({"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]})"), {"'x'", "overflows"}},
      {entry(R"({"dtype":"F32","shape":[0,4294967296,4294967296],"data_offsets":[0,0]})", ""), {"'x'", "overflows"}},
      {entry(R"({"dtype":"F64","shape":[4611686018427387904],"data_offsets":[0,8]})"), {"'x'", "overflows"}},
      {entry(R"({"dtype":"F32","shape":[4611686018427387906],"data_offsets":[0,8]})"), {"'x'", "overflows"}},
      {entry(R"({"dtype":"F32","shape":[3],"data_offsets":[0,8]})"), {"'x'", "12 bytes"}},
      {entry(R"({"dtype":"F32","shape":[],"data_offsets":[0,8]})"), {"'x'", "4 bytes"}},
      {entry(R"({"dtype":"F4","shape":[15],"data_offsets":[0,8]})"), {"'x'", "whole bytes"}},
      {entry(R"({"dtype":"F6_E2M3","shape":[10],"data_offsets":[0,8]})"), {"'x'", "whole bytes"}},
      {entry(R"({"dtype":"F32","shape":[2],"data_offsets":[8]})"), {"'x'", "two numbers"}},
      {entry(R"({"dtype":"F32","shape":[2],"data_offsets":[0,4,8]})"), {"'x'", "two numbers"}},
      {entry(R"({"dtype":"F32","shape":[2],"data_offsets":[8,0]})"), {"'x'"}},
      {entry(R"({"dtype":"F32","shape":[1],"data_offsets":[4,8]})"), {"'x'", "begins at 4"}},
      {entry(R"({"dtype":"F32","shape":[4],"data_offsets":[0,16]})"), {"'x'", "past the end"}},
      {entry(R"({"dtype":"F32","shape":[1],"data_offsets":[0,4]})"), {"4 bytes", "belong to none"}},
      {entry(R"({"dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,18446744073709551615]})"),
       {"'x'", "past the end"}},
      {safetensors_bytes(
           R"({"a":{"dtype":"U8","shape":[5],"data_offsets":[0,5]},"b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})",
           std::string(8, '\0')),
       {"'b'", "overlaps"}},
      {safetensors_bytes(
           R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})",
           std::string(8, '\0')),
       {"'b'", "holes"}},
      {safetensors_bytes(deep, ""), {"bad header"}},
      {safetensors_bytes(deep_array, ""), {"array"}},
  };
  check(table, safetensors_refusal);
}

TEST_CASE("names in messages cannot speak to a terminal", "[io][hostile]") {
  const std::string message =
      safetensors_refusal(safetensors_bytes("{\"a\\u001b[31m" + std::string(500, 'n') + "\":{}}", ""));
  CHECK(message.find('\x1b') == message.npos);
  CHECK(message.find("\\x1b") != message.npos);
  CHECK(message.size() < 300);
}

TEST_CASE("GGUF: every broken rule has its message", "[io][hostile]") {
  const std::string data(32, '\0');
  const auto file = [&](const std::string& values, std::int64_t value_count, const std::string& tensors,
                        std::int64_t tensor_count) {
    return padded(gguf_head(tensor_count, value_count) + values + tensors) + data;
  };
  const auto values = [&](const std::string& bytes) { return file(bytes, 1, "", 0); };
  const auto one = [&](const std::string& bytes) { return file("", 0, bytes, 1); };
  REQUIRE(gguf_refusal(one(gguf_tensor("x", {8}, 0, 0))).empty());
  REQUIRE(gguf_refusal(values(gguf_entry("k", 4, std::uint32_t{1}))).empty());
  const std::int64_t huge = std::numeric_limits<std::int64_t>::max();
  const std::vector<broken> table{
      {"", {"GGUF"}},
      {"GGU", {"GGUF"}},
      {"GGML" + std::string(100, '\0'), {"GGUF"}},
      {gguf_head(0, 0, 0), {"version 0"}},
      {gguf_head(0, 0, 1), {"version 1"}},
      {gguf_head(0, 0, 4), {"version 4"}},
      {gguf_head(0, 0, 0x03000000), {"big-endian"}},
      {gguf_head(-1, 0), {"more tensors"}},
      {gguf_head(0, -1), {"more metadata"}},
      {gguf_head(huge, 0), {"more tensors"}},
      {gguf_head(0, huge), {"more metadata"}},
      {gguf_head(huge, huge) + std::string(1000, '\0'), {"more metadata"}},
      {gguf_head(1 << 20, 0) + std::string(1000, '\0'), {"more tensors"}},
      // metadata
      {values(gguf_entry("", 4, std::uint32_t{1})), {"empty"}},
      {values(raw(std::uint64_t{1} << 62) + "key"), {"past the end"}},
      {values(raw(~std::uint64_t{0}) + "key"), {"past the end"}},
      {values(gguf_entry("k", 13, 0)), {"'k'", "unknown type"}},
      {values(gguf_entry("k", -1, 0)), {"'k'", "unknown type"}},
      {file(gguf_entry("k", 4, 1) + gguf_entry("k", 5, 1), 2, "", 0), {"'k'", "twice"}},
      {values(gguf_text("k") + raw(8) + raw(std::uint64_t{1} << 40)), {"past the end"}},
      {values(gguf_text("k") + raw(9) + raw(4) + raw(std::uint64_t{1} << 60)), {"'k'", "past the end"}},
      {values(gguf_text("k") + raw(9) + raw(0) + raw((std::uint64_t{1} << 30) + 1)), {"'k'", "past the end"}},
      {values(gguf_text("k") + raw(9) + raw(8) + raw(std::uint64_t{1} << 30)), {"'k'", "past the end"}},
      {values(gguf_text("k") + raw(9) + raw(8) + raw(std::uint64_t{2}) + gguf_text("a") + raw(~std::uint64_t{0})),
       {"past the end"}},
      {values(gguf_text("k") + raw(9) + raw(9) + raw(std::uint64_t{0})), {"'k'", "arrays of arrays"}},
      {values(gguf_text("k") + raw(9) + raw(77) + raw(std::uint64_t{0})), {"'k'", "unknown element type"}},
      {values(gguf_entry("general.alignment", 4, std::uint32_t{0})), {"general.alignment"}},
      {values(gguf_entry("general.alignment", 4, std::uint32_t{48})), {"general.alignment"}},
      {values(gguf_entry("general.alignment", 10, std::uint64_t{32})), {"general.alignment"}},
      {values(gguf_entry("general.alignment", "32")), {"general.alignment"}},
      // tensors
      {one(gguf_tensor("", {8}, 0, 0)), {"1 to 63"}},
      {one(gguf_tensor(std::string(64, 'n'), {8}, 0, 0)), {"1 to 63"}},
      {one(gguf_tensor("x", {1, 1, 1, 1, 8}, 0, 0)), {"'x'", "5 dimensions"}},
      {one(gguf_text("x") + raw(~std::uint32_t{0}) + std::string(24, '\0')), {"'x'", "dimensions"}},
      {one(gguf_tensor("x", {-8}, 0, 0)), {"'x'", "negative"}},
      {one(gguf_tensor("x", {huge, 2}, 0, 0)), {"'x'", "overflows"}},
      {one(gguf_tensor("x", {0, huge, 4}, 0, 0)), {"'x'", "overflows"}},
      {one(gguf_tensor("x", {std::int64_t{1} << 62}, 28, 0)), {"'x'", "overflows"}},
      {one(gguf_tensor("x", {8}, 4, 0)), {"'x'", "unknown type 4"}},
      {one(gguf_tensor("x", {8}, 43, 0)), {"'x'", "unknown type 43"}},
      {one(gguf_tensor("x", {8}, -1, 0)), {"'x'", "unknown type -1"}},
      {one(gguf_tensor("x", {48}, 2, 0)), {"'x'", "48", "q4_0"}},
      {one(gguf_tensor("x", {}, 2, 0)), {"'x'", "q4_0"}},
      {one(gguf_tensor("x", {8}, 0, 32)), {"'x'", "offset 32"}},
      {one(gguf_tensor("x", {8}, 0, ~std::uint64_t{0})), {"'x'", "offset"}},
      {one(gguf_tensor("x", {9}, 0, 0)), {"'x'", "past the end"}},
      {one(gguf_tensor("x", {std::int64_t{1} << 60}, 24, 0)), {"'x'", "past the end"}},
      {file("", 0, gguf_tensor("x", {1}, 0, 0) + gguf_tensor("x", {1}, 0, 32), 2) + data, {"'x'", "two tensors"}},
      {file("", 0, gguf_tensor("x", {1}, 0, 0) + gguf_tensor("y", {1}, 0, 0), 2) + data, {"'y'", "offset 0"}},
      {file("", 0, gguf_tensor("x", {1}, 0, 0) + gguf_tensor("y", {1}, 0, 64), 2) + data, {"'y'", "offset 64"}},
      {file(gguf_entry("general.alignment", 4, std::uint32_t{1} << 31), 1,
            gguf_tensor("x", {1}, 0, 0) + gguf_tensor("y", {1}, 0, std::uint64_t{1} << 31), 2),
       {"past the end"}},
  };
  check(table, gguf_refusal);
}

TEST_CASE("a file cut anywhere is refused", "[io][hostile]") {
  const std::string safetensors = safetensors_bytes(
      R"({"__metadata__":{"a":"b"},"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"y":{"dtype":"I8","shape":[3],"data_offsets":[8,11]}})",
      std::string(11, '\1'));
  REQUIRE(safetensors_refusal(safetensors).empty());
  for (std::size_t length = 0; length < safetensors.size(); ++length) {
    INFO(length);
    CHECK_FALSE(safetensors_refusal(safetensors.substr(0, length)).empty());
  }
  const std::string gguf = padded(gguf_head(2, 3) + gguf_entry("a", 4, 7) + gguf_entry("b", "text") + gguf_text("c") +
                                  raw(9) + raw(8) + raw(std::uint64_t{2}) + gguf_text("one") + gguf_text("two") +
                                  gguf_tensor("x", {2, 2}, 0, 0) + gguf_tensor("q", {32}, 8, 32)) +
                           padded(std::string(16, '\1')) + std::string(34, '\1');
  REQUIRE(gguf_refusal(gguf).empty());
  for (std::size_t length = 0; length < gguf.size(); ++length) {
    INFO(length);
    CHECK_FALSE(gguf_refusal(gguf.substr(0, length)).empty());
  }
  const scratch_folder folder;
  write_bytes(folder / "cut.gguf", gguf.substr(0, 100));
  CHECK(mentions(message_of<format_error>([&] { (void)io::gguf_file(folder / "cut.gguf"); }), {"cut.gguf"}));
  write_bytes(folder / "empty.safetensors", "");
  CHECK(mentions(message_of<format_error>([&] { (void)io::safetensors_file(folder / "empty.safetensors"); }),
                 {"empty.safetensors"}));
}
