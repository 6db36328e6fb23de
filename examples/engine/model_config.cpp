// SPDX-License-Identifier: MIT
#include "model_config.hpp"

#include <cmath>
#include <cstdint>
#include <numbers>
#include <optional>
#include <string_view>

#include <nlohmann/json.hpp>
#include <qwha/base/error.hpp>
#include <qwha/io/json.hpp>
#include <qwha/io/mapped_file.hpp>
#include <qwha/io/message.hpp>

namespace engine {
namespace {

constexpr std::size_t most = std::size_t{1} << 24;  // of any number here; keeps products far from overflow
constexpr std::size_t most_layers = 4096;

architecture architecture_of(const std::string& file, std::string_view name) {
  if (name == "gemma3" || name == "gemma3_text") return architecture::gemma3;
  if (name == "llama" || name == "mistral") return architecture::llama;
  if (name == "qwen2") return architecture::qwen2;
  if (name == "qwen3") return architecture::qwen3;
  throw qwha::format_error(file + ": architecture " + qwha::io::quoted_name(name) +
                           " is not known; the engine runs gemma3, llama, qwen2 and qwen3");
}

// Rules that hold for every architecture.
model_config checked(const std::string& file, model_config c) {
  const auto rule = [&](bool holds, const char* what) {
    if (!holds) throw qwha::format_error(file + ": the model's configuration is impossible: " + what);
  };
  for (const std::size_t n : {c.vocabulary, c.hidden, c.intermediate, c.heads, c.kv_heads, c.head_dim})
    rule(n > 0 && n <= most, "a width, or a number of heads or tokens, is zero or above 2^24");
  rule(!c.layers.empty() && c.layers.size() <= most_layers, "it needs 1 to 4096 layers");
  rule(c.query_width() <= most, "heads times head_dim is above 2^24");
  rule(c.heads % c.kv_heads == 0, "the number of heads is no multiple of that of key and value heads");
  rule(c.head_dim % 2 == 0, "head_dim is odd, so it cannot be rotated in pairs");
  rule(std::isfinite(c.norm_epsilon) && c.norm_epsilon >= 0, "the epsilon of the norms is negative or not finite");
  rule(std::isfinite(c.attention_scale) && c.attention_scale > 0, "the attention scale is not positive");
  rule(std::isfinite(c.final_softcap) && c.final_softcap >= 0, "the soft cap of the logits is negative or not finite");
  for (const layer_config& l : c.layers)
    rule(std::isfinite(l.rope_base) && l.rope_base > 0 && std::isfinite(l.rope_scale) && l.rope_scale > 0,
         "a RoPE base or factor is not positive");
  return c;
}

// Gemma 3: every `pattern`-th layer sees everything and may scale positions; the others see a window.
void alternate_windows(model_config& c, std::size_t pattern, std::size_t window, double local_base) {
  for (std::size_t i = 0; i < c.layers.size(); ++i)
    if (pattern == 0 || (i + 1) % pattern != 0)
      c.layers[i] = {.rope_base = local_base, .rope_scale = 1, .window = window};
}

float inverse_root(std::size_t n) { return static_cast<float>(1.0 / std::sqrt(static_cast<double>(n))); }

}  // namespace

model_config config_of_gguf(const qwha::io::gguf_file& file) {
  const auto name = file.value<std::string>("general.architecture");
  model_config c;
  c.kind = architecture_of(file.file(), name);
  const auto key = [&](const char* k) { return name + "." + k; };
  const auto size = [&](const char* k) { return std::size_t{file.value<std::uint32_t>(key(k))}; };
  const auto size_or = [&](const char* k, std::size_t fallback) { return file.has_key(key(k)) ? size(k) : fallback; };
  c.hidden = size("embedding_length");
  c.intermediate = size("feed_forward_length");
  c.heads = size("attention.head_count");
  c.kv_heads = size_or("attention.head_count_kv", c.heads);
  c.head_dim = size_or("attention.key_length", c.heads == 0 ? 0 : c.hidden / c.heads);
  c.context_length = size_or("context_length", 0);
  c.vocabulary = file.at("token_embd.weight").rows();
  c.norm_epsilon = file.value<float>(key("attention.layer_norm_rms_epsilon"));
  c.attention_scale = inverse_root(c.head_dim);
  c.interleaved_rope = c.kind == architecture::llama;
  if (size_or("rope.dimension_count", c.head_dim) != c.head_dim ||
      size_or("attention.value_length", c.head_dim) != c.head_dim)
    throw qwha::format_error(file.file() +
                             ": heads that are rotated in part, or whose values have another width, are not known");

  layer_config layer{.rope_base = file.value_or<double>(key("rope.freq_base"), 10000)};
  if (const auto scaling = file.value_or<std::string>(key("rope.scaling.type"), "none"); scaling == "linear")
    layer.rope_scale = file.value<double>(key("rope.scaling.factor"));
  else if (scaling != "none")
    throw qwha::format_error(file.file() + ": RoPE scaling of type " + qwha::io::quoted_name(scaling) +
                             " is not known");
  const std::size_t layers = size("block_count");
  if (layers <= most_layers) c.layers.assign(layers, layer);
  if (file.contains("rope_freqs.weight")) c.rope_factors = file.read<float>("rope_freqs.weight");

  if (c.kind == architecture::gemma3) {
    c.act = activation::gelu_tanh;
    c.embedding_scale = std::sqrt(static_cast<float>(c.hidden));
    c.final_softcap = file.value_or<float>(key("final_logit_softcapping"), 0);
    constexpr std::size_t layers_of_27b = 62;  // the only size whose query_pre_attn_scalar is not head_dim
    if (layers == layers_of_27b && c.heads != 0) c.attention_scale = inverse_root(c.hidden / c.heads);
    alternate_windows(c, size_or("attention.sliding_window_pattern", 6), size("attention.sliding_window"),
                      file.value_or<double>(key("rope.freq_base_swa"), 10000));
  } else if (c.kind == architecture::llama) {
    for (layer_config& l : c.layers) l.window = size_or("attention.sliding_window", 0);
  }
  return checked(file.file(), std::move(c));
}

namespace {

// Frequencies of Llama 3.1 and later: long waves are slowed down by `factor`, short ones stay, those between are
// blended.
std::vector<float> llama3_factors(const model_config& c, double base, const nlohmann::json& scaling) {
  const double factor = scaling.at("factor"), low = scaling.at("low_freq_factor"),
               high = scaling.at("high_freq_factor");
  const double length = scaling.at("original_max_position_embeddings");
  std::vector<float> factors(c.head_dim / 2);
  for (std::size_t i = 0; i < factors.size(); ++i) {
    const double frequency = std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(c.head_dim));
    const double wave = 2 * std::numbers::pi / frequency;
    double divisor = 1;
    if (wave > length / low) {
      divisor = factor;
    } else if (wave > length / high) {
      const double s = (length / wave - low) / (high - low);
      divisor = 1 / ((1 - s) / factor + s);
    }
    factors[i] = static_cast<float>(divisor);
  }
  return factors;
}

// A key that may be absent or null.
template <class T>
std::optional<T> maybe(const nlohmann::json& j, const char* key) {
  const auto it = j.find(key);
  if (it == j.end() || it->is_null()) return std::nullopt;
  if constexpr (std::is_same_v<T, std::size_t>)
    if (!it->is_number_unsigned()) throw qwha::format_error("key '" + std::string(key) + "' is not a natural number");
  return it->get<T>();
}

model_config config_of(const std::string& file, const nlohmann::json& root) {
  const nlohmann::json& j = root.contains("text_config") ? root.at("text_config") : root;
  model_config c;
  c.kind = architecture_of(file, j.at("model_type").get<std::string>());
  const bool gemma = c.kind == architecture::gemma3;
  // Files may leave out what equals the class's default; widths and counts of layers have defaults that no small model
  // uses, so only Gemma 3, whose files are known to omit, gets them.
  const auto size = [&](const char* key, std::size_t gemma_default) {
    const auto n = maybe<std::size_t>(j, key);
    if (!n && !gemma) throw qwha::format_error("key '" + std::string(key) + "' is missing");
    return n.value_or(gemma_default);
  };
  c.hidden = size("hidden_size", 2304);
  c.intermediate = size("intermediate_size", 9216);
  c.heads = size("num_attention_heads", 8);
  c.kv_heads = maybe<std::size_t>(j, "num_key_value_heads").value_or(gemma ? 4 : c.heads);
  c.head_dim = maybe<std::size_t>(j, "head_dim").value_or(gemma ? 256 : c.heads == 0 ? 0 : c.hidden / c.heads);
  c.vocabulary = size("vocab_size", 262208);
  c.context_length = maybe<std::size_t>(j, "max_position_embeddings").value_or(0);
  c.norm_epsilon = maybe<float>(j, "rms_norm_eps").value_or(1e-6f);
  c.attention_scale = inverse_root(c.head_dim);
  const std::size_t layers = size("num_hidden_layers", 26);

  const auto wanted = gemma ? std::string_view("gelu_pytorch_tanh") : std::string_view("silu");
  const auto act = maybe<std::string>(j, gemma ? "hidden_activation" : "hidden_act");
  if (act && *act != wanted)
    throw qwha::format_error("activation " + qwha::io::quoted_name(*act) + " is not known here");

  // transformers 5 keeps theta and scaling in one dictionary, older ones side by side.
  const nlohmann::json empty = nlohmann::json::object();
  const auto object = [&](const char* key) -> const nlohmann::json& {
    return j.contains(key) && j.at(key).is_object() ? j.at(key) : empty;
  };
  const nlohmann::json& parameters = object("rope_parameters");
  const nlohmann::json& full = parameters.contains("full_attention") ? parameters.at("full_attention") : parameters;
  const nlohmann::json& local = parameters.contains("sliding_attention") ? parameters.at("sliding_attention") : empty;
  const nlohmann::json& scaling = full.empty() ? object("rope_scaling") : full;
  layer_config layer;
  layer.rope_base =
      maybe<double>(full, "rope_theta").value_or(maybe<double>(j, "rope_theta").value_or(gemma ? 1e6 : 1e4));
  const auto type =
      maybe<std::string>(scaling, "rope_type").value_or(maybe<std::string>(scaling, "type").value_or("default"));
  if (type == "linear")
    layer.rope_scale = scaling.at("factor");
  else if (type == "llama3")
    c.rope_factors = llama3_factors(c, layer.rope_base, scaling);
  else if (type != "default")
    throw qwha::format_error("RoPE scaling of type " + qwha::io::quoted_name(type) + " is not known");
  if (layers <= most_layers) c.layers.assign(layers, layer);

  if (gemma) {
    c.act = activation::gelu_tanh;
    c.embedding_scale = std::sqrt(static_cast<float>(c.hidden));
    c.attention_scale = static_cast<float>(1 / std::sqrt(maybe<double>(j, "query_pre_attn_scalar").value_or(256)));
    c.final_softcap = maybe<float>(j, "final_logit_softcapping").value_or(0);
    const auto window = maybe<std::size_t>(j, "sliding_window").value_or(4096);
    const double local_base =
        maybe<double>(local, "rope_theta").value_or(maybe<double>(j, "rope_local_base_freq").value_or(1e4));
    if (const auto types = maybe<std::vector<std::string>>(j, "layer_types")) {
      if (types->size() != c.layers.size()) throw qwha::format_error("layer_types names another number of layers");
      for (std::size_t i = 0; i < c.layers.size(); ++i)
        if ((*types)[i] == "sliding_attention")
          c.layers[i] = {.rope_base = local_base, .rope_scale = 1, .window = window};
    } else {
      alternate_windows(c, maybe<std::size_t>(j, "sliding_window_pattern").value_or(6), window, local_base);
    }
  } else if (c.kind == architecture::llama || maybe<bool>(j, "use_sliding_window").value_or(false)) {
    if (c.kind != architecture::llama && maybe<std::size_t>(j, "max_window_layers").value_or(0) != 0)
      throw qwha::format_error("sliding windows in the upper layers only are not known");
    for (layer_config& l : c.layers) l.window = maybe<std::size_t>(j, "sliding_window").value_or(0);
  }
  return checked(file, std::move(c));
}

}  // namespace

model_config config_of_json(const std::filesystem::path& path) {
  const std::string file = path.string();
  const qwha::io::mapped_file map(path);
  const nlohmann::json root = qwha::io::parse_json(file, map.bytes());
  try {
    return config_of(file, root);
  } catch (const nlohmann::json::exception& e) {
    throw qwha::format_error(file + ": " + e.what());
  } catch (const qwha::format_error& e) {
    const std::string what = e.what();
    throw qwha::format_error(what.starts_with(file) ? what : file + ": " + what);
  }
}

}  // namespace engine
