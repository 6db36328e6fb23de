// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// One transformer block: its seven linear layers, its norms, and what files call them.

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "linear.hpp"

namespace engine {

/// The linear layers of a block, in the order of the graph.
enum class linear_role : std::size_t { attn_q, attn_k, attn_v, attn_output, ffn_gate, ffn_up, ffn_down };
inline constexpr std::array all_roles{linear_role::attn_q,      linear_role::attn_k,   linear_role::attn_v,
                                      linear_role::attn_output, linear_role::ffn_gate, linear_role::ffn_up,
                                      linear_role::ffn_down};

/// "attn_q": the name inside a GGUF block.
constexpr std::string_view role_name(linear_role role) noexcept {
  constexpr std::array<std::string_view, 7> names{"attn_q",   "attn_k", "attn_v",  "attn_output",
                                                  "ffn_gate", "ffn_up", "ffn_down"};
  return names[static_cast<std::size_t>(role)];
}
/// "self_attn.q_proj": the name inside a Hugging Face layer.
constexpr std::string_view role_module(linear_role role) noexcept {
  constexpr std::array<std::string_view, 7> names{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                                  "self_attn.o_proj", "mlp.gate_proj",    "mlp.up_proj",
                                                  "mlp.down_proj"};
  return names[static_cast<std::size_t>(role)];
}
/// The first role that reads the same input: q for q, k, v; gate for gate and up.
constexpr linear_role input_of(linear_role role) noexcept {
  switch (role) {
    case linear_role::attn_k:
    case linear_role::attn_v: return linear_role::attn_q;
    case linear_role::ffn_up: return linear_role::ffn_gate;
    default: return role;
  }
}
/// "blk.0.attn_q": how tables, reports and GGUF files call a layer.
inline std::string layer_name(std::size_t layer, linear_role role) {
  return "blk." + std::to_string(layer) + "." + std::string(role_name(role));
}
/// "model.layers.0.self_attn.q_proj": how Hugging Face and adapter files call it.
inline std::string module_name(std::size_t layer, linear_role role) {
  return "model.layers." + std::to_string(layer) + "." + std::string(role_module(role));
}

/// Norm weights multiply as they are (Gemma's 1 + w is added up when a file is read). Empty: the model has no such
/// norm.
struct block_weights {
  std::vector<float> attention_norm, post_attention_norm, feed_forward_norm, post_feed_forward_norm;  // [hidden]
  std::vector<float> q_norm, k_norm;                                                                  // [head_dim]
  std::array<linear, all_roles.size()> linears;

  linear& at(linear_role role) noexcept { return linears[static_cast<std::size_t>(role)]; }
  const linear& at(linear_role role) const noexcept { return linears[static_cast<std::size_t>(role)]; }
};

}  // namespace engine
