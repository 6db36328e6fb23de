// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Adapters of the paper's reference implementation (vantaa89/qwha, PEFT type "QHFT"): a folder with
/// adapter_config.json and adapter_model.safetensors.
///
/// The reference computes ΔW = C H / in with C = spectrum · scaling / sqrt(out); ours is ΔW = F H / sqrt(in). Hence
/// F = spectrum · scaling / sqrt(in · out), with `scaling` from the config.

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <limits>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/base/executor.hpp>
#include <qwha/base/finite.hpp>
#include <qwha/io/adapter_module.hpp>
#include <qwha/io/adapter_safetensors.hpp>
#include <qwha/io/atomic_file.hpp>
#include <qwha/io/json.hpp>
#include <qwha/io/mapped_file.hpp>
#include <qwha/io/message.hpp>
#include <qwha/io/random_permutation.hpp>
#include <qwha/io/safetensors.hpp>
#include <qwha/io/safetensors_writer.hpp>
#include <qwha/io/tensor.hpp>

namespace qwha::io {

/// [out, in] of a layer.
struct layer_shape {
  std::size_t out = 0, in = 0;
};

/// What a QHFT folder does not say itself.
struct qhft_options {
  /// Shape of a layer by its name in the model ("model.layers.0.self_attn.q_proj"). Asked first; when it is not set or
  /// gives nothing, shapes come from the folder (where qwha wrote it) or from the base model that the config names.
  std::function<std::optional<layer_shape>(std::string_view module)> shape = {};
  /// Folder to take the indices from, for checkpoints that the reference saved after training: these hold the indices
  /// of an unused random draw. It is the folder that training started from.
  std::filesystem::path indices_from = {};
  /// Accept indices that equal the reference's random draw although the config does not ask for a random adapter.
  bool accept_random_indices = false;
};

}  // namespace qwha::io

namespace qwha::io::inline QWHA_ISA {

namespace detail {

inline constexpr std::string_view qhft_prefix = "base_model.model.";
inline constexpr std::string_view qhft_model_name = "adapter_model.safetensors";
inline constexpr std::string_view qhft_config_name = "adapter_config.json";

/// The fields of adapter_config.json that matter here.
struct qhft_config {
  double scaling = 1;
  std::uint64_t seed = 777;
  bool random_spectrum = false;  ///< init_weights false: values drawn at random, at places drawn at random
  std::string base;
};

inline qhft_config parse_qhft_config(const std::string& file, std::span<const std::byte> bytes) {
  const nlohmann::json json = parse_json(file, bytes);
  const auto fail = [&](const std::string& rule) { throw format_error(joined(file, ": ", rule)); };
  if (!json.is_object()) fail("is no JSON object");
  const auto find = [&](const char* key) -> const nlohmann::json* {
    const auto it = json.find(key);
    return it == json.end() || it->is_null() ? nullptr : &*it;
  };
  const auto* type = find("peft_type");
  if (type == nullptr || *type != "QHFT") fail("peft_type is not \"QHFT\"");
  const auto* scale = find("scaling");
  if (scale == nullptr || !scale->is_number()) fail("has no number \"scaling\"");
  qhft_config config;
  config.scaling = scale->get<double>();
  if (!is_finite(config.scaling) || config.scaling == 0) fail("\"scaling\" must be finite and not 0");
  if (const auto* transposed = find("fan_in_fan_out"); transposed != nullptr && *transposed != false)
    fail("\"fan_in_fan_out\" is set: layers with transposed weights are not supported");
  if (const auto* seed = find("random_loc_seed"); seed != nullptr) {
    if (!seed->is_number_unsigned()) fail("\"random_loc_seed\" is no number without sign");
    config.seed = seed->get<std::uint64_t>();
  }
  if (const auto* init = find("init_weights"); init != nullptr) config.random_spectrum = *init == false;
  if (const auto* base = find("base_model_name_or_path"); base != nullptr && base->is_string())
    config.base = base->get<std::string>();
  return config;
}

/// The tensors of one module.
struct qhft_tensors {
  std::string module;  ///< without "base_model.model."
  const tensor* values = nullptr;
  const tensor* indices = nullptr;
};

/// @throws format_error for a tensor that belongs to no QHFT module, and for modules without values or indices
inline std::vector<qhft_tensors> find_qhft_tensors(const safetensors_file& file) {
  std::map<std::string, qhft_tensors, std::less<>> modules;
  for (const tensor& t : file.tensors()) {
    const auto fail = [&](const std::string& rule) {
      throw format_error(joined(file.file(), ": tensor ", quoted_name(t.name), " ", rule));
    };
    const std::size_t dot = t.name.rfind(".qhft_");
    if (dot == std::string::npos || !t.name.starts_with(qhft_prefix) || dot <= qhft_prefix.size())
      fail("belongs to no QHFT adapter: names are base_model.model.<module>.qhft_…");
    const std::string module = t.name.substr(qhft_prefix.size(), dot - qhft_prefix.size());
    const std::string_view kind = std::string_view(t.name).substr(dot + 1);
    qhft_tensors& m = modules[module];
    m.module = module;
    if (kind == "qhft_spectrum") {
      m.values = &t;
    } else if (kind.starts_with("qhft_indices_")) {  // then the adapter's name, "default" as a rule
      if (std::exchange(m.indices, &t) != nullptr) fail("is the second set of indices of its module");
    } else if (!kind.starts_with("qhft_scaling_") && !kind.starts_with("qhft_n_frequency_") &&
               !kind.starts_with("qhft_random_loc_seed_")) {
      fail("is not one of the tensors of a QHFT module");
    }
  }
  std::vector<qhft_tensors> found;
  for (auto& [module, m] : modules) {
    if (m.values == nullptr || m.indices == nullptr)
      throw format_error(joined(file.file(), ": module ", quoted_name(module), " has no ",
                                (m.values == nullptr ? "qhft_spectrum" : "qhft_indices_…")));
    found.push_back(std::move(m));
  }
  return found;
}

/// Do the places equal the start of the reference's random draw for this shape?
inline bool is_random_draw(std::span<const std::uint64_t> rows, std::span<const std::uint64_t> cols, layer_shape shape,
                           std::uint64_t seed) {
  const std::uint64_t n = std::uint64_t{shape.out} * shape.in;
  if (rows.size() < 2 || n > torch_permutation::largest) return false;
  torch_permutation draw(n, seed);
  for (std::size_t k = 0; k < rows.size(); ++k)
    if (draw.next() != rows[k] * shape.in + cols[k]) return false;
  return true;
}

/// One module. `indices_file` is where the indices come from, `file` where the values do.
inline adapter_module qhft_module(const std::string& file, const qhft_tensors& m, const std::string& indices_file,
                                  const tensor& indices, layer_shape shape, const qhft_config& config,
                                  bool accept_random) {
  const auto fail = [&](const std::string& where, const std::string& rule) {
    throw format_error(joined(where, ": module ", quoted_name(m.module), ": ", rule));
  };
  const executor serial = executor::serial();
  if (m.values->shape.size() != 1) fail(file, joined("qhft_spectrum has the shape ", shape_text(m.values->shape)));
  const std::size_t p = m.values->size();
  if (indices.shape.size() != 2 || indices.shape[0] != 2)
    fail(indices_file, joined("the indices have the shape ", shape_text(indices.shape), " instead of [2, p]"));
  if (indices.shape[1] != p)
    fail(indices_file, joined("qhft_spectrum has ", p, " values, but there are indices for ", indices.shape[1],
                              ". The reference writes such files after training: their indices are not those of the "
                              "values. Name the folder that training started from (qhft_options::indices_from)"));
  if (indices.dtype != dtype::i32 && indices.dtype != dtype::i64) fail(indices_file, "the indices are not I32 or I64");
  if (shape.in == 0 || shape.in > std::numeric_limits<std::uint32_t>::max() ||
      shape.out > std::numeric_limits<std::uint32_t>::max())
    fail(file, joined("the layer has the impossible shape ", shape_text(std::array{shape.out, shape.in})));

  std::vector<std::uint64_t> places;
  try {
    places = read<std::uint64_t>(indices_file, indices, serial);
  } catch (const value_error&) {
    fail(indices_file, "an index is negative");
  }
  const std::span<const std::uint64_t> rows(places.data(), p), cols(places.data() + p, p);
  for (std::size_t k = 0; k < p; ++k)
    if (rows[k] >= shape.out || cols[k] >= shape.in)
      fail(indices_file, joined("index ", k, " is (", rows[k], ", ", cols[k], "), outside the layer's ",
                                shape_text(std::array{shape.out, shape.in})));
  if (!accept_random && !config.random_spectrum && is_random_draw(rows, cols, shape, config.seed))
    fail(indices_file,
         joined(
             "the indices are the random draw of seed ", config.seed,
             ", although the config does not ask for random values. The reference leaves such indices in files that it "
             "writes after training; then the values belong elsewhere. Name the folder that training started from "
             "(qhft_options::indices_from), or say that the draw is meant (qhft_options::accept_random_indices)"));

  const std::vector<float> values = read<float>(file, *m.values, serial);
  const double factor = config.scaling / std::sqrt(static_cast<double>(shape.in) * static_cast<double>(shape.out));
  std::vector<std::size_t> order(p);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return std::tie(rows[a], cols[a]) < std::tie(rows[b], cols[b]); });
  std::vector<std::size_t> offsets(shape.out + 1, 0);
  std::vector<std::uint32_t> columns(p);
  std::vector<float> scaled(p);
  for (std::size_t k = 0; k < p; ++k) {
    ++offsets[static_cast<std::size_t>(rows[order[k]]) + 1];
    columns[k] = static_cast<std::uint32_t>(cols[order[k]]);
    scaled[k] = static_cast<float>(values[order[k]] * factor);
  }
  std::partial_sum(offsets.begin(), offsets.end(), offsets.begin());
  return make_module(file, m.module, "", shape.out, shape.in, std::move(offsets), std::move(columns),
                     std::move(scaled));
}

/// Shape of a layer in a Hugging Face checkpoint: from a dense weight, or from a GPTQ layer's index of groups and
/// words.
inline std::optional<layer_shape> shape_in_checkpoint(const safetensors_file& base, const std::string& module) {
  if (base.contains(joined(module, ".weight"))) {
    const tensor& w = base.at(joined(module, ".weight"));
    const bool dense =
        w.dtype == dtype::f32 || w.dtype == dtype::f16 || w.dtype == dtype::bf16 || w.dtype == dtype::f64;
    if (dense && w.shape.size() == 2) return layer_shape{w.shape[0], w.shape[1]};
  }
  if (base.contains(joined(module, ".qweight")) && base.contains(joined(module, ".g_idx"))) {
    const tensor& words = base.at(joined(module, ".qweight"));
    if (words.shape.size() == 2) return layer_shape{words.shape[1], base.at(joined(module, ".g_idx")).size()};
  }
  return std::nullopt;
}

/// Where layer shapes come from, opened when first asked.
class shape_source {
 public:
  shape_source(std::filesystem::path directory, const safetensors_file& adapter, const qhft_config& config,
               const qhft_options& options)
      : directory_(std::move(directory)), config_(config), options_(options) {
    const auto listed = adapter.metadata().find("qwha.modules");
    if (listed != adapter.metadata().end()) listed_ = parse_module_list(adapter.file(), listed->second);
  }

  /// @throws format_error that says what to supply
  layer_shape operator()(const std::string& file, const std::string& module) {
    if (options_.shape)
      if (const auto shape = options_.shape(module)) return *shape;
    for (const listed_module& m : listed_)
      if (m.name == module) return {static_cast<std::size_t>(m.out), static_cast<std::size_t>(m.in)};
    open_base();
    if (base_)
      if (const auto shape = shape_in_checkpoint(*base_, module)) return *shape;
    const std::string base = base_ ? joined(base_->file(), " has no such layer")
                                   : joined("the base model ", quoted_name(config_.base), " is not here");
    throw format_error(joined(file, ": the shape of module ", quoted_name(module), " is not in the file, and ", base,
                              ". Give it with qhft_options::shape"));
  }

  /// The fingerprint of the layer's base, where qwha wrote the folder.
  std::string base_of(std::string_view module) const {
    for (const listed_module& m : listed_)
      if (m.name == module) return m.base;
    return {};
  }

 private:
  void open_base() {
    if (std::exchange(asked_, true) || config_.base.empty() || directory_.empty()) return;
    std::error_code ignored;
    for (const auto& path : {directory_ / config_.base,
                             std::filesystem::absolute(directory_, ignored).lexically_normal() / ".." / config_.base,
                             std::filesystem::path(config_.base)}) {
      const bool there = std::filesystem::exists(path / "model.safetensors.index.json", ignored) ||
                         std::filesystem::exists(path / "model.safetensors", ignored);
      if (there) {
        base_.emplace(path);
        return;
      }
    }
  }

  std::filesystem::path directory_;
  const qhft_config& config_;
  const qhft_options& options_;
  std::vector<listed_module> listed_;
  bool asked_ = false;
  std::optional<safetensors_file> base_;
};

/// The whole conversion. `indices` may be the same file.
inline adapter_file qhft_adapter(const safetensors_file& file, const qhft_config& config, shape_source shapes,
                                 const safetensors_file& indices, const qhft_options& options) {
  adapter_file adapter;
  const bool elsewhere = &indices != &file;
  const std::vector<qhft_tensors> found = find_qhft_tensors(file);
  std::vector<qhft_tensors> places = elsewhere ? find_qhft_tensors(indices) : found;  // both sorted by module
  for (const qhft_tensors& m : found) {
    const auto it = std::lower_bound(places.begin(), places.end(), m.module,
                                     [](const qhft_tensors& a, const std::string& name) { return a.module < name; });
    if (it == places.end() || it->module != m.module)
      throw format_error(joined(indices.file(), ": has no indices for module ", quoted_name(m.module)));
    adapter.modules.push_back(qhft_module(file.file(), m, indices.file(), *it->indices, shapes(file.file(), m.module),
                                          config, elsewhere || options.accept_random_indices));
    adapter.modules.back().base_fingerprint = shapes.base_of(m.module);
  }
  if (!config.base.empty()) adapter.metadata["base_model_name_or_path"] = config.base;
  return adapter;
}

/// The first K of the reference's tables that divides n must leave a power of two.
constexpr bool reference_has_order(std::size_t n) noexcept {
  for (const std::size_t k : {172u, 156u, 140u, 108u, 60u, 52u, 36u, 28u, 40u, 20u, 12u})
    if (n % k == 0) return std::has_single_bit(n / k);
  return std::has_single_bit(n);
}

}  // namespace detail

/// Reads an adapter folder that the reference, or `save_qhft`, wrote.
/// @throws io_error; format_error that names file, module and rule and says how to repair what can be repaired
inline adapter_file load_qhft(const std::filesystem::path& directory, const qhft_options& options = {}) {
  const std::filesystem::path config_path = directory / detail::qhft_config_name;
  const mapped_file config_file(config_path);
  const detail::qhft_config config = detail::parse_qhft_config(config_path.string(), config_file.bytes());
  const safetensors_file file(directory / detail::qhft_model_name);
  const detail::shape_source shapes(directory, file, config, options);
  if (options.indices_from.empty()) return detail::qhft_adapter(file, config, shapes, file, options);
  const safetensors_file indices(options.indices_from / detail::qhft_model_name);
  return detail::qhft_adapter(file, config, shapes, indices, options);
}

/// Writes an adapter folder for the reference's `load_from_checkpoint`, which replaces files of the same names; module
/// names must be those of the Hugging Face model. The order of coefficients is by row and column. The shapes of the
/// layers go into the metadata, so that `load_adapter` needs no base model to read it back.
/// @param scaling  of the reference: stored values are F sqrt(in out) / scaling
/// @throws value_error when `scaling` is 0 or not finite; format_error for a module whose width the reference cannot
///         transform; io_error. Nothing is left behind then.
inline void save_qhft(const std::filesystem::path& directory, const adapter_file& adapter, double scaling) {
  const std::string place = directory.string();
  if (!is_finite(scaling) || scaling == 0) throw value_error(joined(place, ": scaling must be finite and not 0"));
  detail::check_modules(place, adapter);

  std::deque<std::vector<float>> values;
  std::deque<std::vector<std::int32_t>> indices;
  std::deque<std::int64_t> counts;
  std::vector<tensor> tensors;
  nlohmann::json targets = nlohmann::json::array(), patterns = nlohmann::json::object();
  const auto stored_scaling = static_cast<float>(scaling);
  constexpr std::int64_t seed = 777;
  for (const adapter_module& m : adapter.modules) {
    const sparse_spectrum<float>& f = m.spectrum;
    const std::size_t p = f.size();
    if (!detail::reference_has_order(f.cols()))
      throw format_error(
          joined(place, ": module ", quoted_name(m.name), ": the reference has no transform of order ", f.cols()));
    const double factor = std::sqrt(static_cast<double>(f.rows()) * static_cast<double>(f.cols())) / scaling;
    auto& scaled = values.emplace_back(p);
    std::transform(f.values().begin(), f.values().end(), scaled.begin(),
                   [&](float v) { return static_cast<float>(v * factor); });
    if (!all_finite(scaled.data(), p))
      throw value_error(joined(place, ": module ", quoted_name(m.name), ": a value overflows at this scaling"));
    auto& places = indices.emplace_back(2 * p);
    for (std::size_t r = 0; r < f.rows(); ++r)
      std::fill(places.begin() + static_cast<std::ptrdiff_t>(f.offsets()[r]),
                places.begin() + static_cast<std::ptrdiff_t>(f.offsets()[r + 1]), static_cast<std::int32_t>(r));
    std::copy(f.columns().begin(), f.columns().end(), places.begin() + static_cast<std::ptrdiff_t>(p));
    const std::int64_t& count = counts.emplace_back(static_cast<std::int64_t>(p));

    const std::string base = joined(detail::qhft_prefix, m.name, ".qhft_");
    tensors.push_back(tensor_of<float>(joined(base, "spectrum"), {p}, scaled));
    tensors.push_back(tensor_of<std::int32_t>(joined(base, "indices_default"), {2, p}, places));
    tensors.push_back(tensor_of<float>(joined(base, "scaling_default"), {}, {&stored_scaling, 1}));
    tensors.push_back(tensor_of<std::int64_t>(joined(base, "n_frequency_default"), {}, {&count, 1}));
    tensors.push_back(tensor_of<std::int64_t>(joined(base, "random_loc_seed_default"), {}, {&seed, 1}));
    targets.push_back(m.name);
    patterns[m.name] = p;
  }

  const auto base = adapter.metadata.find("base_model_name_or_path");
  const nlohmann::json config = {
      {"auto_mapping", nullptr},
      {"base_model_name_or_path", base == adapter.metadata.end() ? nlohmann::json() : nlohmann::json(base->second)},
      {"bias", "none"},
      {"exclude_modules", nullptr},
      {"fan_in_fan_out", false},
      {"inference_mode", true},
      {"init_weights", true},
      {"layers_pattern", nullptr},
      {"layers_to_transform", nullptr},
      {"modules_to_save", nullptr},
      {"n_frequency", counts.empty() ? 1 : counts.front()},
      {"n_frequency_pattern", patterns},
      {"peft_type", "QHFT"},
      {"random_loc_seed", seed},
      {"revision", nullptr},
      {"scaling", scaling},
      {"target_modules", targets},
      {"task_type", "CAUSAL_LM"},
  };

  std::error_code failure;
  const bool created = std::filesystem::create_directories(directory, failure);
  if (failure) throw io_error(joined(place, ": cannot create the folder: ", failure.message()));
  try {
    atomic_file model(directory / detail::qhft_model_name), config_file(directory / detail::qhft_config_name);
    emit_safetensors([&](const void* data, std::size_t size) { model.write(data, size); }, model.path().string(),
                     tensors, {{"format", "pt"}, {"qwha.modules", detail::module_list_text(place, adapter)}});
    config_file.write(config.dump(2));
    model.finish();
    config_file.finish();
    model.commit();
    config_file.commit();
  } catch (...) {
    if (created) std::filesystem::remove(directory, failure);  // only when it is empty
    throw;
  }
}

}  // namespace qwha::io::inline QWHA_ISA
