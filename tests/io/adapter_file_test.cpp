// SPDX-License-Identifier: MIT
// Our own adapter files: every bit comes back, what cannot be saved leaves nothing, lies are refused.

#include <cstdint>
#include <filesystem>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include <qwha/io/adapter_file.hpp>
#include "catch.hpp"
#include "io/adapters.hpp"
#include "expect.hpp"
#include "io/files.hpp"

namespace {

using namespace qwha;
using namespace qwha::test;

io::adapter_file some_adapter() {
  io::adapter_file adapter;
  adapter.modules.push_back({"blk.0.attn_q", some_spectrum(9, 64, 1), order_name(64)});
  adapter.modules.push_back({"blk.0.ffn_down", some_spectrum(5, 96, 2), order_name(96)});
  adapter.modules.push_back({"blk.1.attn_q", some_spectrum(4, 640, 3), ""});
  adapter.modules.push_back({"blk.1.empty", sparse_spectrum<float>(3, 12, {0, 0, 0, 0}, {}, {}), order_name(12)});
  adapter.metadata = {{"note", "any text\n\xc3\xa9"}, {"architecture", "gemma3"}};
  return adapter;
}

}  // namespace

TEST_CASE("our own formats keep every bit", "[io][adapter_file]") {
  const scratch_folder folder;
  const io::adapter_file adapter = some_adapter();
  for (const char* name : {"a.safetensors", "a.gguf"}) {
    INFO(name);
    io::save_adapter(folder / name, adapter);
    check_same(adapter, io::load_adapter(folder / name));
    const std::string first = read_bytes(folder / name);
    io::save_adapter(folder / name, io::load_adapter(folder / name));
    CHECK(read_bytes(folder / name) == first);
    // Formats are told apart by content.
    std::filesystem::rename(folder / name, folder / "a");
    check_same(adapter, io::load_adapter(folder / "a"));
    std::filesystem::remove(folder / "a");
  }
  CHECK(folder.entries() == 0);
  io::save_adapter(folder / "none.gguf", {});
  io::save_adapter(folder / "none.safetensors", {});
  CHECK(io::load_adapter(folder / "none.gguf").modules.empty());
  CHECK(io::load_adapter(folder / "none.safetensors").modules.empty());
}

TEST_CASE("a GGUF adapter carries the keys that loaders look at", "[io][adapter_file]") {
  const scratch_folder folder;
  io::save_adapter(folder / "a.gguf", some_adapter());
  const io::gguf_file file(folder / "a.gguf");
  CHECK(file.value<std::string>("general.type") == "adapter");
  CHECK(file.value<std::string>("general.architecture") == "gemma3");
  CHECK(file.value<std::string>("adapter.type") == "qwha");
  CHECK(file.contains("blk.0.attn_q.weight.qwha_val"));
  CHECK(file.at("blk.0.attn_q.weight.qwha_row_ptr").shape == std::vector<std::size_t>{10});
}

TEST_CASE("what cannot be saved is refused and leaves nothing", "[io][adapter_file]") {
  const scratch_folder folder;
  const auto refuse = [&](const io::adapter_file& adapter, const char* name,
                          std::initializer_list<std::string_view> parts) {
    INFO(name);
    std::string message;
    try {
      io::save_adapter(folder / name, adapter);
    } catch (const error& e) {
      message = e.what();
    }
    INFO(message);
    CHECK(mentions(message, parts));
    CHECK(folder.entries() == 0);
  };
  io::adapter_file adapter = some_adapter();
  refuse(adapter, "a.bin", {"a.bin", ".safetensors", ".gguf"});
  for (const char* name : {"a.safetensors", "a.gguf"}) {
    adapter = some_adapter();
    adapter.modules[1].name = adapter.modules[0].name;
    refuse(adapter, name, {name, "blk.0.attn_q", "twice"});
    adapter = some_adapter();
    adapter.modules[0].order_name = "P1(11)xS2";
    refuse(adapter, name, {name, "blk.0.attn_q", "P1(11)xS2", "S64"});
    adapter = some_adapter();
    adapter.modules[0].spectrum.values()[0] = std::numeric_limits<float>::quiet_NaN();
    refuse(adapter, name, {name, "blk.0.attn_q", "NaN"});
    adapter = some_adapter();
    adapter.modules[0] = {"odd", sparse_spectrum<float>(1, 7, {0, 0}, {}, {}), ""};
    refuse(adapter, name, {name, "odd", "7"});
  }
  adapter = some_adapter();
  adapter.modules[0].name = std::string(44, 'n');
  refuse(adapter, "a.gguf", {"a.gguf", "43", "44", ".safetensors"});
  adapter.modules[0].name = std::string(43, 'n');
  io::save_adapter(folder / "a.gguf", adapter);
  CHECK(io::load_adapter(folder / "a.gguf").modules[0].name == adapter.modules[0].name);
  adapter.metadata["qwha.version"] = "2";
  CHECK_THROWS_AS(io::save_adapter(folder / "a.safetensors", adapter), format_error);
  CHECK(folder.entries() == 1);
}

TEST_CASE("lies in our own files", "[io][adapter_file]") {
  const scratch_folder folder;
  struct parts {
    std::vector<std::int64_t> offsets{0, 1, 2};
    std::vector<std::int32_t> columns{3, 0};
    std::vector<float> values{1, 2};
    std::map<std::string, std::string> metadata{{"format", "qwha"},
                                                {"qwha.version", "1"},
                                                {"qwha.scaling", "orthonormal"},
                                                {"qwha.modules", R"([{"name":"m","out":2,"in":4,"order":"S4"}])"}};
  };
  const auto load = [&](const parts& p) {
    io::write_safetensors(folder / "a.safetensors",
                          std::vector{io::tensor_of<std::int64_t>("m.qwha_row_ptr", {p.offsets.size()}, p.offsets),
                                      io::tensor_of<std::int32_t>("m.qwha_col", {p.columns.size()}, p.columns),
                                      io::tensor_of<float>("m.qwha_val", {p.values.size()}, p.values)},
                          p.metadata);
    return io::load_adapter(folder / "a.safetensors");
  };
  CHECK(load({}).modules[0].spectrum.size() == 2);
  const auto refused = [&](auto&& change) {
    parts p;
    change(p);
    return message_of<format_error>([&] { load(p); });
  };
  CHECK(mentions(refused([](parts& p) { p.offsets = {0, 2, 1}; }), {"a.safetensors", "'m'"}));
  CHECK(mentions(refused([](parts& p) { p.offsets = {0, 1, 3}; }), {"'m'"}));
  CHECK(mentions(refused([](parts& p) { p.offsets = {0, std::int64_t{1} << 62, 2}; }), {"'m'"}));
  CHECK(mentions(refused([](parts& p) { p.offsets = {0, -1, 2}; }), {"m.qwha_row_ptr"}));
  CHECK(mentions(refused([](parts& p) { p.offsets = {0, 2}; }), {"m.qwha_row_ptr", "[3]"}));
  CHECK(mentions(refused([](parts& p) { p.columns = {4, 0}; }), {"'m'", "column"}));
  CHECK(mentions(refused([](parts& p) { p.columns = {-1, 0}; }), {"m.qwha_col"}));
  CHECK(mentions(refused([](parts& p) { p.columns = {1}; }), {"m.qwha_col", "[2]"}));
  CHECK(mentions(refused([](parts& p) { p.values[1] = std::numeric_limits<float>::infinity(); }), {"'m'", "infinite"}));
  const auto list = [&](const char* text) { return refused([&](parts& p) { p.metadata["qwha.modules"] = text; }); };
  CHECK(mentions(list(R"([{"name":"m","out":2,"in":4,"order":"S8"}])"), {"'m'", "S8", "S4"}));
  CHECK(mentions(list(R"([{"name":"m","out":2,"in":7,"order":""}])"), {"'m'", "7"}));
  CHECK(mentions(list(R"([{"name":"m","out":18446744073709551615,"in":4,"order":"S4"}])"), {"'m'"}));
  CHECK(mentions(list(R"([{"name":"m","out":2,"in":4294967296,"order":"S4"}])"), {"'m'"}));
  CHECK(mentions(list(R"([{"name":"m","out":-2,"in":4,"order":"S4"}])"), {"qwha.modules"}));
  CHECK(mentions(list(R"([{"name":"m","out":2,"in":4}])"), {"qwha.modules"}));
  CHECK(mentions(list(R"([{"name":"other","out":2,"in":4,"order":"S4"}])"), {"other"}));
  CHECK(mentions(list("[]"), {"no module"}));
  CHECK(mentions(list("{}"), {"qwha.modules"}));
  CHECK(mentions(list("[["), {"JSON"}));
  CHECK(mentions(refused([](parts& p) { p.metadata["qwha.version"] = "2"; }), {"version", "'2'"}));
  CHECK(mentions(refused([](parts& p) { p.metadata["qwha.scaling"] = "inverse"; }), {"inverse"}));
  CHECK(mentions(refused([](parts& p) { p.metadata.erase("format"); }), {"format"}));
}
