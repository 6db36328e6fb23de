// SPDX-License-Identifier: MIT
/// The program as its users run it: on a tiny random Llama in Hugging Face's layout, by the shell.
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "../engine/tiny_model.hpp"
#include "catch.hpp"
#include "qwha/io/adapter_file.hpp"
#include "shell.hpp"

namespace {

namespace fs = std::filesystem;
using qwha::test::shell;
using qwha::test::shell_result;

std::string slurp(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// Byte-level BPE without merges: a byte is a token. Bytes that are no visible Latin-1 characters are written as U+0100,
/// U+0101, … in their order.
void write_tokenizer(const fs::path& folder) {
  nlohmann::json vocabulary = nlohmann::json::object();
  unsigned invisible = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const bool visible = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte != 0xad);
    const unsigned code = visible ? byte : invisible++;
    std::string piece;
    if (code >= 0x80) piece += static_cast<char>(0xc0 | (code >> 6));
    piece += static_cast<char>(code < 0x80 ? code : 0x80 | (code & 0x3f));
    vocabulary[piece] = byte;
  }
  const nlohmann::json bytes{{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}};
  const nlohmann::json root{{"added_tokens", nlohmann::json::array()},
                            {"pre_tokenizer", bytes},
                            {"decoder", bytes},
                            {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", nlohmann::json::array()}}}};
  std::ofstream(folder / "tokenizer.json") << root.dump();
}

/// A tiny Llama with a token for each byte.
engine_test::tiny_model byte_model() {
  engine_test::tiny_model m = engine_test::make_tiny("llama", 7);
  m.vocabulary = 256;
  std::uint64_t stream = 0;
  for (const char* name : {"model.embed_tokens.weight", "lm_head.weight"}) {
    const qwha::counter_random random(7, ++stream);
    auto& w = m.weights.at(name);
    w.shape = {m.vocabulary, m.hidden};
    w.values.resize(m.vocabulary * m.hidden);
    for (std::size_t i = 0; i < w.values.size(); ++i) w.values[i] = static_cast<float>(random.uniform(i) - 0.5);
  }
  return m;
}

std::string letters(std::size_t count, std::uint64_t seed) {
  const qwha::counter_random random(seed);
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text += i % 7 == 6 ? ' ' : static_cast<char>('a' + random.below(26, i));
  return text;
}

struct workplace {
  fs::path folder = fs::temp_directory_path() / ("qwha_adapt_program_test_" + std::to_string(::getpid()));
  engine_test::tiny_model model = byte_model();

  workplace() {
    engine_test::write_hugging_face(model, folder / "model");
    write_tokenizer(folder / "model");
    std::ofstream(folder / "calibration.txt") << letters(4000, 1);
    std::ofstream(folder / "evaluation.txt") << letters(2000, 2);
  }
  ~workplace() { fs::remove_all(folder); }
  workplace(const workplace&) = delete;
  workplace& operator=(const workplace&) = delete;

  std::string path(const std::string& name) const { return (folder / name).string(); }
  /// `words` may repeat an option: the last one counts for the model and the texts, which are given first.
  std::string command(const std::string& words, const std::string& model_name = "model",
                      const std::string& calibration = "calibration.txt") const {
    return std::string(QWHA_ADAPT) + " --model " + path(model_name) + " --calibration " + path(calibration) +
           " --evaluation " + path("evaluation.txt") +
           " --context 32 --calibration-tokens 2048 --evaluation-tokens 1024 --group 32 " + words;
  }
};

nlohmann::json without_seconds(nlohmann::json report) {
  for (auto& [name, method] : report.at("methods").items()) method.erase("seconds");
  return report;
}

/// One line that begins with the program's name and holds `what`.
void check_refusal(const shell_result& r, const std::string& what) {
  INFO(r.output);
  CHECK(r.status == 1);
  const auto line = r.output.rfind("adapt: ");
  REQUIRE(line != std::string::npos);
  CHECK(r.output.find(what, line) != std::string::npos);
  CHECK(r.output.find('\n', line) == r.output.size() - 1);
}

}  // namespace

TEST_CASE("a model is quantized, adapted and judged; report, plot and adapters are written") {
  const workplace w;
  const shell_result r =
      shell(w.command("--rank 2 --bits 2 --methods none,qwha-paper,qwha --report " + w.path("r.json") + " --plot " +
                      w.path("p.svg") + " --output " + w.path("adapters")));
  INFO(r.output);
  REQUIRE(r.status == 0);
  const auto report = nlohmann::json::parse(slurp(w.folder / "r.json"));
  CHECK(report.at("model") == "model");
  CHECK(report.at("bits") == 2);
  CHECK(report.at("rank") == 2);
  CHECK(report.at("tokens").at("calibration") == 2048);
  CHECK(report.at("tokens").at("evaluation") == 1024);
  CHECK(report.at("reference").at("perplexity").get<double>() > 1);

  const auto& methods = report.at("methods");
  CHECK(methods.at("none").at("relative_error") == 1.0);
  CHECK(methods.at("none").at("parameters") == 0);
  // 4 blocks of q [32, 24], k, v [16, 24], o [24, 32], gate, up [40, 24], down [24, 40].
  const std::size_t budget = 4 * 2 * (56 + 40 + 40 + 56 + 64 + 64 + 64);
  for (const char* name : {"qwha-paper", "qwha"}) {
    INFO(name);
    const auto& m = methods.at(name);
    CHECK(m.at("parameters") == budget);
    CHECK(m.at("relative_error").get<double>() < 1);
    CHECK(m.at("layers").size() == 4 * 7);
    double mean = 0;
    for (const auto& [layer, figures] : m.at("layers").items()) {
      mean += figures.at("error_after").get<double>() / figures.at("error_before").get<double>();
      CHECK(figures.at("error_before") == methods.at("none").at("layers").at(layer).at("error_after"));
    }
    CHECK(m.at("relative_error").get<double>() == Approx(mean / (4 * 7)));

    const auto adapter = qwha::io::load_adapter(w.folder / "adapters" / (std::string(name) + ".safetensors"));
    REQUIRE(adapter.modules.size() == 4 * 7);
    std::size_t size = 0;
    for (const auto& module : adapter.modules) size += module.spectrum.size();
    CHECK(size == budget);
    CHECK(adapter.modules.front().name == "model.layers.0.self_attn.q_proj");
  }
  CHECK(methods.at("qwha").at("relative_error").get<double>() <
        methods.at("qwha-paper").at("relative_error").get<double>());
  CHECK(slurp(w.folder / "p.svg").find("</svg>") != std::string::npos);
  CHECK(r.output.find("full precision") != std::string::npos);
}

TEST_CASE("threads change nothing but the time") {
  const workplace w;
  REQUIRE(shell(w.command("--rank 2 --threads 1 --report " + w.path("one.json"))).status == 0);
  REQUIRE(shell(w.command("--rank 2 --threads 2 --report " + w.path("two.json"))).status == 0);
  const auto one = nlohmann::json::parse(slurp(w.folder / "one.json"));
  const auto two = nlohmann::json::parse(slurp(w.folder / "two.json"));
  CHECK(without_seconds(one) == without_seconds(two));
}

TEST_CASE("every quantizer and a budget for the whole model run") {
  const workplace w;
  for (const std::string q : {"rtn", "gptq-magr", "mxfp4", "nvfp4"}) {
    const std::string group = q == "mxfp4" || q == "nvfp4" ? "" : " --bits 3";
    std::string command =
        w.command("--parameters 2000 --methods qwha --quantizer " + q + group + " --report " + w.path(q + ".json"));
    if (group.empty()) command.erase(command.find("--group 32 "), 11);
    const shell_result r = shell(command);
    INFO(q << ": " << r.output);
    REQUIRE(r.status == 0);
    const auto report = nlohmann::json::parse(slurp(w.path(q + ".json")));
    CHECK(report.at("quantizer") == q);
    CHECK(report.at("methods").at("qwha").at("parameters") == 2000);
    CHECK(report.at("methods").at("qwha").at("relative_error").get<double>() < 1);
  }
}

TEST_CASE("bad input gets one line that names it, status 1, and leaves no file") {
  const workplace w;
  const std::string report = " --report " + w.path("r.json");
  std::ofstream(w.folder / "empty.txt").close();
  std::ofstream(w.folder / "short.txt") << "too short";
  check_refusal(shell(w.command("--rank 2" + report, "model", "empty.txt")), "empty.txt");
  check_refusal(shell(w.command("--rank 2" + report, "model", "short.txt")), "short.txt");
  check_refusal(shell(w.command("--rank 2" + report, "model", "absent.txt")), "absent.txt");
  check_refusal(shell(w.command("--rank 2" + report, "absent")), "absent");
  check_refusal(shell(w.command("--rank 0" + report)), "--rank");
  check_refusal(shell(w.command("--rank 100" + report)), "--rank 100");
  check_refusal(shell(w.command("--parameters 0" + report)), "--parameters");
  check_refusal(shell(w.command("--parameters 100000000" + report)), "--parameters 100000000");

  fs::create_directories(w.folder / "unknown");
  nlohmann::json config = engine_test::config_json(w.model);
  config["model_type"] = "abacus";
  std::ofstream(w.folder / "unknown" / "config.json") << config.dump();
  fs::copy_file(w.folder / "model" / "model.safetensors", w.folder / "unknown" / "model.safetensors");
  fs::copy_file(w.folder / "model" / "tokenizer.json", w.folder / "unknown" / "tokenizer.json");
  check_refusal(shell(w.command("--rank 2" + report, "unknown")), "abacus");

  engine_test::tiny_model poisoned = w.model;
  poisoned.weights.at("model.layers.2.mlp.up_proj.weight").values[5] = std::numeric_limits<float>::quiet_NaN();
  engine_test::write_hugging_face(poisoned, w.folder / "poisoned");
  write_tokenizer(w.folder / "poisoned");
  check_refusal(shell(w.command("--rank 2" + report, "poisoned")), "model.layers.2.mlp.up_proj.weight");

  const std::string bytes = slurp(w.folder / "model" / "model.safetensors");
  fs::create_directories(w.folder / "truncated");
  for (const char* name : {"config.json", "tokenizer.json"})
    fs::copy_file(w.folder / "model" / name, w.folder / "truncated" / name);
  std::ofstream(w.folder / "truncated" / "model.safetensors", std::ios::binary) << bytes.substr(0, bytes.size() / 2);
  check_refusal(shell(w.command("--rank 2" + report, "truncated")), "model.safetensors");
  std::ofstream(w.folder / "broken.gguf", std::ios::binary) << "GGUF\x03";
  check_refusal(shell(w.command("--rank 2" + report, "broken.gguf")), "broken.gguf");
  CHECK_FALSE(fs::exists(w.folder / "r.json"));
}

TEST_CASE("a disk that fills up is reported, and nothing half-written stays") {
  const workplace w;
  fs::create_directories(w.folder / "place");
  // No file may grow beyond 4 blocks: writing fails as on a full disk, once the signal is ignored.
  check_refusal(shell("ulimit -f 4; trap '' XFSZ; " + w.command("--rank 2 --report " + w.path("place/r.json"))),
                "r.json");
  CHECK(fs::is_empty(w.folder / "place"));
}

TEST_CASE("words that the program does not know are usage, status 2") {
  const workplace w;
  CHECK(shell(w.command("--methods magic")).status == 2);
  CHECK(shell(w.command("--what")).status == 2);
  CHECK(shell(std::string(QWHA_ADAPT)).status == 2);
  const shell_result help = shell(std::string(QWHA_ADAPT) + " --help");
  CHECK(help.status == 0);
  CHECK(help.output.find("--calibration-tokens") != std::string::npos);
}
