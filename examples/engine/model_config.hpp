// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// The numbers that tell one decoder-only transformer from another, read from GGUF metadata or from config.json.

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include <qwha/io/gguf.hpp>

namespace engine {

enum class architecture { gemma3, llama, qwen2, qwen3 };
enum class activation { silu, gelu_tanh };

/// What may differ from layer to layer.
struct layer_config {
  double rope_base = 10000;  ///< theta: pair i of d/2 turns by position * theta^(-2i/d)
  double rope_scale = 1;     ///< positions are divided by this (linear scaling)
  std::size_t window = 0;    ///< a token sees itself and window - 1 before it; 0: all before it
};

struct model_config {
  architecture kind = architecture::llama;
  std::size_t vocabulary = 0;
  std::size_t hidden = 0;        ///< width of the residual stream
  std::size_t intermediate = 0;  ///< width inside the feed-forward part
  std::size_t heads = 0;
  std::size_t kv_heads = 0;  ///< query head h reads key and value head h / (heads / kv_heads)
  std::size_t head_dim = 0;  ///< heads * head_dim need not equal hidden
  std::size_t context_length = 0;
  float norm_epsilon = 1e-6f;
  float embedding_scale = 1;  ///< Gemma multiplies embeddings by sqrt(hidden)
  float attention_scale = 1;  ///< scores are q·k times this
  float final_softcap = 0;    ///< logits become c tanh(logits / c) where c > 0
  activation act = activation::silu;
  bool interleaved_rope = false;    ///< rotated pairs are (2i, 2i + 1) instead of (i, i + d/2): Llama in GGUF files
  std::vector<float> rope_factors;  ///< [head_dim / 2] divisors of the frequencies (Llama 3); empty: none
  std::vector<layer_config> layers;

  std::size_t query_width() const noexcept { return heads * head_dim; }
  std::size_t kv_width() const noexcept { return kv_heads * head_dim; }
};

/// @throws qwha::format_error that names the file and the key: unknown architecture, missing or impossible number
model_config config_of_gguf(const qwha::io::gguf_file& file);
/// @param path  config.json of a Hugging Face model
model_config config_of_json(const std::filesystem::path& path);

}  // namespace engine
