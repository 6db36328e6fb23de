// SPDX-License-Identifier: MIT
#include "model.hpp"

#include <algorithm>
#include <string>
#include <string_view>

#include <qwha/base/error.hpp>
#include <qwha/base/float16.hpp>

#include "eigen_view.hpp"
#include "graph.hpp"

namespace engine {
namespace {

// What GGUF and Hugging Face call the tensors of a block, without the prefix of the block.
struct norm_names {
  const char *attention, *post_attention, *feed_forward, *post_feed_forward, *q, *k;
};
constexpr norm_names gguf_norms{"attn_norm",     "post_attention_norm", "ffn_norm",
                                "post_ffw_norm", "attn_q_norm",         "attn_k_norm"};
constexpr norm_names gemma_norms{"input_layernorm",           "post_attention_layernorm",
                                 "pre_feedforward_layernorm", "post_feedforward_layernorm",
                                 "self_attn.q_norm",          "self_attn.k_norm"};
constexpr norm_names llama_norms{"input_layernorm", "", "post_attention_layernorm", "", "self_attn.q_norm",
                                 "self_attn.k_norm"};

// The models of several modalities put the language model under a prefix.
std::string find_prefix(const weight_file& file) {
  if (file.gguf() != nullptr) return "";
  for (const char* prefix : {"model.", "language_model.model.", "model.language_model."})
    if (file.has(std::string(prefix) + "embed_tokens.weight")) return prefix;
  throw qwha::format_error(file.name() + ": has no tensor 'model.embed_tokens.weight'");
}

model_config read_config(const weight_file& file, const std::filesystem::path& path) {
  return file.gguf() != nullptr ? config_of_gguf(*file.gguf()) : config_of_json(path / "config.json");
}

std::unique_ptr<tokenizer> read_tokenizer(const weight_file& file, const std::filesystem::path& path) {
  if (file.gguf() != nullptr) {
    if (!file.gguf()->has_key("tokenizer.ggml.model")) return nullptr;
    return std::make_unique<tokenizer>(tokenizer::of_gguf(*file.gguf()));
  }
  const std::filesystem::path json = path / "tokenizer.json";
  return std::filesystem::exists(json) ? std::make_unique<tokenizer>(tokenizer::of_json(json)) : nullptr;
}

// Hugging Face's Gemma scales embeddings by a number of the weights' own type.
float rounded_scale(float scale, qwha::io::dtype type) {
  if (type == qwha::io::dtype::bf16) return qwha::bfloat16(scale);
  if (type == qwha::io::dtype::f16) return qwha::half(scale);
  return scale;
}

}  // namespace

model::model(const std::filesystem::path& path)
    : name_((path.has_filename() ? path : path.parent_path()).filename().string()),
      file_(path),
      config_(read_config(file_, path)),
      text_(read_tokenizer(file_, path)),
      prefix_(find_prefix(file_)) {
  const bool gguf = file_.gguf() != nullptr;
  const std::string embedding = gguf ? "token_embd.weight" : prefix_ + "embed_tokens.weight";
  embedding_ = file_.stored(embedding, config_.vocabulary, config_.hidden);
  if (!gguf) config_.embedding_scale = rounded_scale(config_.embedding_scale, file_.at(embedding).dtype);
  std::string output = gguf ? "output.weight" : "lm_head.weight";
  if (!gguf && !file_.has(output)) output = "language_model.lm_head.weight";
  head_ = linear(file_.has(output) ? file_.stored(output, config_.vocabulary, config_.hidden) : embedding_);
  final_norm_ = norm(gguf ? "output_norm.weight" : prefix_ + "norm.weight", config_.hidden);
  if (!config_.rope_factors.empty() && config_.rope_factors.size() != config_.head_dim / 2)
    throw qwha::format_error(file_.name() + ": tensor 'rope_freqs.weight' must hold head_dim / 2 values");
  if (text_ && text_->size() > config_.vocabulary)
    throw qwha::format_error(file_.name() + ": the tokenizer knows more tokens than there are embeddings");
}

const tokenizer& model::text() const {
  if (!text_) throw qwha::format_error(file_.name() + ": comes without a tokenizer");
  return *text_;
}

std::vector<float> model::norm(const std::string& tensor, std::size_t size) const {
  std::vector<float> weight = file_.vector(tensor, size);
  if (config_.kind == architecture::gemma3 && file_.gguf() == nullptr)
    for (float& w : weight) w += 1;  // Gemma's norms multiply by 1 + w; GGUF files hold the sum
  return weight;
}

block_weights model::load_block(std::size_t layer) const {
  if (layer >= layers()) throw qwha::value_error("load_block: the model has " + std::to_string(layers()) + " layers");
  const bool gguf = file_.gguf() != nullptr, gemma = config_.kind == architecture::gemma3;
  const std::string base =
      gguf ? "blk." + std::to_string(layer) + "." : prefix_ + "layers." + std::to_string(layer) + ".";
  const norm_names& names = gguf ? gguf_norms : gemma ? gemma_norms : llama_norms;
  block_weights block;
  block.attention_norm = norm(base + names.attention + ".weight", config_.hidden);
  block.feed_forward_norm = norm(base + names.feed_forward + ".weight", config_.hidden);
  if (gemma) {
    block.post_attention_norm = norm(base + names.post_attention + ".weight", config_.hidden);
    block.post_feed_forward_norm = norm(base + names.post_feed_forward + ".weight", config_.hidden);
  }
  if (gemma || config_.kind == architecture::qwen3) {
    block.q_norm = norm(base + names.q + ".weight", config_.head_dim);
    block.k_norm = norm(base + names.k + ".weight", config_.head_dim);
  }
  for (const linear_role role : all_roles) {
    const auto [out, in] = shape(role);
    const std::string name = base + std::string(gguf ? role_name(role) : role_module(role));
    std::vector<float> bias;
    if (file_.has(name + ".bias")) bias = file_.vector(name + ".bias", out);
    block.at(role) = make_dense(file_.dense(name + ".weight", out, in), std::move(bias));
  }
  return block;
}

std::pair<std::size_t, std::size_t> model::shape(linear_role role) const noexcept {
  switch (role) {
    case linear_role::attn_q: return {config_.query_width(), config_.hidden};
    case linear_role::attn_k:
    case linear_role::attn_v: return {config_.kv_width(), config_.hidden};
    case linear_role::attn_output: return {config_.hidden, config_.query_width()};
    case linear_role::ffn_gate:
    case linear_role::ffn_up: return {config_.intermediate, config_.hidden};
    case linear_role::ffn_down: return {config_.hidden, config_.intermediate};
  }
  return {0, 0};
}

void model::embed(std::span<const token> tokens, rows_view<float> hidden) const {
  if (hidden.rows != tokens.size() || hidden.cols != config_.hidden)
    throw qwha::shape_error("embed: the output is not [tokens, hidden]");
  for (std::size_t t = 0; t < tokens.size(); ++t) {
    if (tokens[t] < 0 || static_cast<std::size_t>(tokens[t]) >= config_.vocabulary)
      throw qwha::value_error("embed: token " + std::to_string(tokens[t]) + " is outside the vocabulary of " +
                              std::to_string(config_.vocabulary));
    embedding_->read(static_cast<std::size_t>(tokens[t]), hidden.rows_from(t, 1));
    eigen_row(hidden, t) *= config_.embedding_scale;
  }
}

void model::final_norm(rows_view<float> hidden, const executor& where) const {
  rms_norm(hidden, final_norm_, config_.norm_epsilon, hidden, where);
}

void model::logits(rows_view<const float> normed, rows_view<float> out, const executor& where) const {
  head_.forward(normed, out, where);
  if (const float cap = config_.final_softcap; cap > 0)
    for (std::size_t t = 0; t < out.rows; ++t) eigen_row(out, t) = cap * (eigen_row(out, t) / cap).tanh();
}

}  // namespace engine
