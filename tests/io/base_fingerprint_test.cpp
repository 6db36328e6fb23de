// SPDX-License-Identifier: MIT
// Fingerprints of bases: equal for equal weights in whatever container, different after any change, kept by every file
// format and compared where an adapter meets its base.

#include <cmath>
#include <cstddef>
#include <random>
#include <string>
#include <vector>

#include <qwha/io/adapter_file.hpp>
#include <qwha/io/base_fingerprint.hpp>
#include <qwha/io/module_names.hpp>
#include <qwha/quant/affine.hpp>
#include <qwha/quant/nf4.hpp>
#include <qwha/quant/quantize.hpp>
#include "catch.hpp"
#include "expect.hpp"
#include "io/adapters.hpp"
#include "io/files.hpp"

namespace {

using namespace qwha;
using namespace qwha::test;

std::vector<float> some_weights(std::size_t count) {
  std::mt19937 random(7);
  std::vector<float> w(count);
  for (float& v : w) v = static_cast<float>(static_cast<int>(random() % 2001) - 1000) * 0.0011f;
  return w;
}

}  // namespace

TEST_CASE("a fingerprint follows the weights, not their container", "[io][base_fingerprint]") {
  for (const std::size_t in : {64u, 61u, 1u}) {
    constexpr std::size_t out = 5;
    std::vector<float> w = some_weights(out * in);
    const rows_view<const float> view(w.data(), out, in);
    const auto nf = quantize<nf4<64>>(view);
    const auto affine4 = quantize<affine<4, 32>>(view);
    std::vector<float> dense(out * in), strided(out * (in + 3), 9.0f);
    affine4.dequantize({dense.data(), out, in});
    for (std::size_t r = 0; r < out; ++r) affine4.decode_row(r, strided.data() + r * (in + 3));
    const std::string ours = io::base_fingerprint(affine4);
    INFO("in = " << in);
    CHECK(ours.size() == 16);
    CHECK(ours == io::base_fingerprint(rows_view<const float>(dense.data(), out, in)));
    CHECK(ours == io::base_fingerprint(rows_view<const float>(strided.data(), out, in, in + 3)));
    if (in > 1) CHECK(ours != io::base_fingerprint(nf));
    CHECK(ours != io::base_fingerprint(rows_view<const float>(dense.data(), in, out)));
    for (std::size_t i = 0; i < dense.size(); i += 7) {
      const float kept = dense[i];
      dense[i] = std::nextafter(kept, 100.0f);
      CHECK(ours != io::base_fingerprint(rows_view<const float>(dense.data(), out, in)));
      dense[i] = kept;
    }
  }
  // Pinned: files outlive releases.
  const std::vector<float> pinned{1.0f, -2.0f, 0.5f, -0.0f, 3.0f, 4.0f};
  CHECK(io::base_fingerprint(rows_view<const float>(pinned.data(), 2, 3)) == "5e02ed43e9d0bf00");
  const std::vector<float> zero{1.0f, -2.0f, 0.5f, 0.0f, 3.0f, 4.0f};
  CHECK(io::base_fingerprint(rows_view<const float>(zero.data(), 2, 3)) ==
        io::base_fingerprint(rows_view<const float>(pinned.data(), 2, 3)));
}

TEST_CASE("files keep fingerprints, and a module goes to its own base only", "[io][base_fingerprint]") {
  const scratch_folder folder;
  const std::vector<float> w = some_weights(9 * 64);
  const auto base = quantize<affine<3, 32>>(rows_view<const float>(w.data(), 9, 64));
  const auto other = quantize<affine<2, 32>>(rows_view<const float>(w.data(), 9, 64));
  io::adapter_file adapter;
  adapter.modules.push_back(
      {"model.layers.0.mlp.up_proj", some_spectrum(9, 64, 1), order_name(64), io::base_fingerprint(base)});
  adapter.modules.push_back({"model.layers.1.mlp.up_proj", some_spectrum(9, 64, 2), order_name(64)});
  io::save_adapter(folder / "a.gguf", adapter);
  io::save_adapter(folder / "a.safetensors", adapter);
  io::save_qhft(folder / "qhft", adapter, 0.25);
  for (const char* name : {"a.gguf", "a.safetensors", "qhft"}) {
    INFO(name);
    const io::adapter_file back = io::load_adapter(folder / name);
    REQUIRE(back.modules.size() == 2);
    CHECK(back.modules[0].base_fingerprint == adapter.modules[0].base_fingerprint);
    CHECK(back.modules[1].base_fingerprint.empty());
    CHECK(&io::module_for(back, "model.layers.0.mlp.up_proj", base) == &back.modules[0]);
    CHECK(mentions(message_of<format_error>([&] { io::module_for(back, "model.layers.0.mlp.up_proj", other); }),
                   {"model.layers.0.mlp.up_proj", io::base_fingerprint(base), io::base_fingerprint(other)}));
    CHECK(&io::module_for(back, "model.layers.1.mlp.up_proj", other) == &back.modules[1]);
    CHECK(mentions(message_of<format_error>([&] { io::module_for(back, "lm_head", base); }), {"lm_head"}));
    const rows_view<const float> short_weight(w.data(), 8, 64);
    CHECK(mentions(message_of<shape_error>([&] { io::module_for(back, "model.layers.0.mlp.up_proj", short_weight); }),
                   {"model.layers.0.mlp.up_proj", "[9, 64]", "[8, 64]"}));
  }
}

TEST_CASE("layers are called by two names", "[io][module_names]") {
  CHECK(io::hugging_face_module("blk.0.attn_q") == "model.layers.0.self_attn.q_proj");
  CHECK(io::hugging_face_module("blk.17.ffn_down") == "model.layers.17.mlp.down_proj");
  CHECK(io::gguf_module("model.layers.11.self_attn.o_proj") == "blk.11.attn_output");
  CHECK(io::gguf_module("model.language_model.layers.3.mlp.gate_proj") == "blk.3.ffn_gate");
  for (const char* name : {"blk.attn_q", "blk.3", "blk.3.", "blk.x.attn_q", "output", "", "a.blk.3.attn_q", "blk.3.q"})
    CHECK_FALSE(io::hugging_face_module(name));
  for (const char* name : {"lm_head", "", "layers.", "layers.3", "model.layers.3.q_proj", "model.layers..mlp.up_proj"})
    CHECK_FALSE(io::gguf_module(name));
}
