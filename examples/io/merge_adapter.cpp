// SPDX-License-Identifier: MIT
// Folds a Walsh-Hadamard adapter into its base, W = WQ + F T, for engines that know no adapters, and says what that costs:
//
//   merge-adapter base/ adapter.safetensors merged/                    a folder of dense weights
//   merge-adapter base/ adapter.safetensors merged/ --bits 4           a GPTQ checkpoint, quantized anew
//   merge-adapter base.gguf adapter.gguf merged.gguf --type q8_0       the same model, adapted layers as new blocks
//
// The base is a GGUF file, or safetensors with dense, GPTQ or bitsandbytes layers. Dense weights lose one rounding; blocks
// lose much of the adapter, because their grid is as coarse as the one that the adapter was to correct.

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <qwha/io.hpp>

namespace {

namespace fs = std::filesystem;
namespace io = qwha::io;

struct arguments {
  std::string base, adapter, output;
  io::dtype type = io::dtype::f16;
  int bits = 0;  // 0: no GPTQ checkpoint
  std::size_t group = 64;
};

struct matrix {
  std::size_t rows = 0, cols = 0;
  std::vector<float> values = {};

  matrix(std::size_t r, std::size_t c) : rows(r), cols(c), values(r * c) {}
  qwha::rows_view<float> view() { return {values.data(), rows, cols}; }
  qwha::rows_view<const float> view() const { return {values.data(), rows, cols}; }
};

// --- the base -------------------------------------------------------------------------------------------------------

/// The base model's linear layers, whatever they are stored as.
class base_model {
 public:
  explicit base_model(const fs::path& path) {
    if (path.extension() == ".gguf") {
      gguf_.emplace(path);
      return;
    }
    if (fs::exists(path / "quantize_config.json")) {
      gptq_.emplace(path);  // it knows other names of the tensors' file
    } else {
      const io::safetensors_file file(path);
      const bool gptq = std::any_of(file.tensors().begin(), file.tensors().end(),
                                    [](const io::tensor& t) { return t.name.ends_with(".qweight"); });
      gptq_.emplace(file, gptq && fs::is_directory(path) ? io::read_gptq_config(path) : io::gptq_config{});
    }
    for (const std::string& m : gptq_->modules()) by_gptq_.insert(m);
    for (const std::string& m : io::bitsandbytes_modules(tensors())) by_bitsandbytes_.insert(m);
  }

  const io::tensor_file& tensors() const {
    return gguf_ ? static_cast<const io::tensor_file&>(*gguf_) : gptq_->tensors();
  }
  const io::gguf_file* gguf() const { return gguf_ ? &*gguf_ : nullptr; }

  /// Layers that are stored as codes with parameters in tensors of their own.
  std::vector<std::string> quantized_layers() const {
    std::vector<std::string> names(by_gptq_.begin(), by_gptq_.end());
    names.insert(names.end(), by_bitsandbytes_.begin(), by_bitsandbytes_.end());
    return names;
  }
  /// Does the tensor hold codes or parameters of such a layer? A bias does not.
  bool belongs_to_quantized_layer(const std::string& tensor) const {
    for (const char* suffix : {".qweight", ".qzeros", ".scales", ".g_idx"})
      if (tensor.ends_with(suffix) &&
          by_gptq_.contains(tensor.substr(0, tensor.size() - std::string_view(suffix).size())))
        return true;
    const std::size_t at = tensor.rfind(".weight");
    return at != tensor.npos && by_bitsandbytes_.contains(tensor.substr(0, at));
  }

  /// A layer's weight. @throws qwha::format_error when there is none
  matrix weight(const std::string& layer) const {
    const auto dequantized = [](const auto& l) {
      matrix w(l.rows(), l.cols());
      l.dequantize(w.view());
      return w;
    };
    if (by_gptq_.contains(layer)) return dequantized(gptq_->layer(layer));
    if (by_bitsandbytes_.contains(layer)) return dequantized(io::bitsandbytes_layer(tensors(), layer));
    const io::tensor& t = tensors().at(layer + ".weight");
    if (t.shape.size() != 2)
      throw qwha::format_error(io::joined(tensors().file(), ": tensor ", io::quoted_name(t.name), " is no matrix"));
    matrix w(t.rows(), t.cols());
    tensors().read_rows(t.name, 0, w.view());
    return w;
  }

 private:
  std::optional<io::gguf_file> gguf_;
  std::optional<io::gptq_checkpoint> gptq_;
  std::set<std::string> by_gptq_, by_bitsandbytes_;
};

// --- what is written ------------------------------------------------------------------------------------------------

/// A layer as it will be stored, and that read again.
struct stored_layer {
  io::tensor tensor;
  matrix weight;
};

/// Layers as tensors of one type: dense, or GGUF blocks. Keeps their bytes until the file is written.
class tensor_store {
 public:
  stored_layer add(const std::string& name, const matrix& w, io::dtype type) {
    switch (type) {
      case io::dtype::f32: return dense<float>(name, w);
      case io::dtype::f16: return dense<qwha::half>(name, w);
      case io::dtype::bf16: return dense<qwha::bfloat16>(name, w);
      case io::dtype::q4_0: return blocks<qwha::q4_0>(name, w, type);
      case io::dtype::q8_0: return blocks<qwha::q8_0>(name, w, type);
      default: return blocks<qwha::q4_k>(name, w, io::dtype::q4_k);
    }
  }

 private:
  template <class T>
  stored_layer dense(const std::string& name, const matrix& w) {
    auto values = std::make_shared<std::vector<T>>(w.values.size());
    matrix back(w.rows, w.cols);
    for (std::size_t i = 0; i < w.values.size(); ++i) {
      (*values)[i] = T(w.values[i]);
      back.values[i] = static_cast<float>((*values)[i]);
    }
    if (!qwha::all_finite(back.values.data(), back.values.size()))
      throw qwha::value_error(io::joined("layer ", io::quoted_name(name), ": a weight is too large for this type"));
    kept_.push_back(values);
    return {io::tensor_of<T>(name + ".weight", {w.rows, w.cols}, *values), std::move(back)};
  }
  template <class Q>
  stored_layer blocks(const std::string& name, const matrix& w, io::dtype type) {
    if (w.cols % Q::block_size != 0)
      throw qwha::shape_error(io::joined("layer ", io::quoted_name(name), ": rows of ", w.cols,
                                         " weights are no whole blocks of ", Q::name(), ", which have ",
                                         Q::block_size));
    auto m = std::make_shared<qwha::quantized_matrix<Q>>(qwha::quantize<Q>(w.view()));
    matrix back(w.rows, w.cols);
    m->dequantize(back.view());
    kept_.push_back(m);
    return {{name + ".weight", type, {w.rows, w.cols}, {m->codes(0), w.rows * m->code_stride()}}, std::move(back)};
  }

  std::vector<std::shared_ptr<const void>> kept_;
};

/// Quantizes a layer to `bits` and `group` into the writer; the weight that it has then.
template <int Bits, std::size_t Group>
matrix add_gptq(io::gptq_writer& writer, const std::string& name, const matrix& w) {
  const auto m = qwha::quantize<qwha::affine<Bits, Group>>(w.view());
  writer.add(name, m);
  matrix back(w.rows, w.cols);
  m.dequantize(back.view());
  return back;
}
template <int Bits>
matrix add_gptq(io::gptq_writer& writer, const std::string& name, const matrix& w, std::size_t group) {
  return group == 32   ? add_gptq<Bits, 32>(writer, name, w)
         : group == 64 ? add_gptq<Bits, 64>(writer, name, w)
                       : add_gptq<Bits, 128>(writer, name, w);
}
matrix add_gptq(io::gptq_writer& writer, const std::string& name, const matrix& w, const arguments& a) {
  return a.bits == 2   ? add_gptq<2>(writer, name, w, a.group)
         : a.bits == 3 ? add_gptq<3>(writer, name, w, a.group)
         : a.bits == 4 ? add_gptq<4>(writer, name, w, a.group)
                       : add_gptq<8>(writer, name, w, a.group);
}

template <class T>
void copy_value(io::gguf_writer& to, const io::gguf_file& from, const std::string& key, bool is_array) {
  if (is_array)
    to.set(key, from.value<std::vector<T>>(key));
  else
    to.set(key, from.value<T>(key));
}
/// Metadata of a model, as it is.
void copy_values(io::gguf_writer& to, const io::gguf_file& from) {
  for (const io::gguf_value& v : from.values()) {
    const std::string key(v.key);
    if (key == "general.alignment" || key.starts_with("split.")) continue;  // of the file, not of the model
    switch (v.type) {
      case io::gguf_type::u8: copy_value<std::uint8_t>(to, from, key, v.is_array); break;
      case io::gguf_type::i8: copy_value<std::int8_t>(to, from, key, v.is_array); break;
      case io::gguf_type::u16: copy_value<std::uint16_t>(to, from, key, v.is_array); break;
      case io::gguf_type::i16: copy_value<std::int16_t>(to, from, key, v.is_array); break;
      case io::gguf_type::u32: copy_value<std::uint32_t>(to, from, key, v.is_array); break;
      case io::gguf_type::i32: copy_value<std::int32_t>(to, from, key, v.is_array); break;
      case io::gguf_type::u64: copy_value<std::uint64_t>(to, from, key, v.is_array); break;
      case io::gguf_type::i64: copy_value<std::int64_t>(to, from, key, v.is_array); break;
      case io::gguf_type::f32: copy_value<float>(to, from, key, v.is_array); break;
      case io::gguf_type::f64: copy_value<double>(to, from, key, v.is_array); break;
      case io::gguf_type::boolean: copy_value<bool>(to, from, key, v.is_array); break;
      default: copy_value<std::string>(to, from, key, v.is_array); break;
    }
  }
}

/// A folder that appears whole or not at all, as io::atomic_file does for a file.
class atomic_folder {
 public:
  explicit atomic_folder(const fs::path& path) : path_(path.has_filename() ? path : path.parent_path()) {
    if (fs::exists(path_)) throw qwha::io_error(io::joined(path_.string(), ": is there already"));
    temporary_ = path_.parent_path() / io::joined(".", path_.filename().string(), ".qwha-", ::getpid(), ".tmp");
    std::error_code failure;
    fs::create_directory(temporary_, failure);
    if (failure) throw qwha::io_error(io::joined(path_.string(), ": cannot create the folder: ", failure.message()));
  }
  atomic_folder(const atomic_folder&) = delete;
  atomic_folder& operator=(const atomic_folder&) = delete;
  ~atomic_folder() {
    std::error_code ignored;
    if (!temporary_.empty()) fs::remove_all(temporary_, ignored);
  }
  const fs::path& path() const { return temporary_; }
  void commit() {
    std::error_code failure;
    fs::rename(temporary_, path_, failure);
    if (failure) throw qwha::io_error(io::joined(path_.string(), ": cannot rename into place: ", failure.message()));
    temporary_.clear();
  }

 private:
  fs::path path_, temporary_;
};

/// config.json without the quantization that the layers no longer have; null where the base has none.
nlohmann::json model_config(const fs::path& base) {
  const fs::path path = base / "config.json";
  if (!fs::is_directory(base) || !fs::exists(path)) return nullptr;
  std::ifstream file(path);
  nlohmann::json config = nlohmann::json::parse(file, nullptr, false);
  if (!config.is_object()) throw qwha::format_error(io::joined(path.string(), ": is no JSON object"));
  config.erase("quantization_config");
  return config;
}

/// Tokenizer and whatever else is neither weights nor their description.
void copy_other_files(const fs::path& from, const fs::path& to) {
  if (!fs::is_directory(from)) return;
  for (const auto& entry : fs::directory_iterator(from)) {
    const fs::path name = entry.path().filename();
    if (!entry.is_regular_file() || name.extension() == ".safetensors" || name == "model.safetensors.index.json" ||
        name == "config.json" || name == "quantize_config.json")
      continue;
    fs::copy_file(entry.path(), to / name);
  }
}

// --- the merge ------------------------------------------------------------------------------------------------------

/// Adds F T. @throws qwha::unsupported_order
void add_delta(const qwha::sparse_spectrum<float>& f, matrix& w, double& delta_squares) {
  const qwha::wht<> transform(f.cols());
  std::vector<float> row(f.cols());
  for (std::size_t r = 0; r < f.rows(); ++r) {
    std::fill(row.begin(), row.end(), 0.0f);
    for (std::size_t k = 0; k < f.columns(r).size(); ++k) row[f.columns(r)[k]] = f.values(r)[k];
    if (const qwha::status s = transform.apply_transpose(qwha::rows_view<float>(row.data(), 1, row.size()));
        s != qwha::status::ok)
      throw qwha::error(qwha::describe(s));
    for (std::size_t i = 0; i < row.size(); ++i) {
      delta_squares += static_cast<double>(row[i]) * row[i];
      w.values[r * w.cols + i] += row[i];
    }
  }
}

/// What storing costs, a line a layer: printed when all is done, so that a refusal stays one line.
class cost_table {
 public:
  void add(const std::string& layer, const matrix& wanted, const matrix& stored, double delta) {
    sums s{.delta = delta};
    for (std::size_t i = 0; i < wanted.values.size(); ++i) {
      const double w = wanted.values[i], d = stored.values[i] - w;
      s.weight += w * w;
      s.lost += d * d;
    }
    layers_.emplace_back(layer, s);
  }
  void print() const {
    std::size_t longest = 6;
    sums all;
    for (const auto& [name, s] : layers_) {
      longest = std::max(longest, name.size());
      all.weight += s.weight;
      all.lost += s.lost;
      all.delta += s.delta;
    }
    const auto width = static_cast<int>(longest);
    std::printf("%-*s  %12s  %12s  %12s\n", width, "layer", "|F T| / |W|", "lost / |W|", "lost / |F T|");
    for (const auto& [name, s] : layers_) print_line(width, name, s);
    print_line(width, "in all", all);
  }

 private:
  struct sums {
    double weight = 0, lost = 0, delta = 0;  // squares
  };
  static void print_line(int width, const std::string& name, const sums& s) {
    const auto ratio = [](double a, double b) { return b == 0 ? 0.0 : std::sqrt(a / b); };
    std::printf("%-*s  %12.3e  %12.3e  ", width, name.c_str(), ratio(s.delta, s.weight), ratio(s.lost, s.weight));
    s.delta == 0 ? std::printf("%12s\n", "-") : std::printf("%12.3e\n", ratio(s.lost, s.delta));
  }

  std::vector<std::pair<std::string, sums>> layers_;
};

void merge(const arguments& a) {
  const fs::path output(a.output);
  const base_model base{fs::path(a.base)};
  const io::adapter_file adapter = io::load_adapter(a.adapter);
  const bool to_gguf = output.extension() == ".gguf", to_file = output.extension() == ".safetensors";
  if (to_gguf != (base.gguf() != nullptr))
    throw qwha::value_error(io::joined(a.output, ": a GGUF file is made from a GGUF base, and from no other"));
  if (a.bits != 0 && (to_gguf || to_file))
    throw qwha::value_error(io::joined(a.output, ": --bits makes a folder with a GPTQ checkpoint"));
  if (!to_gguf && io::info(a.type).safetensors.empty())
    throw qwha::value_error(io::joined(a.output, ": safetensors has no type ", name(a.type), "; GPTQ is --bits"));

  std::set<std::string> adapted, layers;
  for (const io::adapter_module& m : adapter.modules) adapted.insert(m.name);
  layers = adapted;
  for (const std::string& l : base.quantized_layers()) layers.insert(l);

  std::optional<atomic_folder> folder;
  if (!to_gguf && !to_file) folder.emplace(output);
  io::gptq_writer gptq;
  tensor_store store;
  std::map<std::string, io::tensor> merged;  // by tensor name
  cost_table costs;
  for (const std::string& layer : layers) {
    matrix w = base.weight(layer);
    double delta = 0;
    if (adapted.contains(layer)) add_delta(io::module_for(adapter, layer, std::as_const(w).view()).spectrum, w, delta);
    if (a.bits != 0) {
      costs.add(layer, w, add_gptq(gptq, layer, w, a), delta);
    } else {
      stored_layer s = store.add(layer, w, a.type);
      costs.add(layer, w, s.weight, delta);
      merged.emplace(s.tensor.name, std::move(s.tensor));
    }
  }

  std::vector<io::tensor> tensors;  // in the base's order, new names last
  for (const io::tensor& t : base.tensors().tensors()) {
    if (const auto m = merged.find(t.name); m != merged.end()) {
      tensors.push_back(std::move(m->second));
      merged.erase(m);
    } else if (!base.belongs_to_quantized_layer(t.name) &&
               !(a.bits != 0 && t.name.ends_with(".weight") && layers.contains(t.name.substr(0, t.name.size() - 7)))) {
      tensors.push_back(t);
    }
  }
  for (auto& [name, t] : merged) tensors.push_back(std::move(t));

  if (to_gguf) {
    io::gguf_writer writer;
    copy_values(writer, *base.gguf());
    for (io::tensor& t : tensors) writer.add(std::move(t));
    writer.save(output);
  } else if (to_file) {
    io::write_safetensors(output, tensors, {{"format", "pt"}});
  } else {
    const nlohmann::json config = model_config(a.base);
    if (a.bits != 0) {
      for (io::tensor& t : tensors) gptq.add(std::move(t));
      if (config.is_object()) gptq.set_model_config(config);
      gptq.save(folder->path());
    } else {
      io::write_safetensors(folder->path() / "model.safetensors", tensors, {{"format", "pt"}});
      if (config.is_object()) io::write_file(folder->path() / "config.json", config.dump(2) + "\n");
    }
    copy_other_files(a.base, folder->path());
    folder->commit();
  }
  costs.print();
  std::printf("%s: %zu layers, %zu of them adapted\n", a.output.c_str(), layers.size(), adapted.size());
}

}  // namespace

int main(int argc, char** argv) {
  arguments a;
  CLI::App app("Folds an adapter into its base model and reports the error of what is stored.");
  std::map<std::string, io::dtype> types;
  for (const io::dtype t :
       {io::dtype::f32, io::dtype::f16, io::dtype::bf16, io::dtype::q4_0, io::dtype::q8_0, io::dtype::q4_k})
    types.emplace(name(t), t);
  app.add_option("base", a.base, "GGUF file, safetensors file, or folder of a checkpoint")->required();
  app.add_option("adapter", a.adapter, "adapter file or folder, with the layer names of the base")->required();
  app.add_option("output", a.output, ".gguf, .safetensors, or a folder that is not there yet")->required();
  app.add_option("--type", a.type, "of adapted layers: f32, f16, bf16; in GGUF also q4_0, q8_0, q4_k")
      ->transform(CLI::CheckedTransformer(types))
      ->default_str("f16");
  app.add_option("--bits", a.bits, "makes a GPTQ checkpoint of 2, 3, 4 or 8 bits, rounded to nearest")
      ->check(CLI::IsMember({2, 3, 4, 8}));
  app.add_option("--group", a.group, "weights per scale of the GPTQ checkpoint")
      ->check(CLI::IsMember({32, 64, 128}))
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  try {
    merge(a);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "merge-adapter: %s\n", e.what());
    return 1;
  }
  return 0;
}
