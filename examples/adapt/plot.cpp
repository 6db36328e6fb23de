// SPDX-License-Identifier: MIT
#include "plot.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include <drawing/chart.hpp>
#include <qwha/io/atomic_file.hpp>

namespace adapt {
namespace {

std::string format(const char* pattern, double value, double second = 0) {
  char text[128];
  std::snprintf(text, sizeof text, pattern, value, second);
  return text;
}

/// "blk.12.attn_q" → panel "attn_q", depth 12.
std::pair<std::string, double> place(const std::string& layer) {
  const auto first = layer.find('.');
  const auto second = layer.find('.', first + 1);
  if (first == std::string::npos || second == std::string::npos) return {layer, 0};
  return {layer.substr(second + 1), std::atof(layer.substr(first + 1, second - first - 1).c_str())};
}

}  // namespace

std::string draw_layer_errors(const run_figures& run) {
  drawing::chart c{.title = "Layer-output error that is left after repair",
                   .subtitle = run.model + " · " + run.quantizer + ", " + quantizer_shape(run.bits, run.group) +
                               " · error relative to the quantized layer, on text that was not fitted"};
  std::vector<const method_figures*> methods;  // the bare quantized model is the line at 1
  for (const auto& m : run.methods)
    if (m.name != "none") methods.push_back(&m);

  double deepest = 1, highest = 1, lowest = 1;
  for (std::size_t i = 0; i < methods.size(); ++i) {
    c.legend.push_back(
        methods[i]->name +
        format(": mean error %.3f, perplexity %.1f, ", methods[i]->relative_error(), methods[i]->perplexity) +
        std::to_string(methods[i]->parameters) + " parameters");
    for (const auto& l : methods[i]->layers) {
      const auto [title, depth] = place(l.name);
      auto panel =
          std::ranges::find(c.panels, title, &drawing::panel::title);  // in the order in which a block computes
      if (panel == c.panels.end())
        panel = c.panels.insert(panel, {title, std::vector<std::vector<drawing::point>>(methods.size())});
      const double error = l.error_before > 0 ? l.error_after / l.error_before : 1;
      panel->lines[i].push_back({depth, error});
      deepest = std::max(deepest, depth);
      highest = std::max(highest, error);
      lowest = std::min(lowest, error);
    }
  }
  c.x = {.high = deepest, .ticks = {{0, "block 0", false}, {deepest, format("%.0f", deepest), false}}};
  c.y = {.low = std::floor(std::max(0.0, lowest - 0.05) * 10) / 10, .high = std::ceil(highest * 10 - 1e-9) / 10};
  const double tick = c.y.high - c.y.low > 0.6 ? 0.2 : 0.1;
  for (double e = c.y.low; e <= c.y.high + 1e-9; e += tick) c.y.ticks.push_back({e, format("%.1f", e)});

  const auto none = std::ranges::find(run.methods, "none", &method_figures::name);
  c.mark = {1, "quantized, not repaired" +
                   (none == run.methods.end() ? std::string() : format(": perplexity %.1f", none->perplexity)) +
                   format(" (full precision %.1f)", run.reference_perplexity)};
  return drawing::draw(c);
}

void write_plot(const std::filesystem::path& file, const run_figures& run) {
  qwha::io::write_file(file, draw_layer_errors(run));
}

}  // namespace adapt
