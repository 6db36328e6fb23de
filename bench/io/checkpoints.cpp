// SPDX-License-Identifier: MIT
/// Reading 4-bit checkpoints out of the page cache, layer after layer, into our matrices, next to plain `read` of the
/// same files into one buffer of the largest tensor's size. Bytes are those of the file; a rate over that of `read` is
/// the share. The last line says how much memory reading took at most.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <qwha/base/executor.hpp>
#include <qwha/base/float16.hpp>
#include <qwha/base/random.hpp>
#include <qwha/io/bitsandbytes.hpp>
#include <qwha/io/gptq_checkpoint.hpp>
#include <qwha/io/safetensors.hpp>
#include <qwha/io/safetensors_writer.hpp>
#include "measure.hpp"

namespace {

namespace fs = std::filesystem;
namespace io = qwha::io;

constexpr std::size_t layers = 8, out = 4096, in = 4096, group = 128;

struct scratch_folder {
  fs::path path = fs::temp_directory_path() / ("qwha-bench-io-" + std::to_string(std::random_device()()));
  scratch_folder() { fs::create_directory(path); }
  ~scratch_folder() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
};

/// All layers hold the same arrays: what is in them does not matter here.
void write_gptq(const fs::path& path) {
  const qwha::counter_random random(1);
  std::vector<std::int32_t> codes(in / 8 * out), zeros(in / group * out / 8), groups(in);
  for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::int32_t>(random.bits(i));
  for (std::size_t i = 0; i < zeros.size(); ++i) zeros[i] = static_cast<std::int32_t>(random.bits(i));
  for (std::size_t i = 0; i < in; ++i) groups[i] = static_cast<std::int32_t>(i / group);
  const std::vector<qwha::half> scales(in / group * out, qwha::half(0.01f));
  std::vector<io::tensor> all;
  for (std::size_t l = 0; l < layers; ++l) {
    const std::string name = "layers." + std::to_string(l);
    all.push_back(io::tensor_of<std::int32_t>(name + ".qweight", {in / 8, out}, codes));
    all.push_back(io::tensor_of<std::int32_t>(name + ".qzeros", {in / group, out / 8}, zeros));
    all.push_back(io::tensor_of<qwha::half>(name + ".scales", {in / group, out}, scales));
    all.push_back(io::tensor_of<std::int32_t>(name + ".g_idx", {in}, groups));
  }
  io::write_safetensors(path, all);
}

void write_nf4(const fs::path& path) {
  const qwha::counter_random random(2);
  std::vector<std::uint8_t> codes(out * in / 2);
  for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::uint8_t>(random.bits(i));
  const std::vector<float> absmax(out * in / 64, 0.1f);
  const std::vector<float> levels(std::begin(qwha::nf4_codebook::levels), std::end(qwha::nf4_codebook::levels));
  const std::string text = R"({"quant_type":"nf4","blocksize":64,"dtype":"float32","shape":[4096,4096]})";
  const std::vector<std::uint8_t> state(text.begin(), text.end());
  std::vector<io::tensor> all;
  for (std::size_t l = 0; l < layers; ++l) {
    const std::string name = "layers." + std::to_string(l) + ".weight";
    all.push_back(io::tensor_of<std::uint8_t>(name, {codes.size(), 1}, codes));
    all.push_back(io::tensor_of<float>(name + ".absmax", {absmax.size()}, absmax));
    all.push_back(io::tensor_of<float>(name + ".quant_map", {16}, levels));
    all.push_back(io::tensor_of<std::uint8_t>(name + ".quant_state.bitsandbytes__nf4", {state.size()}, state));
  }
  io::write_safetensors(path, all);
}

void read_gptq(const fs::path& path) {
  const io::gptq_checkpoint checkpoint(io::safetensors_file(path), {});
  for (const std::string& module : checkpoint.modules())
    bench::computed(checkpoint.layer(module).matrix<qwha::affine<4, group>>().size_bytes());
}

void read_nf4(const fs::path& path) {
  const io::safetensors_file file(path);
  for (const std::string& module : io::bitsandbytes_modules(file))
    bench::computed(io::bitsandbytes_layer(file, module).matrix<qwha::nf4<64>>().size_bytes());
}

/// The most memory that the process has held since it was last asked, in bytes; 0 where the system does not say.
std::size_t peak_memory() {
  std::ifstream status("/proc/self/status");
  std::size_t kib = 0;
  for (std::string word; status >> word;)
    if (word == "VmHWM:") status >> kib;
  std::ofstream("/proc/self/clear_refs") << 5;
  return kib * 1024;
}

}  // namespace

int main(int argc, char** argv) {
  bench::session session("io", argc, argv);
  const scratch_folder folder;
  const auto run = [&](const std::string& name, const fs::path& path, void (*write)(const fs::path&),
                       void (*read)(const fs::path&)) {
    if (!session.wanted(name)) return;
    write(path);
    const auto size = static_cast<double>(fs::file_size(path));
    std::vector<char> buffer(out * in / 2);
    bench::contest c{.name = name, .parameter = "MB", .value = size / 1e6};
    c.reference = c.bandwidth = "read";
    c.add(
        "read",
        [&] {
          std::ifstream file;
          file.rdbuf()->pubsetbuf(nullptr, 0);
          file.open(path, std::ios::binary);
          while (file.read(buffer.data(), static_cast<std::streamsize>(buffer.size()))) bench::written();
        },
        size);
    c.add("qwha", [&] { read(path); }, size);
    session.run(c);
    (void)peak_memory();
    const std::size_t before = peak_memory();
    read(path);
    if (const std::size_t most = peak_memory(); most != 0)
      session.note(name + ": reading took " + std::to_string((most - before) >> 20) + " MiB at most, the file has " +
                   std::to_string(fs::file_size(path) >> 20) + ", a layer " +
                   std::to_string(fs::file_size(path) / layers >> 20));
  };
  run("GPTQ 4-bit checkpoint", folder.path / "gptq.safetensors", write_gptq, read_gptq);
  run("bitsandbytes NF4 checkpoint", folder.path / "nf4.safetensors", write_nf4, read_nf4);
  return session.finish();
}
