// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Names of a transformer's linear layers: "blk.3.attn_q" in GGUF is "model.layers.3.self_attn.q_proj" in a Hugging
/// Face checkpoint. The same for Llama, Mistral, Qwen2, Qwen3 and Gemma.

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <qwha/base/config.hpp>

namespace qwha::io::inline QWHA_ISA {

namespace detail {

/// GGUF, Hugging Face.
inline constexpr std::array<std::pair<std::string_view, std::string_view>, 7> layer_roles{
    {{"attn_q", "self_attn.q_proj"},
     {"attn_k", "self_attn.k_proj"},
     {"attn_v", "self_attn.v_proj"},
     {"attn_output", "self_attn.o_proj"},
     {"ffn_gate", "mlp.gate_proj"},
     {"ffn_up", "mlp.up_proj"},
     {"ffn_down", "mlp.down_proj"}}};

/// What stands before and after "<number>." of a name whose number follows `marker`.
inline std::optional<std::pair<std::string_view, std::string_view>> split_layer(std::string_view name,
                                                                                std::string_view marker) noexcept {
  const std::size_t at = name.find(marker);
  if (at == name.npos) return std::nullopt;
  const std::string_view rest = name.substr(at + marker.size());
  const std::size_t digits = rest.find_first_not_of("0123456789");
  if (digits == 0 || digits == rest.npos || rest[digits] != '.') return std::nullopt;
  return std::pair{rest.substr(0, digits), rest.substr(digits + 1)};
}

}  // namespace detail

/// The Hugging Face name of a GGUF layer; nothing for names of another kind.
inline std::optional<std::string> hugging_face_module(std::string_view gguf) {
  if (!gguf.starts_with("blk.")) return std::nullopt;
  const auto split = detail::split_layer(gguf, "blk.");
  if (!split) return std::nullopt;
  for (const auto& [ours, theirs] : detail::layer_roles)
    if (split->second == ours) return "model.layers." + std::string(split->first) + "." + std::string(theirs);
  return std::nullopt;
}

/// The GGUF name of a Hugging Face layer, whatever stands before "layers."; nothing for names of another kind.
inline std::optional<std::string> gguf_module(std::string_view hugging_face) {
  const auto split = detail::split_layer(hugging_face, "layers.");
  if (!split) return std::nullopt;
  for (const auto& [ours, theirs] : detail::layer_roles)
    if (split->second == theirs) return "blk." + std::string(split->first) + "." + std::string(ours);
  return std::nullopt;
}

}  // namespace qwha::io::inline QWHA_ISA
