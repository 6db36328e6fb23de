// SPDX-License-Identifier: MIT
// Adapter folders of the paper's reference: its worked example, stale indices, and what it computed from its own files.

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>
#include <qwha/io/adapter_file.hpp>
#include <qwha/transform/wht.hpp>
#include "catch.hpp"
#include "io/adapters.hpp"
#include "expect.hpp"
#include "io/files.hpp"

namespace {

using namespace qwha;
using namespace qwha::test;

/// ΔW = F T, dense, with the library's transform.
std::vector<float> delta(const sparse_spectrum<float>& f) {
  std::vector<float> dense(f.rows() * f.cols(), 0);
  for (std::size_t r = 0; r < f.rows(); ++r)
    for (std::size_t k = 0; k < f.columns(r).size(); ++k) dense[r * f.cols() + f.columns(r)[k]] = f.values(r)[k];
  REQUIRE(wht<>(f.cols()).apply_transpose(rows_view<float>(dense.data(), f.rows(), f.cols())) == status::ok);
  return dense;
}

}  // namespace

TEST_CASE("the worked example of the reference's format", "[io][qhft]") {
  // out = 2, in = 4: indices [[0,0,1],[2,0,3]], spectrum [4,-2,8], scaling 0.5.
  const scratch_folder folder;
  const std::vector<float> spectrum{4, -2, 8};
  const std::vector<std::int32_t> indices{0, 0, 1, 2, 0, 3};
  const auto write = [&](const std::vector<std::int32_t>& places, std::size_t p) {
    io::write_safetensors(
        folder / "adapter_model.safetensors",
        std::vector{io::tensor_of<float>("base_model.model.l.qhft_spectrum", {3}, spectrum),
                    io::tensor_of<std::int32_t>("base_model.model.l.qhft_indices_default", {2, p}, places)},
        {{"format", "pt"}});
  };
  write(indices, 3);
  const auto config = [&](const std::string& text) { write_bytes(folder / "adapter_config.json", text); };
  config(R"({"peft_type":"QHFT","scaling":0.5})");
  io::qhft_options options;
  options.shape = [](std::string_view) { return io::layer_shape{2, 4}; };

  const io::adapter_file adapter = io::load_qhft(folder.path(), options);
  REQUIRE(adapter.modules.size() == 1);
  CHECK(adapter.modules[0].name == "l");
  CHECK(adapter.modules[0].order_name == "S4");
  const std::vector<float> expected{0.17678f, 0.17678f, -0.53033f, -0.53033f, 0.70711f, -0.70711f, -0.70711f, 0.70711f};
  const std::vector<float> got = delta(adapter.modules[0].spectrum);
  for (std::size_t i = 0; i < 8; ++i) CHECK(got[i] == Approx(expected[i]).epsilon(1e-4));

  SECTION("without a shape the message says what to give") {
    CHECK(mentions(message_of<format_error>([&] { io::load_qhft(folder.path()); }), {"'l'", "qhft_options::shape"}));
  }
  SECTION("broken configs") {
    for (const char* text :
         {"", "[]", "{}", R"({"peft_type":"LORA","scaling":1})", R"({"peft_type":"QHFT"})",
          R"({"peft_type":"QHFT","scaling":"1"})", R"({"peft_type":"QHFT","scaling":0})",
          R"({"peft_type":"QHFT","scaling":1e999})", R"({"peft_type":"QHFT","scaling":1,"scaling":2})",
          R"({"peft_type":"QHFT","scaling":1,"fan_in_fan_out":true})",
          R"({"peft_type":"QHFT","scaling":1,"random_loc_seed":-1})"}) {
      INFO(text);
      config(text);
      CHECK(
          mentions(message_of<format_error>([&] { io::load_qhft(folder.path(), options); }), {"adapter_config.json"}));
    }
  }
  SECTION("broken indices") {
    const auto message = [&] { return message_of<format_error>([&] { io::load_qhft(folder.path(), options); }); };
    write({0, 0, 2, 2, 0, 3}, 3);
    CHECK(mentions(message(), {"'l'", "(2, 3)", "[2, 4]"}));
    write({0, 0, 1, 2, 0, 4}, 3);
    CHECK(mentions(message(), {"'l'", "(1, 4)"}));
    write({0, 0, -1, 2, 0, 3}, 3);
    CHECK(mentions(message(), {"'l'", "negative"}));
    write({0, 0, 1, 2, 2, 3}, 3);
    CHECK(mentions(message(), {"'l'", "repeats"}));
    write({0, 0, 1, 1, 2, 0, 3, 1}, 4);
    CHECK(mentions(message(), {"'l'", "3 values", "4", "indices_from"}));
  }
}

TEST_CASE("stale indices are found and can be replaced", "[io][qhft]") {
  // After training the reference writes the indices of its unused draw beside the values.
  const scratch_folder folder;
  const std::size_t out = 8, in = 16;
  std::vector<float> spectrum{1, 2, 3, 4, 5};
  const std::vector<std::int32_t> chosen{0, 0, 3, 7, 7, 2, 1, 4, 0, 15};
  // torch.randperm(128, generator seeded with 777)[:5] computed by the definition of the shuffle.
  std::vector<std::uint64_t> permutation(out * in);
  for (std::size_t i = 0; i < permutation.size(); ++i) permutation[i] = i;
  std::mt19937 random(777);
  for (std::size_t i = 0; i + 1 < permutation.size(); ++i)
    std::swap(permutation[i], permutation[i + random() % (permutation.size() - i)]);
  std::vector<std::int64_t> drawn(10);
  for (std::size_t k = 0; k < 5; ++k) {
    drawn[k] = static_cast<std::int64_t>(permutation[k] / in);
    drawn[5 + k] = static_cast<std::int64_t>(permutation[k] % in);
  }
  std::filesystem::create_directory(folder / "trained");
  std::filesystem::create_directory(folder / "start");
  const std::string prefix = "base_model.model.l.qhft_";
  io::write_safetensors(folder / "trained/adapter_model.safetensors",
                        std::vector{io::tensor_of<float>(prefix + "spectrum", {5}, spectrum),
                                    io::tensor_of<std::int64_t>(prefix + "indices_default", {2, 5}, drawn)});
  io::write_safetensors(folder / "start/adapter_model.safetensors",
                        std::vector{io::tensor_of<float>(prefix + "spectrum", {5}, spectrum),
                                    io::tensor_of<std::int32_t>(prefix + "indices_default", {2, 5}, chosen)});
  write_bytes(folder / "trained/adapter_config.json",
              R"({"peft_type":"QHFT","scaling":1,"random_loc_seed":777,"init_weights":true})");
  io::qhft_options options;
  options.shape = [](std::string_view) { return io::layer_shape{8, 16}; };
  CHECK(mentions(message_of<format_error>([&] { io::load_qhft(folder / "trained", options); }),
                 {"'l'", "777", "indices_from", "accept_random_indices"}));
  options.indices_from = folder / "start";
  const auto repaired = io::load_qhft(folder / "trained", options);
  CHECK(repaired.modules[0].spectrum.columns(0).size() == 2);
  CHECK(repaired.modules[0].spectrum.columns(7).size() == 2);
  options.indices_from.clear();
  options.accept_random_indices = true;
  CHECK(io::load_qhft(folder / "trained", options).modules[0].spectrum.size() == 5);
  options.accept_random_indices = false;
  write_bytes(folder / "trained/adapter_config.json",
              R"({"peft_type":"QHFT","scaling":1,"random_loc_seed":777,"init_weights":false})");
  CHECK(io::load_qhft(folder / "trained", options).modules[0].spectrum.size() == 5);
}

TEST_CASE("the permutation equals torch's", "[io][qhft]") {
  // torch.randperm(16, generator=torch.Generator().manual_seed(777))
  const std::vector<std::uint64_t> torch{7, 15, 11, 14, 1, 3, 13, 8, 4, 2, 0, 6, 5, 9, 12, 10};
  io::torch_permutation draw(16, 777);
  for (const std::uint64_t expected : torch) CHECK(draw.next() == expected);
  // Against the dense shuffle, for a size where places move more than once.
  for (const std::size_t n : {1u, 2u, 3u, 1000u}) {
    std::vector<std::uint64_t> dense(n);
    for (std::size_t i = 0; i < n; ++i) dense[i] = i;
    std::mt19937 random(5);
    for (std::size_t i = 0; i + 1 < n; ++i) std::swap(dense[i], dense[i + random() % (n - i)]);
    io::torch_permutation sparse(n, 5);
    for (std::size_t i = 0; i < n; ++i) CHECK(sparse.next() == dense[i]);
  }
}

TEST_CASE("save_qhft writes what the reference reads", "[io][qhft]") {
  const scratch_folder folder;
  io::adapter_file adapter;
  adapter.modules.push_back({"model.layers.0.self_attn.q_proj", some_spectrum(9, 64, 4), ""});
  adapter.modules.push_back({"model.layers.0.mlp.down_proj", some_spectrum(6, 80, 5), ""});
  const double scaling = 0.25;
  io::save_qhft(folder / "out/adapter", adapter, scaling);
  CHECK(std::distance(std::filesystem::directory_iterator(folder / "out/adapter"), {}) == 2);

  const auto config = nlohmann::json::parse(read_bytes(folder / "out/adapter/adapter_config.json"));
  CHECK(config["peft_type"] == "QHFT");
  CHECK(config["scaling"] == scaling);
  CHECK(config["n_frequency_pattern"]["model.layers.0.mlp.down_proj"] == adapter.modules[1].spectrum.size());
  CHECK(std::set<std::string>(config["target_modules"].begin(), config["target_modules"].end()) ==
        std::set<std::string>{"model.layers.0.self_attn.q_proj", "model.layers.0.mlp.down_proj"});

  const io::safetensors_file file(folder / "out/adapter/adapter_model.safetensors");
  CHECK(file.tensors().size() == 10);
  const std::string prefix = "base_model.model.model.layers.0.self_attn.q_proj.qhft_";
  const auto& f = adapter.modules[0].spectrum;
  CHECK(file.at(prefix + "spectrum").dtype == io::dtype::f32);
  CHECK(file.at(prefix + "indices_default").dtype == io::dtype::i32);
  CHECK(file.at(prefix + "indices_default").shape == std::vector<std::size_t>{2, f.size()});
  CHECK(file.at(prefix + "scaling_default").shape.empty());
  CHECK(file.read<double>(prefix + "scaling_default") == std::vector<double>{scaling});
  CHECK(file.read<std::size_t>(prefix + "n_frequency_default") == std::vector<std::size_t>{f.size()});
  CHECK(file.read<int>(prefix + "random_loc_seed_default") == std::vector<int>{777});
  const auto stored = file.read<float>(prefix + "spectrum");
  for (std::size_t k = 0; k < f.size(); ++k)  // F = stored * scaling / sqrt(in out)
    CHECK(stored[k] * scaling / std::sqrt(64.0 * 9.0) == Approx(f.values()[k]).epsilon(1e-6));

  // Read back without a base model: shapes are in the file. Two roundings of relative 2^-24 each.
  const io::adapter_file back = io::load_adapter(folder / "out/adapter");
  REQUIRE(back.modules.size() == 2);
  for (const io::adapter_module& m : adapter.modules)
    for (const io::adapter_module& b : back.modules)
      if (b.name == m.name)
        for (std::size_t k = 0; k < m.spectrum.size(); ++k)
          CHECK(std::abs(b.spectrum.values()[k] - m.spectrum.values()[k]) <=
                0x1p-22 * std::abs(m.spectrum.values()[k]));
  // The file inside the folder leads to the same.
  check_same(back, io::load_adapter(folder / "out/adapter/adapter_model.safetensors"));

  SECTION("refusals leave nothing") {
    adapter.modules[0] = {"wide", some_spectrum(2, 44, 6), ""};  // qwha has order 44, the reference has not
    CHECK(mentions(message_of<format_error>([&] { io::save_qhft(folder / "new", adapter, 1); }), {"'wide'", "44"}));
    CHECK_THROWS_AS(io::save_qhft(folder / "new", adapter, 0), value_error);
    CHECK_THROWS_AS(io::save_qhft(folder / "new", adapter, std::nan("")), value_error);
    adapter.modules.erase(adapter.modules.begin());
    CHECK_THROWS_AS(io::save_qhft(folder / "new", adapter, 1e-300), value_error);
    CHECK_FALSE(std::filesystem::exists(folder / "new"));
    write_bytes(folder / "file", "");
    CHECK_THROWS_AS(io::save_qhft(folder / "file", adapter, 1), io_error);
  }
}

TEST_CASE("golden adapters of the reference give the reference's dense updates", "[io][qhft][golden]") {
  const char* named = std::getenv("QWHA_GOLDEN");
  const std::filesystem::path golden =
      std::filesystem::path(named != nullptr ? named : QWHA_TEST_SOURCE_DIR "/../../shared/golden") / "reference";
  if (!std::filesystem::exists(golden)) {
    WARN("skipped: the golden files are not here");
    return;
  }
  const scratch_folder folder;
  std::size_t modules = 0;
  for (const char* name :
       {"llama_h64_rank8", "llama_h64_random", "llama_h96_had12_had36_rank6", "llama_h80_had40_had28_rank6"}) {
    INFO(name);
    const io::adapter_file adapter = io::load_adapter(golden / name / "adapter");
    const io::safetensors_file deltas(golden / name / "delta.safetensors");
    CHECK(adapter.modules.size() == deltas.tensors().size());
    for (const io::adapter_module& m : adapter.modules) {
      INFO(m.name);
      const io::tensor& expected = deltas.at(m.name + ".delta");
      REQUIRE(expected.shape == std::vector<std::size_t>{m.spectrum.rows(), m.spectrum.cols()});
      const std::vector<float> want = deltas.read<float>(expected.name);
      const std::vector<float> got = delta(m.spectrum);
      double error = 0, norm = 0;
      for (std::size_t i = 0; i < want.size(); ++i) {
        error += (got[i] - want[i]) * static_cast<double>(got[i] - want[i]);
        norm += static_cast<double>(want[i]) * want[i];
      }
      CHECK(norm > 0);
      CHECK(std::sqrt(error) <= 1e-6 * std::sqrt(norm));  // float transforms on both sides: about 1e-7
      ++modules;
    }

    // Through save_qhft: the same values in our order.
    const auto config = nlohmann::json::parse(read_bytes(golden / name / "adapter/adapter_config.json"));
    io::save_qhft(folder / name, adapter, config["scaling"].get<double>());
    const io::safetensors_file before(golden / name / "adapter/adapter_model.safetensors"),
        after(folder / (std::string(name) + "/adapter_model.safetensors"));
    REQUIRE(after.tensors().size() == before.tensors().size());
    for (const io::tensor& t : before.tensors()) {
      INFO(t.name);
      REQUIRE(after.contains(t.name));
      CHECK(after.at(t.name).shape == t.shape);
      if (!t.name.ends_with("qhft_spectrum")) continue;
      const std::string places = t.name.substr(0, t.name.size() - 13) + "qhft_indices_default";
      const auto entries = [&](const io::safetensors_file& f) {
        std::map<std::pair<int, int>, float> sorted;
        const auto v = f.read<float>(t.name);
        const auto i = f.read<int>(places);
        for (std::size_t k = 0; k < v.size(); ++k) sorted[{i[k], i[v.size() + k]}] = v[k];
        return sorted;
      };
      const auto a = entries(before), b = entries(after);
      REQUIRE(a.size() == b.size());
      for (auto x = a.begin(), y = b.begin(); x != a.end(); ++x, ++y)
        REQUIRE((x->first == y->first && std::abs(x->second - y->second) <= 0x1p-22f * std::abs(x->second)));
    }
  }
  CHECK(modules == 48);
}
