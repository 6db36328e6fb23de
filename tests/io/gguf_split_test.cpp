// SPDX-License-Identifier: MIT
// GGUF models in several files: joined, and refused where the parts do not belong together.

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <qwha/io/gguf.hpp>
#include "catch.hpp"
#include "expect.hpp"
#include "io/files.hpp"

namespace {

using namespace qwha;
using namespace qwha::test;

/// Part `number` of `count` as it says, with one float tensor of eight times `value`.
std::string part(int number, int count, int tensors, std::string_view name, float value, const std::string& more = "") {
  std::string data;
  for (int i = 0; i < 8; ++i) data += raw(value);
  return padded(gguf_head(1, more.empty() ? 3 : 4) + gguf_entry("split.no", 2, static_cast<std::uint16_t>(number)) +
                gguf_entry("split.count", 2, static_cast<std::uint16_t>(count)) +
                gguf_entry("split.tensors.count", 5, std::int32_t{tensors}) + more + gguf_tensor(name, {8}, 0, 0)) +
         data;
}

std::string refusal(const std::filesystem::path& path) {
  return message_of<format_error>([&] { (void)io::gguf_file(path); });
}

}  // namespace

TEST_CASE("the parts of a split GGUF are one file", "[io][gguf]") {
  const scratch_folder folder;
  write_bytes(folder / "m-00001-of-00003.gguf", part(0, 3, 3, "a", 1, gguf_entry("name", "whole")));
  write_bytes(folder / "m-00002-of-00003.gguf", part(1, 3, 3, "b", 2));
  write_bytes(folder / "m-00003-of-00003.gguf", part(2, 3, 3, "c", 3));
  const auto file = [&] {
    const io::gguf_file opened(folder / "m-00001-of-00003.gguf");
    return opened;  // the copy keeps all mappings
  }();
  CHECK(file.names() == std::vector<std::string>{"a", "b", "c"});
  CHECK(file.value<std::string>("name") == "whole");
  CHECK(file.split().count == 3);
  CHECK(file.read<float>("a") == std::vector<float>(8, 1));
  CHECK(file.read<float>("c") == std::vector<float>(8, 3));

  write_bytes(folder / "single.gguf", part(0, 1, 1, "a", 5));
  CHECK(io::gguf_file(folder / "single.gguf").read<float>("a")[7] == 5);
  write_bytes(folder / "zero.gguf", part(0, 0, 1, "a", 5));
  CHECK(io::gguf_file(folder / "zero.gguf").names().size() == 1);
  CHECK(io::gguf_part_path("x/m-00001-of-12345.gguf", 12344, 12345) == "x/m-12345-of-12345.gguf");
}

TEST_CASE("parts that do not belong together are refused", "[io][gguf][hostile]") {
  const scratch_folder folder;
  const auto first = folder / "m-00001-of-00002.gguf", second = folder / "m-00002-of-00002.gguf";
  write_bytes(first, part(0, 2, 2, "a", 1));
  CHECK(mentions(message_of<io_error>([&] { (void)io::gguf_file(first); }), {"m-00002-of-00002.gguf"}));
  write_bytes(second, part(1, 2, 2, "b", 2));
  REQUIRE(refusal(first).empty());
  CHECK(mentions(refusal(second), {"m-00002", "part 2 of 2", "first"}));
  write_bytes(second, part(0, 2, 2, "b", 2));
  CHECK(mentions(refusal(first), {"m-00002", "part 1 of 2"}));
  write_bytes(second, part(1, 3, 2, "b", 2));
  CHECK(mentions(refusal(first), {"m-00002", "part 2 of 3"}));
  write_bytes(second, part(1, 2, 2, "a", 2));
  CHECK(mentions(refusal(first), {"m-00001", "'a'", "two tensors"}));
  write_bytes(second, part(1, 2, 2, "b", 2).substr(0, 150));
  CHECK(mentions(refusal(first), {"m-00002"}));
  write_bytes(second, part(1, 2, 2, "b", 2));
  write_bytes(first, part(0, 2, 3, "a", 1));
  CHECK(mentions(refusal(first), {"m-00001", "3 tensors", "hold 2"}));
  write_bytes(first, part(0, 2, -1, "a", 1));
  CHECK(mentions(refusal(first), {"m-00001", "split.tensors.count"}));
  write_bytes(first, part(2, 2, 2, "a", 1));
  CHECK(mentions(refusal(first), {"'split.no' is 2"}));
  write_bytes(folder / "renamed.gguf", part(0, 2, 2, "a", 1));
  CHECK(mentions(refusal(folder / "renamed.gguf"), {"renamed.gguf", "-00001-of-00002.gguf"}));
  write_bytes(folder / "text.gguf", padded(gguf_head(0, 1) + gguf_entry("split.count", "2")));
  CHECK(mentions(refusal(folder / "text.gguf"), {"text.gguf", "'split.count'"}));
}
