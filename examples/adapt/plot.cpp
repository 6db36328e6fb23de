// SPDX-License-Identifier: MIT
#include "plot.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <map>

#include <qwha/io/atomic_file.hpp>

namespace adapt {
namespace {

// Okabe and Ito's colours, told apart by every kind of colour vision; methods also differ by dash.
constexpr std::array colours{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"};
constexpr std::array dashes{"", "6 3", "2 2", "8 3 2 3", "1 3", "10 4"};

constexpr double panel_width = 230, panel_height = 150, gap_x = 52, gap_y = 58, left = 56, top = 92;
constexpr int columns = 4;

struct point {
  double depth, error;
};

std::string format(const char* pattern, double a, double b = 0, double c = 0, double d = 0) {
  char text[256];
  std::snprintf(text, sizeof text, pattern, a, b, c, d);
  return text;
}

std::string escape(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '&')
      out += "&amp;";
    else if (c == '"')
      out += "&quot;";
    else
      out += c;
  }
  return out;
}

std::string text(double x, double y, const std::string& what, const char* css, const char* anchor = "start") {
  return format("<text x=\"%.1f\" y=\"%.1f\" ", x, y) + "class=\"" + css + "\" text-anchor=\"" + anchor + "\">" +
         escape(what) + "</text>\n";
}

/// "blk.12.attn_q" → panel "attn_q", depth 12.
std::pair<std::string, double> place(const std::string& layer) {
  const auto first = layer.find('.');
  const auto second = layer.find('.', first + 1);
  if (first == std::string::npos || second == std::string::npos) return {layer, 0};
  return {layer.substr(second + 1), std::atof(layer.substr(first + 1, second - first - 1).c_str())};
}

std::string stroke(std::size_t method) {
  std::string s = "stroke=\"" + std::string(colours[method % colours.size()]) + "\"";
  if (const std::string dash = dashes[method % dashes.size()]; !dash.empty()) s += " stroke-dasharray=\"" + dash + "\"";
  return s;
}

}  // namespace

std::string draw_layer_errors(const run_figures& run) {
  std::vector<const method_figures*> methods;  // the bare quantized model is the line at 1
  for (const auto& m : run.methods)
    if (m.name != "none") methods.push_back(&m);

  std::vector<std::string> panels;  // in the order in which a block computes
  std::map<std::string, std::vector<std::vector<point>>> lines;
  double deepest = 1, highest = 1, lowest = 1;
  for (std::size_t i = 0; i < methods.size(); ++i)
    for (const auto& l : methods[i]->layers) {
      const auto [panel, depth] = place(l.name);
      if (std::find(panels.begin(), panels.end(), panel) == panels.end()) panels.push_back(panel);
      const double error = l.error_before > 0 ? l.error_after / l.error_before : 1;
      lines[panel].resize(methods.size());
      lines[panel][i].push_back({depth, error});
      deepest = std::max(deepest, depth);
      highest = std::max(highest, error);
      lowest = std::min(lowest, error);
    }
  const double y_low = std::floor(std::max(0.0, lowest - 0.05) * 10) / 10, y_high = std::ceil(highest * 10 - 1e-9) / 10;

  const int rows = std::max(1, static_cast<int>((panels.size() + columns - 1) / columns));
  const double width = left + columns * panel_width + (columns - 1) * gap_x + 24;
  const double legend_y = top + rows * panel_height + (rows - 1) * gap_y + 62;
  const double height = legend_y + 20 * static_cast<double>(methods.size() + 1) + 8;
  std::string svg = format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" height=\"%.0f\" "
      "role=\"img\">\n",
      width, height, width, height);
  svg +=
      "<style>\n"
      "  text { font: 12px system-ui, sans-serif; fill: #24292f }\n"
      "  .title { font-size: 17px; font-weight: 600 } .panel { font-size: 13px; font-weight: 600 } .soft { fill: "
      "#57606a }\n"
      "  .page { fill: #ffffff } .grid { stroke: #d0d7de; stroke-width: 1 } .one { stroke: #57606a; stroke-width: 1.2 "
      "}\n"
      "  .line { fill: none; stroke-width: 2; stroke-linejoin: round }\n"
      "  @media (prefers-color-scheme: dark) {\n"
      "    text { fill: #e6edf3 } .soft { fill: #9aa4af } .page { fill: #0d1117 }\n"
      "    .grid { stroke: #30363d } .one { stroke: #9aa4af } .line { filter: brightness(1.35) }\n"
      "  }\n"
      "</style>\n<rect class=\"page\" width=\"100%\" height=\"100%\"/>\n";
  svg += text(left, 32, "Layer-output error that is left after repair", "title");
  svg += text(left, 54,
              run.model + " · " + run.quantizer + ", " + std::to_string(run.bits) + " bits in groups of " +
                  std::to_string(run.group) + " · error relative to the quantized layer, on text that was not fitted",
              "soft");

  for (std::size_t p = 0; p < panels.size(); ++p) {
    const double x0 = left + static_cast<double>(p % columns) * (panel_width + gap_x);
    const double y0 = top + static_cast<double>(p / columns) * (panel_height + gap_y);
    const auto x_of = [&](double depth) { return x0 + depth / deepest * panel_width; };
    const auto y_of = [&](double error) { return y0 + (y_high - error) / (y_high - y_low) * panel_height; };
    svg += text(x0, y0 - 8, panels[p], "panel");
    const double tick = y_high - y_low > 0.6 ? 0.2 : 0.1;
    for (double e = y_low; e <= y_high + 1e-9; e += tick) {
      svg += format("<line class=\"grid\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n", x0, y_of(e),
                    x0 + panel_width, y_of(e));
      svg += text(x0 - 6, y_of(e) + 4, format("%.1f", e), "soft", "end");
    }
    svg += format("<line class=\"one\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n", x0, y_of(1),
                  x0 + panel_width, y_of(1));
    svg += text(x0, y0 + panel_height + 16, "block 0", "soft");
    svg += text(x0 + panel_width, y0 + panel_height + 16, format("%.0f", deepest), "soft", "end");
    for (std::size_t i = 0; i < methods.size(); ++i) {
      std::string points;
      for (const point& q : lines[panels[p]][i]) points += format("%.1f,%.1f ", x_of(q.depth), y_of(q.error));
      svg += "<polyline class=\"line\" " + stroke(i) + " points=\"" + points + "\"/>\n";
    }
  }

  svg += format("<line class=\"one\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n", left, legend_y - 4,
                left + 34, legend_y - 4);
  const auto none =
      std::find_if(run.methods.begin(), run.methods.end(), [](const auto& m) { return m.name == "none"; });
  svg += text(left + 42, legend_y,
              "quantized, not repaired" +
                  (none == run.methods.end() ? std::string() : format(": perplexity %.1f", none->perplexity)) +
                  format(" (full precision %.1f)", run.reference_perplexity),
              "");
  for (std::size_t i = 0; i < methods.size(); ++i) {
    const double y = legend_y + 20 * static_cast<double>(i + 1);
    svg +=
        format("<line class=\"line\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" ", left, y - 4, left + 34, y - 4) +
        stroke(i) + "/>\n";
    svg +=
        text(left + 42, y,
             methods[i]->name +
                 format(": mean error %.3f, perplexity %.1f, ", methods[i]->relative_error(), methods[i]->perplexity) +
                 std::to_string(methods[i]->parameters) + " parameters",
             "");
  }
  return svg + "</svg>\n";
}

void write_plot(const std::filesystem::path& file, const run_figures& run) {
  qwha::io::write_file(file, draw_layer_errors(run));
}

}  // namespace adapt
