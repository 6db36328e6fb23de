// SPDX-License-Identifier: MIT
#pragma once
/// Small random models on disk, as GGUF and as Hugging Face directory, and a forward pass from the definition that
/// shares no code with the engine (formats.md is the common source).

#include <cmath>
#include <cstring>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>
#include <qwha/base/random.hpp>
#include <qwha/io/gguf_writer.hpp>
#include <qwha/io/safetensors_writer.hpp>

#include "support.hpp"

namespace engine_test {

/// Weights by their Hugging Face names, [out, in] in Hugging Face's order of rows.
struct tiny_model {
  struct weight {
    std::vector<std::size_t> shape;
    std::vector<float> values;
  };
  std::string kind;  // gemma3, llama, qwen2, qwen3
  std::size_t vocabulary = 61, hidden = 24, intermediate = 40, heads = 4, kv_heads = 2, head_dim = 8, layers = 4;
  std::size_t window = 5, pattern = 2;  // gemma3: every second layer sees everything
  double epsilon = 1e-5, base = 5000, local_base = 1000, scale = 2, softcap = 0;
  bool llama3_scaling = false, tied = true;
  std::map<std::string, weight> weights;

  bool gemma() const { return kind == "gemma3"; }
  bool slides(std::size_t layer) const { return gemma() && (layer + 1) % pattern != 0; }
};

inline tiny_model make_tiny(const std::string& kind, std::uint64_t seed) {
  tiny_model m;
  m.kind = kind;
  m.tied = kind != "llama";
  const qwha::counter_random random(seed);
  std::uint64_t draw = 0;
  const auto add = [&](const std::string& name, std::vector<std::size_t> shape, double center, double spread) {
    std::size_t size = 1;
    for (const std::size_t d : shape) size *= d;
    tiny_model::weight w{std::move(shape), std::vector<float>(size)};
    for (float& v : w.values) v = static_cast<float>(center + spread * (2 * random.uniform(draw++) - 1));
    m.weights[name] = std::move(w);
  };
  const double norm_center = m.gemma() ? 0 : 1;  // Gemma multiplies by 1 + w
  const auto norm = [&](const std::string& name, std::size_t size) { add(name, {size}, norm_center, 0.5); };
  add("model.embed_tokens.weight", {m.vocabulary, m.hidden}, 0, 0.5);
  norm("model.norm.weight", m.hidden);
  if (!m.tied) add("lm_head.weight", {m.vocabulary, m.hidden}, 0, 0.5);
  for (std::size_t i = 0; i < m.layers; ++i) {
    const std::string p = "model.layers." + std::to_string(i) + ".";
    const std::size_t q = m.heads * m.head_dim, kv = m.kv_heads * m.head_dim;
    for (const auto& [name, out, in] : {std::tuple{"self_attn.q_proj", q, m.hidden},
                                        {"self_attn.k_proj", kv, m.hidden},
                                        {"self_attn.v_proj", kv, m.hidden},
                                        {"self_attn.o_proj", m.hidden, q},
                                        {"mlp.gate_proj", m.intermediate, m.hidden},
                                        {"mlp.up_proj", m.intermediate, m.hidden},
                                        {"mlp.down_proj", m.hidden, m.intermediate}}) {
      add(p + name + ".weight", {out, in}, 0, 0.4);
      if (kind == "qwen2" && (std::string(name).find("q_proj") != std::string::npos ||
                              std::string(name).find("k_proj") != std::string::npos ||
                              std::string(name).find("v_proj") != std::string::npos))
        add(p + name + ".bias", {out}, 0, 0.3);
    }
    norm(p + "input_layernorm.weight", m.hidden);
    norm(p + "post_attention_layernorm.weight", m.hidden);
    if (m.gemma()) {
      norm(p + "pre_feedforward_layernorm.weight", m.hidden);
      norm(p + "post_feedforward_layernorm.weight", m.hidden);
    }
    if (m.gemma() || kind == "qwen3") {
      norm(p + "self_attn.q_norm.weight", m.head_dim);
      norm(p + "self_attn.k_norm.weight", m.head_dim);
    }
  }
  return m;
}

inline qwha::io::tensor as_tensor(const std::string& name, const tiny_model::weight& w) {
  return {name, qwha::io::dtype::f32, w.shape, std::as_bytes(std::span(w.values))};
}

inline nlohmann::json config_json(const tiny_model& m) {
  nlohmann::json c{{"model_type", m.gemma() ? "gemma3_text" : m.kind},
                   {"vocab_size", m.vocabulary},
                   {"hidden_size", m.hidden},
                   {"intermediate_size", m.intermediate},
                   {"num_attention_heads", m.heads},
                   {"num_key_value_heads", m.kv_heads},
                   {"head_dim", m.head_dim},
                   {"num_hidden_layers", m.layers},
                   {"rms_norm_eps", m.epsilon},
                   {"rope_theta", m.base}};
  if (m.gemma()) {
    c["sliding_window"] = m.window;
    c["sliding_window_pattern"] = m.pattern;
    c["rope_local_base_freq"] = m.local_base;
    c["query_pre_attn_scalar"] = m.head_dim;
    c["rope_scaling"] = {{"rope_type", "linear"}, {"factor", m.scale}};
    if (m.softcap > 0) c["final_logit_softcapping"] = m.softcap;
  }
  if (m.llama3_scaling)
    c["rope_scaling"] = {{"rope_type", "llama3"},
                         {"factor", 8.0},
                         {"low_freq_factor", 1.0},
                         {"high_freq_factor", 4.0},
                         {"original_max_position_embeddings", 64}};
  return c;
}

inline void write_hugging_face(const tiny_model& m, const fs::path& folder) {
  fs::create_directories(folder);
  std::ofstream(folder / "config.json") << config_json(m).dump();
  std::vector<qwha::io::tensor> tensors;
  for (const auto& [name, w] : m.weights) tensors.push_back(as_tensor(name, w));
  qwha::io::write_safetensors(folder / "model.safetensors", tensors);
}

/// GGUF: other names, Gemma's norms with the 1 added, Llama's q and k rows permuted for interleaved rotation.
inline void write_gguf(const tiny_model& m, const fs::path& path,
                       const std::map<std::string, std::string>& texts = {}) {
  const std::map<std::string, std::string> names{
      {"self_attn.q_proj", "attn_q"},
      {"self_attn.k_proj", "attn_k"},
      {"self_attn.v_proj", "attn_v"},
      {"self_attn.o_proj", "attn_output"},
      {"mlp.gate_proj", "ffn_gate"},
      {"mlp.up_proj", "ffn_up"},
      {"mlp.down_proj", "ffn_down"},
      {"input_layernorm", "attn_norm"},
      {"post_attention_layernorm", m.gemma() ? "post_attention_norm" : "ffn_norm"},
      {"pre_feedforward_layernorm", "ffn_norm"},
      {"post_feedforward_layernorm", "post_ffw_norm"},
      {"self_attn.q_norm", "attn_q_norm"},
      {"self_attn.k_norm", "attn_k_norm"}};
  qwha::io::gguf_writer w;
  const auto key = [&](const char* k) { return m.kind + "." + k; };
  const auto number = [](std::size_t n) { return static_cast<std::uint32_t>(n); };
  w.set("general.architecture", m.kind);
  w.set(key("block_count"), number(m.layers));
  w.set(key("embedding_length"), number(m.hidden));
  w.set(key("feed_forward_length"), number(m.intermediate));
  w.set(key("attention.head_count"), number(m.heads));
  w.set(key("attention.head_count_kv"), number(m.kv_heads));
  w.set(key("attention.key_length"), number(m.head_dim));
  w.set(key("attention.layer_norm_rms_epsilon"), static_cast<float>(m.epsilon));
  w.set(key("rope.freq_base"), static_cast<float>(m.base));
  if (m.gemma()) {
    w.set(key("attention.sliding_window"), number(m.window));
    w.set(key("attention.sliding_window_pattern"), number(m.pattern));
    w.set(key("rope.freq_base_swa"), static_cast<float>(m.local_base));
    w.set(key("rope.scaling.type"), std::string("linear"));
    w.set(key("rope.scaling.factor"), static_cast<float>(m.scale));
    if (m.softcap > 0) w.set(key("final_logit_softcapping"), static_cast<float>(m.softcap));
  }
  for (const auto& [k, v] : texts) w.set(k, v);
  std::map<std::string, tiny_model::weight> changed;  // must live until the file is written
  for (const auto& [name, original] : m.weights) {
    std::string to = name == "model.embed_tokens.weight" ? "token_embd.weight"
                     : name == "model.norm.weight"       ? "output_norm.weight"
                     : name == "lm_head.weight"          ? "output.weight"
                                                         : "";
    tiny_model::weight copy = original;
    if (to.empty()) {
      const std::size_t dot = name.find('.', 13), end = name.rfind('.');  // after "model.layers."
      const std::string module = name.substr(dot + 1, end - dot - 1);
      to = "blk." + name.substr(13, dot - 13) + "." + names.at(module) + name.substr(end);
      if (m.kind == "llama" && m.head_dim % 2 == 0 && (module == "self_attn.q_proj" || module == "self_attn.k_proj")) {
        const std::size_t d = m.head_dim, in = m.hidden;
        for (std::size_t row = 0; row < original.shape[0]; ++row) {
          const std::size_t head = row / d, a = row % d / (d / 2), b = row % (d / 2);
          std::copy_n(original.values.data() + row * in, in, copy.values.data() + (head * d + 2 * b + a) * in);
        }
      }
    }
    if (m.gemma() && name.find("norm") != std::string::npos)
      for (float& v : copy.values) v += 1;
    changed[to] = std::move(copy);
  }
  for (const auto& [name, weight] : changed) w.add(as_tensor(name, weight));
  w.save(path);
}

/// Logits [tokens, vocabulary] of one sequence in arithmetic T, one token, head and weight at a time.
template <class T>
std::vector<T> naive_logits(const tiny_model& m, const std::vector<std::int32_t>& tokens) {
  using row = std::vector<T>;
  const auto value = [&](const std::string& name) -> const std::vector<float>& { return m.weights.at(name).values; };
  const auto linear = [&](const std::string& name, const row& x) {
    const auto& w = m.weights.at(name + ".weight");
    row y(w.shape[0]);
    const auto bias = m.weights.find(name + ".bias");
    for (std::size_t o = 0; o < y.size(); ++o) {
      if (bias != m.weights.end()) y[o] = static_cast<T>(bias->second.values[o]);
      for (std::size_t i = 0; i < x.size(); ++i) y[o] += static_cast<T>(w.values[o * x.size() + i]) * x[i];
    }
    return y;
  };
  const auto norm = [&](const std::string& name, const row& x) {
    const auto& w = value(name + ".weight");
    T sum = 0;
    for (const T v : x) sum += v * v;
    const T scale = 1 / std::sqrt(sum / static_cast<T>(x.size()) + static_cast<T>(m.epsilon));
    row y(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) y[i] = x[i] * scale * (static_cast<T>(w[i]) + (m.gemma() ? 1 : 0));
    return y;
  };
  const auto rotate = [&](row& x, std::size_t position, std::size_t layer) {  // one head
    const std::size_t half = x.size() / 2;
    for (std::size_t i = 0; i < half; ++i) {
      double f = std::pow(m.slides(layer) ? m.local_base : m.base,
                          -2.0 * static_cast<double>(i) / static_cast<double>(x.size()));
      if (m.gemma() && !m.slides(layer)) f /= m.scale;
      if (m.llama3_scaling) {
        const double wave = 2 * 3.14159265358979323846 / f, low = 64 / 1.0, high = 64 / 4.0;
        if (wave > low)
          f /= 8;
        else if (wave > high) {
          const double s = (64 / wave - 1) / 3;
          f = (1 - s) * f / 8 + s * f;
        }
      }
      const T c = static_cast<T>(std::cos(static_cast<double>(position) * f)),
              s = static_cast<T>(std::sin(static_cast<double>(position) * f));
      const T a = x[i], b = x[i + half];
      x[i] = a * c - b * s;
      x[i + half] = b * c + a * s;
    }
  };
  const auto heads = [&](const row& x) {
    std::vector<row> h;
    for (std::size_t i = 0; i < x.size(); i += m.head_dim)
      h.emplace_back(x.begin() + static_cast<std::ptrdiff_t>(i),
                     x.begin() + static_cast<std::ptrdiff_t>(i + m.head_dim));
    return h;
  };
  std::vector<row> stream;
  for (const std::int32_t t : tokens) {
    const float* e = value("model.embed_tokens.weight").data() + static_cast<std::size_t>(t) * m.hidden;
    row x(e, e + m.hidden);
    if (m.gemma())
      for (T& v : x) v *= static_cast<T>(std::sqrt(static_cast<double>(m.hidden)));
    stream.push_back(x);
  }
  for (std::size_t layer = 0; layer < m.layers; ++layer) {
    const std::string p = "model.layers." + std::to_string(layer) + ".";
    std::vector<std::vector<row>> keys, values;  // [position][head]
    for (std::size_t t = 0; t < tokens.size(); ++t) {
      const row x = norm(p + "input_layernorm", stream[t]);
      std::vector<row> q = heads(linear(p + "self_attn.q_proj", x)), k = heads(linear(p + "self_attn.k_proj", x));
      for (row& h : q) {
        if (m.weights.contains(p + "self_attn.q_norm.weight")) h = norm(p + "self_attn.q_norm", h);
        rotate(h, t, layer);
      }
      for (row& h : k) {
        if (m.weights.contains(p + "self_attn.k_norm.weight")) h = norm(p + "self_attn.k_norm", h);
        rotate(h, t, layer);
      }
      keys.push_back(k);
      values.push_back(heads(linear(p + "self_attn.v_proj", x)));
      row mixed(m.heads * m.head_dim);
      for (std::size_t h = 0; h < m.heads; ++h) {
        const std::size_t kv = h / (m.heads / m.kv_heads),
                          from = m.slides(layer) && t >= m.window ? t - m.window + 1 : 0;
        row score(t + 1);
        T largest = -1e30f, total = 0;
        for (std::size_t s = from; s <= t; ++s) {
          for (std::size_t i = 0; i < m.head_dim; ++i) score[s] += q[h][i] * keys[s][kv][i];
          score[s] /= std::sqrt(static_cast<T>(m.head_dim));
          largest = std::max(largest, score[s]);
        }
        for (std::size_t s = from; s <= t; ++s) total += score[s] = std::exp(score[s] - largest);
        for (std::size_t s = from; s <= t; ++s)
          for (std::size_t i = 0; i < m.head_dim; ++i) mixed[h * m.head_dim + i] += score[s] / total * values[s][kv][i];
      }
      row y = linear(p + "self_attn.o_proj", mixed);
      if (m.gemma()) y = norm(p + "post_attention_layernorm", y);
      for (std::size_t i = 0; i < m.hidden; ++i) stream[t][i] += y[i];
    }
    for (row& x : stream) {
      const row in = norm(p + (m.gemma() ? "pre_feedforward_layernorm" : "post_attention_layernorm"), x);
      row gate = linear(p + "mlp.gate_proj", in);
      const row up = linear(p + "mlp.up_proj", in);
      for (std::size_t i = 0; i < gate.size(); ++i) {
        const T g = gate[i];
        const T inner =
            static_cast<T>(std::sqrt(2 / 3.14159265358979323846)) * (g + static_cast<T>(0.044715) * g * g * g);
        gate[i] = (m.gemma() ? g / 2 * (1 + std::tanh(inner)) : g / (1 + std::exp(-g))) * up[i];
      }
      row y = linear(p + "mlp.down_proj", gate);
      if (m.gemma()) y = norm(p + "post_feedforward_layernorm", y);
      for (std::size_t i = 0; i < m.hidden; ++i) x[i] += y[i];
    }
  }
  std::vector<T> logits;
  for (const row& x : stream) {
    const row in = norm("model.norm", x);
    const auto& head = value(m.tied ? "model.embed_tokens.weight" : "lm_head.weight");
    for (std::size_t v = 0; v < m.vocabulary; ++v) {
      T l = 0;
      for (std::size_t i = 0; i < m.hidden; ++i) l += static_cast<T>(head[v * m.hidden + i]) * in[i];
      if (m.softcap > 0) l = static_cast<T>(m.softcap) * std::tanh(l / static_cast<T>(m.softcap));
      logits.push_back(l);
    }
  }
  return logits;
}

}  // namespace engine_test
