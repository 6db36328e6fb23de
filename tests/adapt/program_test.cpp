// SPDX-License-Identifier: MIT
/// The program as its users run it: on a tiny random Llama in Hugging Face's layout, by the shell.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "catch.hpp"
#include "qwha/io/adapter_file.hpp"
#include "shell.hpp"
#include "workplace.hpp"

namespace {

namespace fs = std::filesystem;
using adapt_test::slurp;
using adapt_test::write_tokenizer;
using qwha::test::shell;
using qwha::test::shell_result;

struct workplace : adapt_test::workplace {
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
  const auto run = [&](const std::string& name, const std::string& words, bool own_group) {
    std::string command =
        w.command("--parameters 2000 --methods qwha --quantizer " + words + " --report " + w.path("r.json"));
    if (own_group) command.erase(command.find("--group 32 "), 11);
    const shell_result r = shell(command);
    INFO(words << ": " << r.output);
    REQUIRE(r.status == 0);
    const auto report = nlohmann::json::parse(slurp(w.path("r.json")));
    CHECK(report.at("quantizer") == name);
    const auto& qwha = report.at("methods").at("qwha");
    CHECK(qwha.at("parameters") == 2000);
    CHECK(qwha.at("relative_error").get<double>() < 1);
    return qwha.at("layers").at("blk.1.ffn_up").at("error_before").get<double>();
  };
  const double rtn = run("rtn", "rtn --bits 3", false), magr = run("gptq-magr", "gptq-magr --bits 3", false);
  CHECK(run("gptq", "gptq --bits 3 --descent 1", false) < rtn);
  CHECK(run("gptq-magr", "gptq-magr --bits 3 --magr-alpha 1e-4", false) != magr);
  const double eight = std::max(run("int8", "int8", true), run("q8_0", "q8_0", true));
  for (const std::string name : {"nf4", "nf4-dq", "fp4", "fp4-dq", "mxfp4", "nvfp4", "q4_0", "q4_k"}) {
    const double four = run(name, name, true);
    INFO(name << ": " << four << ", 3 bits " << rtn << ", 8 bits " << eight);
    CHECK(four < rtn);
    CHECK(four > 4 * eight);
  }
}

TEST_CASE("sequential calibration is said and changes the layers behind the first") {
  const workplace w;
  const auto layers = [&](const std::string& words, const char* mode) {
    const shell_result r =
        shell(w.command("--rank 2 --bits 2 --methods none " + words + " --report " + w.path("r.json")));
    INFO(r.output);
    REQUIRE(r.status == 0);
    const auto report = nlohmann::json::parse(slurp(w.path("r.json")));
    CHECK(report.at("calibration") == mode);
    CHECK((r.output.find("sequentially") != std::string::npos) == (report.at("calibration") == "sequential"));
    return report.at("methods").at("none").at("layers");
  };
  const auto parallel = layers("", "parallel"), sequential = layers("--sequential", "sequential");
  for (const char* first : {"blk.0.attn_q", "blk.0.attn_k", "blk.0.attn_v"})
    CHECK(parallel.at(first) == sequential.at(first));
  CHECK(parallel.at("blk.0.attn_output") != sequential.at("blk.0.attn_output"));
  CHECK(parallel.at("blk.3.ffn_down") != sequential.at("blk.3.ffn_down"));
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
