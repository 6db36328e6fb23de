// SPDX-License-Identifier: MIT
#include <numeric>

#include "budget.hpp"
#include "catch.hpp"
#include "qwha/base/error.hpp"

namespace {

engine::model_config gemma_270m() {
  engine::model_config c;
  c.hidden = 640;
  c.intermediate = 2048;
  c.heads = 4;
  c.kv_heads = 1;
  c.head_dim = 256;
  c.layers.resize(18);
  return c;
}

std::size_t total(const adapt::budget_table& table) {
  std::size_t sum = 0;
  for (const auto& block : table) sum = std::accumulate(block.begin(), block.end(), sum);
  return sum;
}

}  // namespace

TEST_CASE("a rank gives every layer rank (in + out), as many as LoRA of that rank") {
  adapt::options o;
  o.rank = 16;
  const auto table = adapt::share_out(o, gemma_270m());
  REQUIRE(table.size() == 18);
  CHECK(table[0][static_cast<std::size_t>(engine::linear_role::attn_q)] == 16 * (640 + 1024));
  CHECK(table[17][static_cast<std::size_t>(engine::linear_role::ffn_down)] == 16 * (2048 + 640));
}

TEST_CASE("a budget for the model is shared out to the last coefficient") {
  adapt::options o;
  o.rank.reset();
  for (const std::size_t p : {std::size_t{126 * 7}, std::size_t{100001}, std::size_t{3796992}}) {
    o.parameters = p;
    INFO("parameters " << p);
    CHECK(total(adapt::share_out(o, gemma_270m())) == p);
  }
}

TEST_CASE("budgets that a layer cannot hold are refused by name") {
  adapt::options o;
  o.rank = 1000;
  CHECK_THROWS_WITH(adapt::share_out(o, gemma_270m()), contains("blk.0.attn_q") && contains("--rank 1000"));
  o.rank = static_cast<std::size_t>(-1);  // rank (in + out) overflows
  CHECK_THROWS_AS(adapt::share_out(o, gemma_270m()), qwha::value_error);
  o.rank.reset();
  o.parameters = 5;  // fewer than layers
  CHECK_THROWS_WITH(adapt::share_out(o, gemma_270m()), contains("--parameters 5"));
  o.parameters = static_cast<std::size_t>(-1);
  CHECK_THROWS_AS(adapt::share_out(o, gemma_270m()), qwha::value_error);
}

TEST_CASE("a width without a Hadamard matrix is refused by name") {
  adapt::options o;
  engine::model_config c = gemma_270m();
  c.hidden = 642;
  CHECK_THROWS_WITH(adapt::share_out(o, c), contains("attn_q") && contains("642"));
}
