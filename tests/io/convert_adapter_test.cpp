// SPDX-License-Identifier: MIT
// convert-adapter as its users run it: there and back again without a lost bit, rows where the other engine looks for
// them, and one line for what cannot be done.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include <qwha/io/adapter_file.hpp>
#include "catch.hpp"
#include "expect.hpp"
#include "io/adapters.hpp"
#include "io/files.hpp"
#include "shell.hpp"

namespace {

using namespace qwha;
using namespace qwha::test;

shell_result convert(const std::string& arguments) { return shell(QWHA_CONVERT_ADAPTER " " + arguments); }

io::adapter_file llama_adapter() {
  io::adapter_file adapter;
  adapter.modules.push_back({"model.layers.0.self_attn.q_proj", some_spectrum(16, 32, 1), order_name(32), "00ff"});
  adapter.modules.push_back({"model.layers.0.self_attn.k_proj", some_spectrum(8, 32, 2), order_name(32), "00ff"});
  adapter.modules.push_back({"model.layers.0.mlp.down_proj", some_spectrum(6, 64, 3), order_name(64), "00ff"});
  return adapter;
}

std::vector<float> dense_row(const sparse_spectrum<float>& f, std::size_t row) {
  std::vector<float> dense(f.cols(), 0.0f);
  for (std::size_t k = 0; k < f.columns(row).size(); ++k) dense[f.columns(row)[k]] = f.values(row)[k];
  return dense;
}

}  // namespace

TEST_CASE("adapters go round all formats", "[io][convert_adapter]") {
  const scratch_folder folder;
  const std::string f = folder.path().string() + "/";
  io::save_adapter(folder / "a.safetensors", llama_adapter());

  // The same model under GGUF's names, as every architecture but llama has it.
  const shell_result there = convert(f + "a.safetensors " + f + "b.gguf --architecture qwen3");
  INFO(there.output);
  REQUIRE(there.status == 0);
  CHECK(mentions(there.output, {"3 layers", "blk.0.attn_q", "difference 0.0e+00"}));
  REQUIRE(convert(f + "b.gguf " + f + "c.safetensors --names hf").status == 0);
  io::adapter_file back = io::load_adapter(folder / "c.safetensors");
  CHECK(back.metadata["architecture"] == "qwen3");
  back.metadata.clear();
  check_same(llama_adapter(), back);
  CHECK(back.modules[0].base_fingerprint == "00ff");

  // The reference's folders hold other units: values come back within two roundings.
  REQUIRE(convert(f + "b.gguf " + f + "qhft --scaling 4000").status == 0);
  const io::adapter_file reference = io::load_adapter(folder / "qhft");
  for (const io::adapter_module& m : llama_adapter().modules) {
    const auto it = std::find_if(reference.modules.begin(), reference.modules.end(),
                                 [&](const io::adapter_module& r) { return r.name == m.name; });
    REQUIRE(it != reference.modules.end());
    REQUIRE(it->spectrum.size() == m.spectrum.size());
    for (std::size_t i = 0; i < m.spectrum.size(); ++i)
      CHECK(std::fabs(it->spectrum.values()[i] - m.spectrum.values()[i]) <=
            2.4e-7f * std::fabs(m.spectrum.values()[i]));
  }
}

TEST_CASE("rows of q and k of Llama models change order for GGUF", "[io][convert_adapter]") {
  const scratch_folder folder;
  const std::string f = folder.path().string() + "/";
  const io::adapter_file before = llama_adapter();
  io::save_adapter(folder / "a.safetensors", before);
  REQUIRE(convert(f + "a.safetensors " + f + "b.gguf --architecture llama --heads 4 --kv-heads 2").status == 0);
  const io::adapter_file gguf = io::load_adapter(folder / "b.gguf");
  // Head 1 of q has rows 4 … 7: Hugging Face rotates 4 with 6 and 5 with 7, GGUF wants each pair side by side.
  const std::size_t source[] = {0, 2, 1, 3, 4, 6, 5, 7};
  for (std::size_t r = 0; r < 8; ++r) {
    CHECK(dense_row(gguf.modules[0].spectrum, r) == dense_row(before.modules[0].spectrum, source[r]));
    CHECK(dense_row(gguf.modules[1].spectrum, r) == dense_row(before.modules[1].spectrum, source[r]));
  }
  CHECK(gguf.modules[2].spectrum == before.modules[2].spectrum);
  CHECK(gguf.modules[0].base_fingerprint.empty());
  CHECK(gguf.modules[2].base_fingerprint == "00ff");
  REQUIRE(convert(f + "b.gguf " + f + "c.safetensors --names hf --heads 4 --kv-heads 2").status == 0);
  io::adapter_file back = io::load_adapter(folder / "c.safetensors");
  back.metadata.clear();
  check_same(before, back);
}

TEST_CASE("what cannot be converted is said in one line and leaves nothing", "[io][convert_adapter]") {
  const scratch_folder folder;
  const std::string f = folder.path().string() + "/";
  io::save_adapter(folder / "a.safetensors", llama_adapter());
  const auto refused = [&](const std::string& arguments, std::initializer_list<std::string_view> parts) {
    const shell_result r = convert(arguments);
    INFO(arguments << "\n" << r.output);
    CHECK(r.status == 1);
    CHECK(std::count(r.output.begin(), r.output.end(), '\n') == 1);
    CHECK(mentions(r.output, parts));
    CHECK(folder.entries() == 1);
  };
  refused(f + "none.safetensors " + f + "b.gguf", {"none.safetensors"});
  refused(f + "a.safetensors " + f + "b.gguf", {"q_proj", "--architecture"});
  refused(f + "a.safetensors " + f + "b.gguf --architecture llama", {"--heads"});
  refused(f + "a.safetensors " + f + "b.gguf --architecture llama --heads 3", {"q_proj", "16 rows", "3 heads"});
  refused(f + "a.safetensors " + f + "b --scaling 0", {"scaling"});
  refused(f + "a.safetensors /proc/none/b.gguf --architecture qwen3", {"/proc/none/b.gguf"});
  CHECK(convert("").status == 2);
  CHECK(convert(f + "a.safetensors b --names other").status == 2);
  CHECK(convert("--help").status == 0);
}
