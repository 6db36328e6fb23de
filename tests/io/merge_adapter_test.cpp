// SPDX-License-Identifier: MIT
// merge-adapter as its users run it: W + F T by the definition, the error that it reports measured on the file that it
// wrote, and one line for what cannot be done.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <sstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>
#include <qwha/base/random.hpp>
#include <qwha/io/adapter_file.hpp>
#include <qwha/io/base_fingerprint.hpp>
#include <qwha/io/gguf.hpp>
#include <qwha/io/gguf_writer.hpp>
#include <qwha/io/gptq_checkpoint.hpp>
#include <qwha/io/gptq_writer.hpp>
#include <qwha/io/safetensors_writer.hpp>
#include <qwha/quant/gguf_blocks.hpp>
#include <qwha/quant/quantize.hpp>
#include "catch.hpp"
#include "expect.hpp"
#include "io/adapters.hpp"
#include "io/files.hpp"
#include "shell.hpp"

namespace {

using namespace qwha;
using namespace qwha::test;

constexpr std::size_t out = 32, in = 64;

shell_result merge(const std::string& arguments) { return shell(QWHA_MERGE_ADAPTER " " + arguments); }

std::vector<float> some_weight(std::uint64_t seed) {
  const counter_random random(seed);
  std::vector<float> w(out * in);
  for (std::size_t i = 0; i < w.size(); ++i) w[i] = static_cast<float>(random.uniform(i)) - 0.5f;
  return w;
}
rows_view<const float> view(const std::vector<float>& w) { return {w.data(), out, in}; }

/// W + F T, T = H / sqrt(in), H(i, j) = (-1)^popcount(i & j).
std::vector<double> merged(const std::vector<float>& w, const sparse_spectrum<float>& f) {
  std::vector<double> sum(w.begin(), w.end());
  for (std::size_t r = 0; r < out; ++r)
    for (std::size_t k = 0; k < f.columns(r).size(); ++k)
      for (std::size_t j = 0; j < in; ++j)
        sum[r * in + j] += (std::popcount(f.columns(r)[k] & j) % 2 == 0 ? 1.0 : -1.0) *
                           static_cast<double>(f.values(r)[k]) / std::sqrt(static_cast<double>(in));
  return sum;
}
double distance(const std::vector<float>& got, const std::vector<double>& wanted) {
  double sum = 0;
  for (std::size_t i = 0; i < wanted.size(); ++i) sum += (got[i] - wanted[i]) * (got[i] - wanted[i]);
  return std::sqrt(sum);
}
double norm(const std::vector<double>& w) { return distance(std::vector<float>(w.size(), 0.0f), w); }

/// The numbers of a line of the printed table: |F T| / |W|, lost / |W|, lost / |F T|.
std::vector<double> costs(const std::string& output, const std::string& layer) {
  std::istringstream lines(output);
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with(layer + " ")) {
      std::istringstream numbers(line.substr(layer.size()));
      std::vector<double> read;
      for (double x; numbers >> x;) read.push_back(x);
      return read;
    }
  return {};
}

const std::string q = "model.layers.0.self_attn.q_proj", up = "model.layers.0.mlp.up_proj";

}  // namespace

TEST_CASE("an adapter is folded into dense weights", "[io][merge_adapter]") {
  const scratch_folder folder;
  const std::string f = folder.path().string() + "/";
  const std::vector<float> w = some_weight(1), other = some_weight(2);
  std::filesystem::create_directory(folder / "base");
  io::write_safetensors(folder / "base/model.safetensors",
                        std::vector{io::tensor_of<float>(q + ".weight", {out, in}, w),
                                    io::tensor_of<float>(up + ".weight", {out, in}, other)});
  write_bytes(folder / "base/config.json", R"({"model_type":"llama"})");
  write_bytes(folder / "base/tokenizer.json", "{}");
  const sparse_spectrum<float> spectrum = some_spectrum(out, in, 3);
  io::save_adapter(folder / "a.safetensors",
                   io::adapter_file{{{q, spectrum, order_name(in), io::base_fingerprint(view(w))}}, {}});
  const std::vector<double> wanted = merged(w, spectrum);

  const shell_result r = merge(f + "base " + f + "a.safetensors " + f + "dense --type f32");
  INFO(r.output);
  REQUIRE(r.status == 0);
  const io::safetensors_file dense(folder / "dense");
  CHECK(distance(dense.read<float>(q + ".weight"), wanted) <= 1e-6 * norm(wanted));
  CHECK(dense.read<float>(up + ".weight") == other);
  CHECK(nlohmann::json::parse(read_bytes(folder / "dense/config.json"))["model_type"] == "llama");
  CHECK(read_bytes(folder / "dense/tokenizer.json") == "{}");
  REQUIRE(costs(r.output, q).size() == 3);
  CHECK(costs(r.output, q)[0] == Approx(distance(w, wanted) / norm(wanted)).epsilon(1e-3));
  CHECK(costs(r.output, q)[1] == 0);

  // In 16 bits one rounding is lost, and said.
  const shell_result half = merge(f + "base " + f + "a.safetensors " + f + "half.safetensors");
  INFO(half.output);
  REQUIRE(half.status == 0);
  const io::safetensors_file rounded(folder / "half.safetensors");
  CHECK(rounded.at(q + ".weight").dtype == io::dtype::f16);
  const double lost = distance(rounded.read<float>(q + ".weight"), wanted);
  CHECK(lost <= 0x1p-11 * norm(wanted));
  REQUIRE(costs(half.output, "in all").size() == 3);
  CHECK(costs(half.output, "in all")[1] == Approx(lost / norm(wanted)).epsilon(1e-2));
}

TEST_CASE("an adapter is folded into GPTQ codes", "[io][merge_adapter]") {
  using format = affine<4, 32>;
  const scratch_folder folder;
  const std::string f = folder.path().string() + "/";
  const auto quantized = quantize<format>(view(some_weight(1))), unadapted = quantize<format>(view(some_weight(2)));
  io::gptq_writer writer;
  writer.add(q, quantized);
  writer.add(up, unadapted);
  writer.set_model_config({{"model_type", "llama"}});
  const std::vector<float> norm_weight(in, 1.0f);
  writer.add(io::tensor_of<float>("model.norm.weight", {in}, norm_weight));
  std::filesystem::create_directory(folder / "base");
  writer.save(folder / "base");
  std::vector<float> w(out * in);
  quantized.dequantize({w.data(), out, in});
  const sparse_spectrum<float> spectrum = some_spectrum(out, in, 3);
  io::save_adapter(folder / "a.safetensors",
                   io::adapter_file{{{q, spectrum, order_name(in), io::base_fingerprint(quantized)}}, {}});
  const std::vector<double> wanted = merged(w, spectrum);

  const shell_result r = merge(f + "base " + f + "a.safetensors " + f + "merged --bits 4 --group 32");
  INFO(r.output);
  REQUIRE(r.status == 0);
  const io::gptq_checkpoint checkpoint(folder / "merged");
  CHECK(checkpoint.config().version == io::gptq_version::v2);
  CHECK(checkpoint.modules() == std::vector<std::string>{up, q});
  CHECK(checkpoint.tensors().read<float>("model.norm.weight") == norm_weight);
  CHECK_FALSE(checkpoint.tensors().contains(q + ".weight"));
  std::vector<float> got(out * in);
  checkpoint.layer(q).dequantize({got.data(), out, in});
  REQUIRE(costs(r.output, q).size() == 3);
  CHECK(costs(r.output, q)[1] == Approx(distance(got, wanted) / norm(wanted)).epsilon(1e-3));
  CHECK(costs(r.output, q)[2] == Approx(distance(got, wanted) / distance(w, wanted)).epsilon(1e-3));
  CHECK(costs(r.output, q)[2] > 0.01);

  // As dense weights all layers are, the one without adapter too.
  REQUIRE(merge(f + "base " + f + "a.safetensors " + f + "dense --type f32").status == 0);
  const io::safetensors_file dense(folder / "dense");
  CHECK(distance(dense.read<float>(q + ".weight"), wanted) <= 1e-6 * norm(wanted));
  CHECK(dense.contains(up + ".weight"));
  CHECK_FALSE(dense.contains(q + ".qweight"));
  CHECK_FALSE(nlohmann::json::parse(read_bytes(folder / "dense/config.json")).contains("quantization_config"));

  // Against another base nothing is folded.
  writer = io::gptq_writer();
  writer.add(q, unadapted);
  std::filesystem::create_directory(folder / "other");
  writer.save(folder / "other");
  const shell_result refused = merge(f + "other " + f + "a.safetensors " + f + "wrong");
  CHECK(refused.status == 1);
  CHECK(mentions(refused.output, {q, "fingerprint"}));
  CHECK_FALSE(std::filesystem::exists(folder / "wrong"));
}

TEST_CASE("an adapter is folded into GGUF blocks", "[io][merge_adapter]") {
  const scratch_folder folder;
  const std::string f = folder.path().string() + "/";
  const auto blocks = quantize<q8_0>(view(some_weight(1)));
  const std::vector<float> other = some_weight(2);
  io::gguf_writer writer;
  writer.set("general.architecture", "qwen3");
  writer.set("tokenizer.ggml.tokens", std::vector<std::string>{"a", "b"});
  writer.set("tokenizer.ggml.add_bos_token", true);
  writer.set("numbers", std::vector<std::int32_t>{1, -2});
  writer.add({"blk.0.attn_q.weight", io::dtype::q8_0, {out, in}, {blocks.codes(0), out * blocks.code_stride()}});
  writer.add(io::tensor_of<float>("blk.0.ffn_up.weight", {out, in}, other));
  writer.save(folder / "base.gguf");
  std::vector<float> w(out * in);
  blocks.dequantize({w.data(), out, in});
  const sparse_spectrum<float> spectrum = some_spectrum(out, in, 3);
  io::save_adapter(folder / "a.gguf",
                   io::adapter_file{{{"blk.0.attn_q", spectrum, order_name(in), io::base_fingerprint(blocks)}}, {}});
  const std::vector<double> wanted = merged(w, spectrum);

  for (const std::string type : {"f16", "q8_0", "q4_0"}) {
    INFO(type);
    const shell_result r = merge(f + "base.gguf " + f + "a.gguf " + f + type + ".gguf --type " + type);
    INFO(r.output);
    REQUIRE(r.status == 0);
    const io::gguf_file file(folder / (type + ".gguf"));
    CHECK(name(file.at("blk.0.attn_q.weight").dtype) == type);
    CHECK(file.read<float>("blk.0.ffn_up.weight") == other);
    CHECK(file.value<std::string>("general.architecture") == "qwen3");
    CHECK(file.value<std::vector<std::string>>("tokenizer.ggml.tokens") == std::vector<std::string>{"a", "b"});
    CHECK(file.value<bool>("tokenizer.ggml.add_bos_token"));
    CHECK(file.value<std::vector<int>>("numbers") == std::vector<int>{1, -2});
    const double lost = distance(file.read<float>("blk.0.attn_q.weight"), wanted) / norm(wanted);
    REQUIRE(costs(r.output, "in all").size() == 3);
    CHECK(costs(r.output, "in all")[1] == Approx(lost).epsilon(1e-2));
  }
}

TEST_CASE("what cannot be folded is said in one line and leaves nothing", "[io][merge_adapter]") {
  const scratch_folder folder;
  const std::string f = folder.path().string() + "/";
  const std::vector<float> w = some_weight(1), huge(out * in, 1e6f);
  io::write_safetensors(folder / "base.safetensors",
                        std::vector{io::tensor_of<float>(q + ".weight", {out, in}, w),
                                    io::tensor_of<float>(up + ".weight", {out, in}, huge)});
  const auto save = [&](const std::string& file, const std::string& layer, std::size_t rows) {
    io::save_adapter(folder / file, io::adapter_file{{{layer, some_spectrum(rows, in, 3), order_name(in), ""}}, {}});
  };
  save("a.safetensors", q, out);
  save("absent.safetensors", "model.layers.7.self_attn.q_proj", out);
  save("shape.safetensors", q, out / 2);
  save("large.safetensors", up, out);
  const std::size_t files = folder.entries();
  const auto refused = [&](const std::string& arguments, std::initializer_list<std::string_view> parts) {
    const shell_result r = merge(arguments);
    INFO(arguments << "\n" << r.output);
    CHECK(r.status == 1);
    CHECK(std::count(r.output.begin(), r.output.end(), '\n') == 1);
    CHECK(mentions(r.output, parts));
    CHECK(folder.entries() == files);
  };
  const std::string base = f + "base.safetensors ", adapter = f + "a.safetensors ";
  refused(f + "none " + adapter + f + "x", {"none"});
  refused(base + f + "none.safetensors " + f + "x", {"none.safetensors"});
  refused(base + f + "absent.safetensors " + f + "x", {"base.safetensors", "model.layers.7"});
  refused(base + f + "shape.safetensors " + f + "x", {q, "[16, 64]"});
  refused(base + f + "large.safetensors " + f + "x", {up, "too large"});
  refused(base + adapter + f + "x.gguf", {"x.gguf", "GGUF base"});
  refused(base + adapter + f + "x.safetensors --bits 4", {"--bits"});
  refused(base + adapter + f + "x --type q4_0", {"q4_0", "--bits"});
  refused(base + adapter + f.substr(0, f.size() - 1), {"is there already"});
  refused(base + adapter + "/proc/none/x", {"/proc/none/x"});
  CHECK(merge("").status == 2);
  CHECK(merge(base + adapter + f + "x --bits 5").status == 2);
  CHECK(merge("--help").status == 0);
}
