// SPDX-License-Identifier: MIT
// Converts Walsh-Hadamard adapters between our safetensors, GGUF, and the folders of the paper's reference (QHFT):
//
//   convert-adapter adapter.safetensors adapter.gguf
//   convert-adapter finetuned/ adapter.safetensors --indices-from initial/
//
// The output's kind is that of its name: .safetensors, .gguf, else a QHFT folder. Layers are renamed on the way to what
// the output's loaders expect; for Llama models that means reordering rows of q and k as well.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

#include <qwha/io.hpp>

namespace {

namespace fs = std::filesystem;
namespace io = qwha::io;

enum class names { keep, gguf, hugging_face };

struct arguments {
  std::string input, output, architecture, indices_from;
  std::optional<names> naming;
  std::size_t heads = 0, kv_heads = 0;
  double scaling = 0.25;  // what the reference starts training with
};

/// Row i of the result is row `source(i)` of f.
template <class Source>
qwha::sparse_spectrum<float> reordered_rows(const qwha::sparse_spectrum<float>& f, const Source& source) {
  std::vector<std::size_t> offsets{0};
  std::vector<std::uint32_t> columns;
  std::vector<float> values;
  for (std::size_t r = 0; r < f.rows(); ++r) {
    const auto from = f.columns(source(r));
    columns.insert(columns.end(), from.begin(), from.end());
    values.insert(values.end(), f.values(source(r)).begin(), f.values(source(r)).end());
    offsets.push_back(columns.size());
  }
  return {f.rows(), f.cols(), std::move(offsets), std::move(columns), std::move(values)};
}

/// Rows of q and k of Llama models: Hugging Face pairs row b of a head with row d / 2 + b, GGUF with the next row.
qwha::sparse_spectrum<float> rotary_rows(const io::adapter_module& m, std::size_t heads, bool to_gguf) {
  const std::size_t d = heads == 0 ? 0 : m.spectrum.rows() / heads;
  if (heads == 0 || d * heads != m.spectrum.rows() || d % 2 != 0)
    throw qwha::value_error(io::joined("module ", io::quoted_name(m.name), ": ", m.spectrum.rows(),
                                       " rows are no whole number of heads of even size, with ", heads, " heads"));
  return reordered_rows(m.spectrum, [&](std::size_t r) {
    const std::size_t head = r / d * d, i = r % d;
    return head + (to_gguf ? i % 2 * (d / 2) + i / 2 : i % (d / 2) * 2 + i / (d / 2));
  });
}

bool is_gguf_name(const std::string& name) { return io::hugging_face_module(name).has_value(); }

/// Names and row orders of `to`. Modules with unknown names are kept as they are.
void rename_layers(io::adapter_file& adapter, names to, const arguments& a) {
  const auto known = adapter.metadata.find("architecture");
  const std::string architecture =
      !a.architecture.empty() || known == adapter.metadata.end() ? a.architecture : known->second;
  for (io::adapter_module& m : adapter.modules) {
    const bool to_gguf = to == names::gguf;
    const auto renamed = to_gguf ? io::gguf_module(m.name) : io::hugging_face_module(m.name);
    if (!renamed || is_gguf_name(m.name) == to_gguf) continue;
    const std::string gguf = to_gguf ? *renamed : m.name;
    const bool q = gguf.ends_with(".attn_q"), k = gguf.ends_with(".attn_k");
    if (architecture.empty() && (q || k))
      throw qwha::value_error(
          io::joined("module ", io::quoted_name(m.name),
                     ": whether its rows change order depends on the model; name it with --architecture (llama, "
                     "qwen2, qwen3, gemma3, …)"));
    if (architecture == "llama" && (q || k)) {
      if (a.heads == 0)
        throw qwha::value_error("the rows of q and k of Llama models change order: give --heads and --kv-heads");
      m.spectrum = rotary_rows(m, k ? (a.kv_heads == 0 ? a.heads : a.kv_heads) : a.heads, to_gguf);
      m.base_fingerprint.clear();  // its base has its rows in another order now
    }
    m.name = *renamed;
  }
  if (!a.architecture.empty()) adapter.metadata["architecture"] = a.architecture;
}

/// The largest difference between what was to be written and what a reader finds, relative to the largest value.
double read_back(const fs::path& path, const io::adapter_file& written) {
  const io::adapter_file back = io::load_adapter(path);
  double difference = 0, largest = 0;
  for (const io::adapter_module& m : written.modules) {
    const io::adapter_module& found = io::find_module(back, m.name);
    const auto& f = m.spectrum;
    const auto& g = found.spectrum;
    if (f.rows() != g.rows() || f.cols() != g.cols() || f.size() != g.size())
      throw qwha::error(io::joined(path.string(), ": module ", io::quoted_name(m.name), " came back changed"));
    for (std::size_t i = 0; i < f.size(); ++i) {
      difference = std::max(difference, std::fabs(static_cast<double>(f.values()[i]) - g.values()[i]));
      largest = std::max(largest, std::fabs(static_cast<double>(f.values()[i])));
    }
  }
  return largest == 0 ? 0 : difference / largest;
}

void convert(const arguments& a) {
  const fs::path input(a.input), output(a.output);
  io::adapter_file adapter =
      a.indices_from.empty() ? io::load_adapter(input) : io::load_qhft(input, {.indices_from = a.indices_from});
  const bool gguf = output.extension() == ".gguf", safetensors = output.extension() == ".safetensors";
  const names to = a.naming.value_or(gguf ? names::gguf : safetensors ? names::keep : names::hugging_face);
  if (to != names::keep) rename_layers(adapter, to, a);
  if (gguf || safetensors)
    io::save_adapter(output, adapter);
  else
    io::save_qhft(output, adapter, a.scaling);

  std::size_t coefficients = 0;
  for (const io::adapter_module& m : adapter.modules) coefficients += m.spectrum.size();
  std::printf("%s: %zu layers, %zu coefficients", a.output.c_str(), adapter.modules.size(), coefficients);
  if (!adapter.modules.empty()) std::printf(", first layer %s", adapter.modules.front().name.c_str());
  std::printf("\nread back: largest difference %.1e of the largest coefficient\n", read_back(output, adapter));
}

}  // namespace

int main(int argc, char** argv) {
  arguments a;
  CLI::App app("Converts adapters between safetensors, GGUF and the reference's QHFT folders.");
  app.add_option("input", a.input, "adapter file or folder")->required();
  app.add_option("output", a.output, ".safetensors, .gguf, or a folder for the reference")->required();
  app.add_option("--names", a.naming, "layer names: gguf, hf, or keep; default: what the output's loaders expect")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, names>{{"keep", names::keep}, {"gguf", names::gguf}, {"hf", names::hugging_face}}));
  app.add_option("--architecture", a.architecture, "of the base model, as GGUF calls it: llama, gemma3, …");
  app.add_option("--heads", a.heads, "attention heads, for llama");
  app.add_option("--kv-heads", a.kv_heads, "key and value heads, for llama; default: as many");
  app.add_option("--indices-from", a.indices_from,
                 "folder that training started from, for QHFT folders whose own indices are stale");
  app.add_option("--scaling", a.scaling, "of a QHFT folder that is written")->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  try {
    convert(a);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "convert-adapter: %s\n", e.what());
    return 1;
  }
  return 0;
}
