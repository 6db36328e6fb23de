// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cstddef>
#include <fstream>
#include <sstream>
#include <string>

#include "catch.hpp"

#include <qwha/adapter/cost_model.hpp>

using qwha::adapter_cost_model;
using qwha::adapter_path;

static_assert(adapter_cost_model{} == adapter_cost_model{});
static_assert(adapter_cost_model{.butterfly = 1} != adapter_cost_model{.butterfly = 2});

TEST_CASE("few tokens go through the activations, many through the weights", "[adapter]") {
  constexpr adapter_cost_model model;
  constexpr std::size_t p = 16 * (4096 + 4096);  // the parameters of rank 16
  static_assert(model.choose(4096, 4096, p, 1) == adapter_path::activations);
  static_assert(model.choose(4096, 4096, p, 1 << 20) == adapter_path::weights);
  // One change of sides: the activation path grows with the tokens, the other does not.
  bool weights = false;
  for (std::size_t tokens = 1; tokens < 20000; ++tokens) {
    const bool now = model.choose(4096, 4096, p, tokens) == adapter_path::weights;
    CHECK((now || !weights));
    weights = now;
  }
  CHECK(weights);
  // Nothing to do without coefficients beyond the transforms, which a caller may declare free.
  constexpr adapter_cost_model free{.butterfly = 0, .interleave = 0};
  static_assert(free.choose(4096, 4096, 0, 1 << 20) == adapter_path::activations);
}

TEST_CASE("the model never picks a path that was measured a fifth slower than the other", "[adapter]") {
  std::ifstream table(QWHA_TEST_SOURCE_DIR "/../bench/adapter/paths.csv");
  REQUIRE(table);
  std::size_t measured = 0;
  for (std::string line; std::getline(table, line);) {
    if (line.empty() || line[0] < '0' || line[0] > '9') continue;
    INFO(line);
    std::istringstream fields(line);
    std::size_t out = 0, in = 0, coefficients = 0, tokens = 0;
    double activations = 0, weights = 0;
    char comma = 0;
    fields >> out >> comma >> in >> comma >> coefficients >> comma >> tokens >> comma >> activations >> comma >>
        weights;
    REQUIRE(fields);
    const bool by_activations = adapter_cost_model{}.choose(out, in, coefficients, tokens) == adapter_path::activations;
    CHECK((by_activations ? activations : weights) <= 1.2 * std::min(activations, weights));
    ++measured;
  }
  CHECK(measured == 36);
}
