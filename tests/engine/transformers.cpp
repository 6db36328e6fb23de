// SPDX-License-Identifier: MIT
// Tiny random Qwen2 and Qwen3 models that transformers 5.23.0 made and saved, against its logits, both in float:
// weights are halves, two layers, grouped queries; Qwen2 with biases, Qwen3 with tied embeddings.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <vector>

#include <qwha/io/safetensors.hpp>

#include <engine/graph.hpp>
#include <engine/model.hpp>

#include "catch.hpp"

TEST_CASE("logits of Qwen2 and Qwen3 are those of transformers") {
  for (const char* name : {"qwen2", "qwen3"}) {
    INFO(name);
    const auto folder = std::filesystem::path(QWHA_TEST_SOURCE_DIR) / "engine/data" / name;
    const engine::model m(folder);
    const qwha::io::safetensors_file expected(folder / "expected.safetensors");
    const auto ids = expected.read<engine::token>("ids");
    const auto want = expected.read<float>("logits");
    engine::matrix hidden(ids.size(), m.config().hidden), logits(ids.size(), m.config().vocabulary);
    REQUIRE(want.size() == logits.rows() * logits.cols());
    m.embed(ids, hidden.view());
    for (std::size_t layer = 0; layer < m.layers(); ++layer)
      engine::forward_block(m.config(), layer, m.load_block(layer), hidden.view(), ids.size());
    m.final_norm(hidden.view());
    m.logits(hidden.view(), logits.view());
    double largest = 0, size = 0;
    for (std::size_t i = 0; i < want.size(); ++i) {
      largest = std::max(largest, std::abs(static_cast<double>(logits.row(0)[i]) - static_cast<double>(want[i])));
      size = std::max(size, std::abs(static_cast<double>(want[i])));
    }
    std::printf("%-6s largest difference of a logit %.1e, largest logit %.1f\n", name, largest, size);
    CHECK(size > 1);
    CHECK(largest <= 1e-5);  // as for the reference's Llama models
  }
}
