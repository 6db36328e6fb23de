// SPDX-License-Identifier: MIT
// Tiny Llama models and their adapters, as the paper's Python reference wrote them, against its logits. Exit status 4,
// skipped, where the golden files are not there.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include <qwha/io/adapter_file.hpp>
#include <qwha/io/safetensors.hpp>

#include <engine/adapted.hpp>
#include <engine/graph.hpp>
#include <engine/model.hpp>

#include "catch.hpp"
#include "support.hpp"

namespace {

namespace fs = std::filesystem;

using engine::token;

fs::path reference_folder() {
  const auto golden = engine_test::golden_folder();
  if (!golden) {
    std::puts("skipped: needs golden files, beside the project or where QWHA_GOLDEN says");
    std::exit(4);
  }
  return *golden / "reference";
}

// Weights as they are, in the form of a quantized matrix: the reference's bases are floats.
struct plain_float {
  using matrix_parameters = qwha::no_parameters;
  static std::string name() { return "float"; }
  static constexpr std::size_t block_size = 16, code_bytes = 64, parameter_bytes = 0;
  static void decode(const std::byte* codes, const std::byte*, const matrix_parameters&, float* out) noexcept {
    std::memcpy(out, codes, code_bytes);
  }
};
static_assert(qwha::quantizer<plain_float>);

using adapter = qwha::sparse_spectral_adapter<float, plain_float>;

engine::linear adapted(const engine::linear& base, const qwha::sparse_spectrum<float>& spectrum) {
  const auto w = base.weights().dense();
  qwha::quantized_matrix<plain_float> q(w.rows, w.cols);
  for (std::size_t r = 0; r < w.rows; ++r) std::memcpy(q.writable_codes(r), w.row(r), w.cols * sizeof(float));
  return engine::make_adapted(adapter(q, spectrum));
}

double largest_difference(const engine::matrix& got, const std::vector<float>& want) {
  REQUIRE(want.size() == got.rows() * got.cols());
  double largest = 0;
  for (std::size_t i = 0; i < want.size(); ++i)
    largest = std::max(largest, std::abs(static_cast<double>(got.row(0)[i]) - static_cast<double>(want[i])));
  return largest;
}

}  // namespace

TEST_CASE("logits of base and adapted models are the reference's") {
  for (const char* name :
       {"llama_h64_random", "llama_h64_rank8", "llama_h80_had40_had28_rank6", "llama_h96_had12_had36_rank6"}) {
    const fs::path folder = reference_folder() / name;
    const engine::model m(folder / "base");
    const qwha::io::safetensors_file io(folder / "io.safetensors");
    const qwha::io::adapter_file file = qwha::io::load_adapter(folder / "adapter");
    const auto ids = io.read<token>("input_ids");
    const std::size_t context = io.at("input_ids").shape.at(1);
    std::size_t used = 0;
    for (const bool with_adapter : {false, true}) {
      engine::matrix hidden(ids.size(), m.config().hidden), logits(ids.size(), m.config().vocabulary);
      m.embed(ids, hidden.view());
      for (std::size_t layer = 0; layer < m.layers(); ++layer) {
        engine::block_weights block = m.load_block(layer);
        for (const engine::linear_role role : engine::all_roles)
          for (const auto& module : file.modules)
            if (with_adapter && module.name == engine::module_name(layer, role)) {
              block.at(role) = adapted(block.at(role), module.spectrum);
              ++used;
            }
        engine::forward_block(m.config(), layer, block, hidden.view(), context);
      }
      m.final_norm(hidden.view());
      m.logits(hidden.view(), logits.view());
      const double difference =
          largest_difference(logits, io.read<float>(with_adapter ? "logits_adapted" : "logits_base"));
      std::printf("%-28s %-8s largest difference of a logit %.1e\n", name, with_adapter ? "adapted" : "base",
                  difference);
      INFO(name << (with_adapter ? ", adapted" : ", base"));
      CHECK(difference <= 1e-5);
    }
    CHECK(used == file.modules.size());
    CHECK(used > 0);
  }
}
