// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Line charts in small multiples, as SVG.

#include <optional>
#include <string>
#include <vector>

namespace drawing {

struct point {
  double x, y;
};

struct axis {
  struct tick {
    double value;
    std::string label;
    bool grid = true;
  };
  double low = 0, high = 1;
  bool logarithmic = false;
  std::vector<tick> ticks = {};
};

struct panel {
  std::string title;
  std::vector<std::vector<point>> lines;  ///< the i-th belongs to the i-th entry of the legend; may be empty
};

/// Panels share both axes; lines keep colour and dash over all panels.
struct chart {
  std::string title, subtitle;
  axis x = {}, y = {};
  std::vector<std::string> legend = {};
  std::vector<panel> panels = {};
  struct level {
    double y;
    std::string label;  ///< for the legend
  };
  std::optional<level> mark = {};  ///< a horizontal line in every panel
  int columns = 4;
  double panel_width = 230, panel_height = 150;
};

/// A complete SVG document. Legible on light and on dark pages: it follows the reader's colour scheme. Points outside
/// the axes are left out.
std::string draw(const chart& c);

/// Ticks at powers of `base` within low … high, both widened to such powers. @pre 0 < low <= high
axis logarithmic_axis(double low, double high, double base, std::string (*label)(double));

/// 0 … at least `high`, at most ten ticks at multiples of 1, 2 or 5 times a power of ten. @pre high > 0
axis linear_axis(double high);

/// "1024" → "1k", "65536" → "64k", others as they are
std::string binary_label(double value);
/// As few digits as tell the value: "0.05", "2", "1000"
std::string short_label(double value);

}  // namespace drawing
