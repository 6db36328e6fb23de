// SPDX-License-Identifier: MIT
#include "report.hpp"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <nlohmann/json.hpp>
#include <ostream>
#include <sstream>

#include <qwha/io/atomic_file.hpp>

namespace adapt {

double method_figures::relative_error() const {
  if (layers.empty()) return 1;
  double sum = 0;
  for (const auto& l : layers) sum += l.error_before > 0 ? l.error_after / l.error_before : 1;
  return sum / static_cast<double>(layers.size());
}

std::string quantizer_shape(int bits, std::size_t group) {
  return std::to_string(bits) + (group == 0 ? " bits, a scale a row" : " bits in groups of " + std::to_string(group));
}

void print_table(std::ostream& out, const run_figures& run) {
  const auto row = [&](const std::string& name, const std::string& parameters, const std::string& error,
                       const std::string& perplexity, const std::string& seconds) {
    out << std::left << std::setw(16) << name << std::right << std::setw(12) << parameters << std::setw(14) << error
        << std::setw(13) << perplexity << std::setw(10) << seconds << '\n';
  };
  const auto number = [](double value, int digits) {
    std::ostringstream text;
    text << std::fixed << std::setprecision(digits) << value;
    return text.str();
  };
  out << run.model << ", " << run.quantizer << ", " << quantizer_shape(run.bits, run.group) << ", fitted to "
      << run.calibration_tokens << " tokens" << (run.sequential ? " sequentially" : "") << ", judged on "
      << run.evaluation_tokens << "\n\n";
  row("method", "parameters", "layer error", "perplexity", "seconds");
  row("full precision", "", "", number(run.reference_perplexity, 2), "");
  for (const auto& m : run.methods)
    row(m.name, std::to_string(m.parameters), number(m.relative_error(), 3), number(m.perplexity, 2),
        number(m.quantize_seconds + m.fit_seconds, 1));
  out << "\nlayer error: mean over layers of |(W0 - W) X| / |(W0 - WQ) X|, on the evaluation text; 1 is the quantized "
         "model\n";

  // What the figures mean, for who does not read tables: the share of the damage that came back.
  const auto none =
      std::find_if(run.methods.begin(), run.methods.end(), [](const auto& m) { return m.name == "none"; });
  if (none == run.methods.end()) return;
  const double lost = std::log(none->perplexity / run.reference_perplexity);
  for (const auto& m : run.methods)
    if (&m != &*none && lost > 0)
      out << m.name << " brings back " << number(100 * std::log(none->perplexity / m.perplexity) / lost, 0)
          << " % of the log-perplexity that quantization lost, before any training\n";
}

void write_report(const std::filesystem::path& file, const run_figures& run) {
  using nlohmann::ordered_json;
  ordered_json root;
  root["model"] = run.model;
  root["bits"] = run.bits;
  root["quantizer"] = run.quantizer;
  root["group"] = run.group;
  root["rank"] = run.rank ? ordered_json(*run.rank) : ordered_json(nullptr);
  root["calibration"] = run.sequential ? "sequential" : "parallel";
  root["tokens"] = {{"calibration", run.calibration_tokens}, {"evaluation", run.evaluation_tokens}};
  root["reference"] = {{"perplexity", run.reference_perplexity}};
  auto& methods = root["methods"] = ordered_json::object();
  for (const auto& m : run.methods) {
    auto& entry = methods[m.name];
    entry["parameters"] = m.parameters;
    entry["perplexity"] = m.perplexity;
    entry["relative_error"] = m.relative_error();
    entry["seconds"] = {{"quantize", m.quantize_seconds}, {"fit", m.fit_seconds}};
    auto& layers = entry["layers"] = ordered_json::object();
    for (const auto& l : m.layers)
      layers[l.name] = {{"error_before", l.error_before}, {"error_after", l.error_after}, {"parameters", l.parameters}};
  }
  qwha::io::write_file(file, root.dump(2) + "\n");
}

}  // namespace adapt
