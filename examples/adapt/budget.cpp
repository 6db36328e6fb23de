// SPDX-License-Identifier: MIT
#include "budget.hpp"

#include <string>

#include <qwha/base/error.hpp>
#include <qwha/transform/order.hpp>

namespace adapt {

using engine::linear_role;

std::pair<std::size_t, std::size_t> shape_of(const engine::model_config& c, linear_role role) {
  switch (role) {
    case linear_role::attn_q: return {c.query_width(), c.hidden};
    case linear_role::attn_k:
    case linear_role::attn_v: return {c.kv_width(), c.hidden};
    case linear_role::attn_output: return {c.hidden, c.query_width()};
    case linear_role::ffn_gate:
    case linear_role::ffn_up: return {c.intermediate, c.hidden};
    case linear_role::ffn_down: return {c.hidden, c.intermediate};
  }
  return {0, 0};
}

budget_table share_out(const options& options, const engine::model_config& config) {
  std::size_t block_share = 0;
  for (const linear_role role : engine::all_roles) {
    const auto [out, in] = shape_of(config, role);
    if (!qwha::supported_order(in))
      throw qwha::unsupported_order(std::string(engine::role_name(role)) + ": there is no Hadamard matrix of order " +
                                    std::to_string(in));
    block_share += in + out;
  }
  const std::size_t layers = config.layers.size(), total_share = layers * block_share;
  // Parts of --parameters are differences of rounded cumulative shares, so they add up exactly.
  const auto part_before = [&](std::size_t share) {
    return static_cast<std::size_t>(static_cast<long double>(*options.parameters) * static_cast<long double>(share) /
                                    static_cast<long double>(total_share));
  };

  budget_table table(layers);
  std::size_t share = 0;
  for (std::size_t layer = 0; layer < layers; ++layer)
    for (const linear_role role : engine::all_roles) {
      const auto [out, in] = shape_of(config, role);
      const bool fits = !options.rank || *options.rank <= in * out / (in + out);
      const std::size_t p = !options.rank ? part_before(share + in + out) - part_before(share)
                            : fits        ? *options.rank * (in + out)
                                          : in * out + 1;
      share += in + out;
      if (p == 0 || p > in * out)
        throw qwha::value_error((options.rank ? "--rank " + std::to_string(*options.rank)
                                              : "--parameters " + std::to_string(*options.parameters)) +
                                ": the budget of " + engine::layer_name(layer, role) + " must be from 1 to its " +
                                std::to_string(in * out) + " weights");
      table[layer][static_cast<std::size_t>(role)] = p;
    }
  return table;
}

}  // namespace adapt
