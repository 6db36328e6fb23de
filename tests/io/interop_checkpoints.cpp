// SPDX-License-Identifier: MIT
// The C++ half of interop_checkpoints.py. `read FOLDER` opens FOLDER/<kind>*, dequantizes every module of the files
// that Python made, as rows and where possible as matrix, and leaves FOLDER/read.safetensors; `write FOLDER` makes GPTQ
// checkpoints and FOLDER/written.safetensors, what their weights are.

#include <cstdio>
#include <cstring>
#include <deque>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <qwha/base/random.hpp>
#include <qwha/io/bitsandbytes.hpp>
#include <qwha/io/gguf.hpp>
#include <qwha/io/gptq_checkpoint.hpp>
#include <qwha/io/gptq_writer.hpp>
#include <qwha/io/mxfp4_checkpoint.hpp>
#include <qwha/io/nvfp4_checkpoint.hpp>
#include <qwha/io/safetensors_writer.hpp>
#include <qwha/quant/quantize.hpp>

namespace {

namespace fs = std::filesystem;
namespace io = qwha::io;

/// Weights by name, to be written as one file.
class weights {
 public:
  template <class Layer>
  void add(const std::string& name, const Layer& layer) {
    std::vector<float>& values = values_.emplace_back(layer.rows() * layer.cols());
    layer.dequantize({values.data(), layer.rows(), layer.cols()});
    tensors_.push_back(io::tensor_of<float>(name, {layer.rows(), layer.cols()}, values));
  }
  void save(const fs::path& path) const { io::write_safetensors(path, tensors_); }

 private:
  std::deque<std::vector<float>> values_;
  std::vector<io::tensor> tensors_;
};

template <class Q>
void add_matrix(weights& all, const std::string& name, const io::gptq_layer& layer) {
  if (layer.refusal<Q>().empty()) all.add(name + "|matrix", layer.matrix<Q>());
}

void read(const fs::path& folder) {
  weights all;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("gptq")) {
      const bool by_word = name.find("word") != name.npos;
      const io::gptq_checkpoint checkpoint(entry.path(),
                                           by_word ? io::gptq_zero_repair::per_word : io::gptq_zero_repair::per_field);
      for (const std::string& module : checkpoint.modules()) {
        const io::gptq_layer layer = checkpoint.layer(module);
        const std::string label = name + "|" + module;
        all.add(label, layer);
        add_matrix<qwha::affine<2, 32>>(all, label, layer);
        add_matrix<qwha::affine<3, 32>>(all, label, layer);
        add_matrix<qwha::affine<4, 32>>(all, label, layer);
        add_matrix<qwha::affine<8, 32>>(all, label, layer);
      }
    } else if (name.starts_with("bnb")) {
      const io::safetensors_file file(entry.path());
      for (const std::string& module : io::bitsandbytes_modules(file)) {
        const io::bitsandbytes_layer layer(file, module);
        all.add(name + "|" + module, layer);
        if (layer.refusal<qwha::nf4<32>>().empty())
          all.add(name + "|" + module + "|matrix", layer.matrix<qwha::nf4<32>>());
        if (layer.refusal<qwha::fp4<32>>().empty())
          all.add(name + "|" + module + "|matrix", layer.matrix<qwha::fp4<32>>());
      }
    } else if (name.starts_with("fp4")) {
      const io::safetensors_file file(entry.path());
      for (const std::string& module : io::mxfp4_modules(file))
        all.add(name + "|" + module, io::mxfp4_matrix(file, module));
      for (const std::string& module : io::nvfp4_modules(file)) {
        const io::nvfp4_layer layer(file, module);
        all.add(name + "|" + module, layer);
        all.add(name + "|" + module + "|matrix", layer.matrix());
      }
    } else if (name.starts_with("split-00001")) {
      const io::gguf_file file(entry.path());
      if (file.value<std::string>("general.architecture") != "test")
        throw std::runtime_error("the metadata of a split GGUF was lost");
      for (const io::tensor& t : file.tensors()) all.add("split|" + t.name, io::gguf_matrix<qwha::q8_0>(file, t.name));
    }
  }
  all.save(folder / "read.safetensors");
}

template <class Q>
void write_gptq(const fs::path& folder, weights& all, const std::string& name, io::gptq_version version) {
  const std::size_t out = 96, in = 160;
  const qwha::counter_random random(static_cast<std::uint64_t>(Q::bits));
  std::vector<float> w(out * in);
  for (std::size_t i = 0; i < w.size(); ++i) w[i] = static_cast<float>(random.uniform(i)) - 0.5f;
  const auto m = qwha::quantize<Q>({w.data(), out, in});
  const std::vector<qwha::half> bias(out, qwha::half(0.5f));
  io::gptq_writer writer(version);
  writer.add("model.layers.0.mlp.up_proj", m, bias);
  fs::create_directory(folder / name);
  writer.set_model_config({{"model_type", "llama"}});
  writer.save(folder / name);
  all.add(name, m);
}

void write(const fs::path& folder) {
  using qwha::zero_point;
  weights all;
  write_gptq<qwha::affine<2, 32>>(folder, all, "ours-2", io::gptq_version::v2);
  write_gptq<qwha::affine<3, 32>>(folder, all, "ours-3", io::gptq_version::v2);
  write_gptq<qwha::affine<4, 32>>(folder, all, "ours-4", io::gptq_version::v2);
  write_gptq<qwha::affine<8, 32>>(folder, all, "ours-8", io::gptq_version::v2);
  write_gptq<qwha::affine<4, 32, zero_point::symmetric>>(folder, all, "ours-4-v1", io::gptq_version::v1);
  all.save(folder / "written.safetensors");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  try {
    std::string_view(argv[1]) == "write" ? write(argv[2]) : read(argv[2]);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
  return 0;
}
