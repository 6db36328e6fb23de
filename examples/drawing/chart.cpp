// SPDX-License-Identifier: MIT
#include <drawing/chart.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdio>

namespace drawing {
namespace {

constexpr double gap_x = 52, gap_y = 58, left = 56, right = 24, top = 92;
constexpr double legend_step = 20, legend_key = 42, letter = 7;  // letter: the width of one, generously

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

std::string line(double x1, double y1, double x2, double y2, const char* css, const std::string& attributes = "") {
  return std::string("<line class=\"") + css + "\" " +
         format("x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" ", x1, y1, x2, y2) + attributes + "/>\n";
}

/// Okabe and Ito's colours, told apart by every kind of colour vision; lines also differ by dash.
std::string stroke(std::size_t i) {
  constexpr std::array colours{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"};
  constexpr std::array dashes{"", "6 3", "2 2", "8 3 2 3", "1 3", "10 4"};
  std::string s = "stroke=\"" + std::string(colours[i % colours.size()]) + "\"";
  if (const std::string dash = dashes[(i + i / colours.size()) % dashes.size()]; !dash.empty())
    s += " stroke-dasharray=\"" + dash + "\"";
  return s;
}

std::string page(double width, double height) {
  return format(
             "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" height=\"%.0f\" "
             "role=\"img\">\n",
             width, height, width, height) +
         "<style>\n"
         "  text { font: 12px system-ui, sans-serif; fill: #24292f }\n"
         "  .title { font-size: 17px; font-weight: 600 } .panel { font-size: 13px; font-weight: 600 } .soft { fill: "
         "#57606a }\n"
         "  .page { fill: #ffffff } .grid { stroke: #d0d7de; stroke-width: 1 } .one { stroke: #57606a; stroke-width: "
         "1.2 }\n"
         "  .line { fill: none; stroke-width: 2; stroke-linejoin: round }\n"
         "  @media (prefers-color-scheme: dark) {\n"
         "    text { fill: #e6edf3 } .soft { fill: #9aa4af } .page { fill: #0d1117 }\n"
         "    .grid { stroke: #30363d } .one { stroke: #9aa4af } .line { filter: brightness(1.35) }\n"
         "  }\n"
         "</style>\n<rect class=\"page\" width=\"100%\" height=\"100%\"/>\n";
}

/// 0 … 1 along the axis.
double place(const axis& a, double value) {
  return a.logarithmic ? std::log(value / a.low) / std::log(a.high / a.low) : (value - a.low) / (a.high - a.low);
}

bool shows(const axis& a, double value) { return std::isfinite(value) && value >= a.low && value <= a.high; }

}  // namespace

std::string draw(const chart& c) {
  const int count = static_cast<int>(c.panels.size()), columns = std::max(1, std::min(c.columns, count));
  const int rows = std::max(1, (count + columns - 1) / columns);
  const double width = std::max(left + columns * c.panel_width + (columns - 1) * gap_x + right,
                                left + letter * static_cast<double>(std::max(c.subtitle.size(), c.title.size())));
  std::size_t longest = c.mark ? c.mark->label.size() : 0;
  for (const std::string& label : c.legend) longest = std::max(longest, label.size());
  const double legend_width = legend_key + letter * static_cast<double>(longest) + 24;
  const auto legend_columns = static_cast<std::size_t>(std::max(1.0, (width - left) / legend_width));
  const std::size_t entries = c.legend.size() + (c.mark ? 1 : 0);
  const std::size_t legend_rows = (entries + legend_columns - 1) / legend_columns;
  const double legend_y = top + rows * c.panel_height + (rows - 1) * gap_y + 50;
  std::string svg = page(width, legend_y + legend_step * static_cast<double>(legend_rows));
  svg += text(left, 32, c.title, "title") + text(left, 54, c.subtitle, "soft");

  for (int p = 0; p < count; ++p) {
    const panel& shown = c.panels[static_cast<std::size_t>(p)];
    const double x0 = left + (p % columns) * (c.panel_width + gap_x);
    const double y0 = top + (p / columns) * (c.panel_height + gap_y), y1 = y0 + c.panel_height;
    const auto x_of = [&](double x) { return x0 + place(c.x, x) * c.panel_width; };
    const auto y_of = [&](double y) { return y1 - place(c.y, y) * c.panel_height; };
    svg += text(x0, y0 - 8, shown.title, "panel");
    for (const axis::tick& t : c.y.ticks) {
      if (t.grid) svg += line(x0, y_of(t.value), x0 + c.panel_width, y_of(t.value), "grid");
      svg += text(x0 - 6, y_of(t.value) + 4, t.label, "soft", "end");
    }
    for (const axis::tick& t : c.x.ticks) {
      if (t.grid) svg += line(x_of(t.value), y0, x_of(t.value), y1, "grid");
      const double along = place(c.x, t.value);
      svg += text(x_of(t.value), y1 + 16, t.label, "soft", along <= 0 ? "start" : along >= 1 ? "end" : "middle");
    }
    if (c.mark) svg += line(x0, y_of(c.mark->y), x0 + c.panel_width, y_of(c.mark->y), "one");
    for (std::size_t i = 0; i < shown.lines.size(); ++i) {
      std::string points;
      for (const point& q : shown.lines[i])
        if (shows(c.x, q.x) && shows(c.y, q.y)) points += format("%.1f,%.1f ", x_of(q.x), y_of(q.y));
      if (!points.empty()) svg += "<polyline class=\"line\" " + stroke(i) + " points=\"" + points + "\"/>\n";
    }
  }

  std::size_t placed = 0;
  const auto entry = [&](const char* css, const std::string& attributes, const std::string& label) {
    const double x = left + legend_width * static_cast<double>(placed / legend_rows);
    const double y = legend_y + legend_step * static_cast<double>(placed % legend_rows);
    svg += line(x, y - 4, x + 34, y - 4, css, attributes) + text(x + legend_key, y, label, "");
    ++placed;
  };
  if (c.mark) entry("one", "", c.mark->label);
  for (std::size_t i = 0; i < c.legend.size(); ++i) entry("line", stroke(i), c.legend[i]);
  return svg + "</svg>\n";
}

axis logarithmic_axis(double low, double high, double base, std::string (*label)(double)) {
  const double first = std::floor(std::log(low) / std::log(base) + 1e-9);
  const double last = std::max(first + 1, std::ceil(std::log(high) / std::log(base) - 1e-9));
  axis a{.low = std::pow(base, first), .high = std::pow(base, last), .logarithmic = true};
  for (double power = first; power <= last; ++power) {
    const double value = std::pow(base, power);
    a.ticks.push_back({value, label(value)});
  }
  return a;
}

axis linear_axis(double high) {
  const double rough = high / 8, ten = std::pow(10, std::floor(std::log10(rough)));
  const double step = ten * (rough <= ten ? 1 : rough <= 2 * ten ? 2 : rough <= 5 * ten ? 5 : 10);
  axis a{.low = 0, .high = step * std::ceil(high / step - 1e-9)};
  for (int i = 0; i * step <= a.high * (1 + 1e-9); ++i) a.ticks.push_back({i * step, short_label(i * step)});
  return a;
}

std::string binary_label(double value) {
  return value >= 1024 && std::fmod(value, 1024) == 0 ? format("%.0fk", value / 1024) : short_label(value);
}

std::string short_label(double value) { return format("%.6g", value); }

}  // namespace drawing
