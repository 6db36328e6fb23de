// SPDX-License-Identifier: MIT
#include "options.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <map>
#include <sstream>

#include <qwha/base/error.hpp>

#include "methods.hpp"
#include "report.hpp"

namespace adapt {
namespace {

namespace fs = std::filesystem;

struct quantizer_choice {
  adapt::solver solver;
  adapt::format format;
  int bits;           ///< that the format fixes; 0: --bits and --group decide
  std::size_t group;  ///< likewise; 0 with bits: a row
};
const std::map<std::string, quantizer_choice> quantizers{
    {"rtn", {solver::rtn, format::affine, 0, 0}},
    {"gptq", {solver::gptq, format::affine, 0, 0}},
    {"gptq-magr", {solver::gptq_magr, format::affine, 0, 0}},
    {"nf4", {solver::rtn, format::nf4, 4, 64}},
    {"nf4-dq", {solver::rtn, format::nf4_dq, 4, 64}},
    {"fp4", {solver::rtn, format::fp4, 4, 64}},
    {"fp4-dq", {solver::rtn, format::fp4_dq, 4, 64}},
    {"mxfp4", {solver::rtn, format::mxfp4, 4, 32}},
    {"nvfp4", {solver::rtn, format::nvfp4, 4, 16}},
    {"int8", {solver::rtn, format::int8, 8, 0}},
    {"q4_0", {solver::rtn, format::q4_0, 4, 32}},
    {"q8_0", {solver::rtn, format::q8_0, 8, 32}},
    {"q4_k", {solver::rtn, format::q4_k, 4, 32}},
};

template <class Map>
std::string keys(const Map& map) {
  std::string all;
  for (const auto& [key, value] : map) all += (all.empty() ? "" : ", ") + key;
  return all;
}

/// Fails now rather than after minutes of work.
void check_writable_place(const char* option, const fs::path& file) {
  const fs::path folder = file.has_parent_path() ? file.parent_path() : fs::path(".");
  if (!fs::is_directory(folder))
    throw qwha::io_error(std::string(option) + ": the folder " + folder.string() + " does not exist");
  if (fs::is_directory(file))
    throw qwha::io_error(std::string(option) + ": " + file.string() + " is a folder, not a file");
}

void check_values(const options& o) {
  const auto fail = [](const std::string& text) { throw qwha::value_error(text); };
  if (o.rank && *o.rank == 0)
    fail("--rank must be at least 1: a budget of zero repairs nothing (for that, ask for the method none)");
  if (o.parameters && *o.parameters == 0) fail("--parameters must be at least 1: a budget of zero repairs nothing");
  if (o.context < 4) fail("--context must be at least 4 tokens: half of each window is judged");
  if (o.calibration_tokens < o.context) fail("--calibration-tokens must hold at least one window of --context tokens");
  if (o.evaluation_tokens < o.context) fail("--evaluation-tokens must hold at least one window of --context tokens");
  if (!(o.magr_alpha >= 0) || std::isinf(o.magr_alpha)) fail("--magr-alpha must be finite and not negative");
  if (o.threads < 0) fail("--threads must not be negative");
  if (!fs::exists(o.model)) throw qwha::io_error("--model: " + o.model.string() + " does not exist");
  if (!fs::is_regular_file(o.calibration))
    throw qwha::io_error("--calibration: " + o.calibration.string() + " is not a file that can be read");
  if (o.evaluation && !fs::is_regular_file(*o.evaluation))
    throw qwha::io_error("--evaluation: " + o.evaluation->string() + " is not a file that can be read");
  if (o.output) {
    std::error_code failure;
    fs::create_directories(*o.output, failure);
    if (failure || !fs::is_directory(*o.output))
      throw qwha::io_error("--output: " + o.output->string() + " is not a folder and cannot be made one");
  }
  if (o.report) check_writable_place("--report", *o.report);
  if (o.plot) check_writable_place("--plot", *o.plot);
}

}  // namespace

fs::path cache_folder() {
  const auto variable = [](const char* name) -> std::optional<fs::path> {
    const char* value = std::getenv(name);
    if (value == nullptr || *value == '\0') return std::nullopt;
    return fs::path(value);
  };
  if (const auto folder = variable("QWHA_CACHE")) return *folder;
  if (const auto folder = variable("XDG_CACHE_HOME")) return *folder / "qwha";
  return variable("HOME").value_or(".") / ".cache" / "qwha";
}

options parse_options(int argc, const char* const* argv) {
  options o;
  CLI::App app{
      "Quantizes a language model, repairs it with sparse Walsh-Hadamard adapters, and shows what that gains."};
  app.name("adapt");
  std::string methods = "none,qwha-paper,qwha";
  std::string evaluation, output, report, plot, calibration, model;
  std::size_t rank = 0, parameters = 0;
  // CLI11 would wrap a negative number around.
  const CLI::Validator count(
      [](const std::string& word) { return word.find('-') == std::string::npos ? "" : word + " is negative"; },
      "COUNT");
  app.add_option("--model", model, "GGUF file or Hugging Face folder")->required()->type_name("PATH");
  app.add_option("--calibration", calibration, "UTF-8 text to fit to (default: the one that setup.sh made)")
      ->type_name("TEXT");
  app.add_option("--evaluation", evaluation, "UTF-8 text to judge on (default: likewise)")->type_name("TEXT");
  auto* bits =
      app.add_option("--bits", o.bits, "bits of a code")->check(CLI::IsMember({2, 3, 4}))->capture_default_str();
  auto* group = app.add_option("--group", o.group, "weights that share a scale")
                    ->check(CLI::IsMember({32, 64, 128}))
                    ->capture_default_str();
  app.add_option("--quantizer", o.quantizer, keys(quantizers))->check(CLI::IsMember(quantizers))->capture_default_str();
  app.add_option("--magr-alpha", o.magr_alpha, "weight of the l-infinity norm in gptq-magr")->capture_default_str();
  app.add_option("--descent", o.descent, "passes of coordinate descent after GPTQ")
      ->check(count)
      ->capture_default_str();
  auto* rank_option =
      app.add_option("--rank", rank, "budget of rank (in + out) coefficients a layer (default 16)")->check(count);
  app.add_option("--parameters", parameters, "budget of the whole model instead")->excludes(rank_option)->check(count);
  app.add_option("--methods", methods, "comma-separated: " + method_names())->capture_default_str();
  app.add_option("--calibration-tokens", o.calibration_tokens)->check(count)->capture_default_str();
  app.add_option("--evaluation-tokens", o.evaluation_tokens)->check(count)->capture_default_str();
  app.add_option("--context", o.context, "tokens of a window")->check(count)->capture_default_str();
  app.add_option("--output", output, "folder for the adapters, one file a method")->type_name("DIR");
  app.add_flag("--sequential", o.sequential,
               "fit each layer to what the quantized and repaired layers before it produce");
  app.add_option("--report", report, "every figure, as JSON")->type_name("FILE.json");
  app.add_option("--plot", plot, "error of every layer, drawn")->type_name("FILE.svg");
  app.add_option("--threads", o.threads, "0: all of the machine")->capture_default_str();
  app.add_option("--seed", o.seed)->check(count)->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    throw usage_error(app.help(), 0);
  } catch (const CLI::ParseError& e) {
    throw usage_error(std::string("adapt: ") + e.what() + "\nRun adapt --help for the options.\n", 2);
  }

  const quantizer_choice& choice = quantizers.at(o.quantizer);
  if (choice.bits != 0 &&
      ((bits->count() != 0 && o.bits != choice.bits) || (group->count() != 0 && o.group != choice.group)))
    throw usage_error("adapt: --quantizer " + o.quantizer + " is " + quantizer_shape(choice.bits, choice.group) +
                          "; leave out --bits and --group\n",
                      2);
  if (o.descent != 0 && choice.solver == solver::rtn)
    throw usage_error("adapt: --descent follows gptq and gptq-magr, not --quantizer " + o.quantizer + "\n", 2);
  if (app.count("--magr-alpha") != 0 && choice.solver != solver::gptq_magr)
    throw usage_error("adapt: --magr-alpha belongs to gptq-magr, not --quantizer " + o.quantizer + "\n", 2);
  o.solver = choice.solver;
  o.format = choice.format;
  if (choice.bits != 0) o.bits = choice.bits, o.group = choice.group;

  o.methods.clear();
  std::istringstream list(methods);
  for (std::string name; std::getline(list, name, ',');) {
    if (name.empty()) continue;
    if (!known_method(name))
      throw usage_error("adapt: --methods: there is no method \"" + name + "\"; known are " + method_names() + "\n", 2);
    if (std::find(o.methods.begin(), o.methods.end(), name) == o.methods.end()) o.methods.push_back(name);
  }
  if (o.methods.empty()) throw usage_error("adapt: --methods names no method\n", 2);

  if (app.count("--parameters") != 0) {
    o.rank.reset();
    o.parameters = parameters;
  } else if (rank_option->count() != 0) {
    o.rank = rank;
  }
  o.model = model;
  o.calibration = calibration.empty() ? cache_folder() / "calibration.txt" : fs::path(calibration);
  if (!evaluation.empty()) {
    o.evaluation = evaluation;
  } else if (const fs::path text = cache_folder() / "evaluation.txt"; fs::is_regular_file(text)) {
    o.evaluation = text;
  }
  if (!output.empty()) o.output = output;
  if (!report.empty()) o.report = report;
  if (!plot.empty()) o.plot = plot;
  check_values(o);
  return o;
}

}  // namespace adapt
