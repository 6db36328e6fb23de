// SPDX-License-Identifier: MIT
#include "report.hpp"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <limits>
#include <map>
#include <set>

namespace bench {
namespace {

constexpr double large = 64e6;  // bytes that no cache of one core holds: here a share of bandwidth says something

std::string number(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

/// `list` gains `item` if it has it not: first come, first placed.
template <class T>
std::size_t place_in(std::vector<T>& list, const T& item) {
  const auto found = std::ranges::find(list, item);
  if (found != list.end()) return static_cast<std::size_t>(found - list.begin());
  list.push_back(item);
  return list.size() - 1;
}

using rows_of = std::vector<const row*>;

/// The rows of one contest, in the order in which they were measured.
std::vector<std::pair<std::string, rows_of>> by_contest(const results& r) {
  std::vector<std::pair<std::string, rows_of>> contests;
  for (const row& m : r.rows) {
    auto found = std::ranges::find(contests, m.contest, &std::pair<std::string, rows_of>::first);
    if (found == contests.end()) found = contests.insert(found, {m.contest, {}});
    found->second.push_back(&m);
  }
  return contests;
}

bool ours(const row& m) { return m.contestant.starts_with("qwha"); }

std::string cell(const row& m) {
  std::string text = time_text(m.median);
  if (m.spread() > 0.04) text += number(" ±%.0f %%", 50 * m.spread());
  if (!m.reference.empty() && m.reference != m.contestant)
    text += number(m.ratio < 0.1 ? ", %.2gx" : ", %.2fx", m.ratio);
  if (m.bytes >= large) {
    text += number(", %.1f GB/s", m.bytes / m.median / 1e9);
    if (!m.bandwidth.empty() && m.bandwidth != m.contestant) text += number(" (%.2f)", m.share);
  }
  return text;
}

std::string table(const std::string& contest, const rows_of& rows) {
  std::vector<std::string> contestants;
  std::vector<double> values;
  for (const row* m : rows) {
    place_in(contestants, m->contestant);
    place_in(values, m->value);
  }
  const bool peers = std::ranges::any_of(rows, [](const row* m) { return m->reference == "qwha" && !ours(*m); });
  std::string text = "### ";
  text.append(contest).append("\n\n| ").append(rows.front()->parameter).append(" |");
  for (const std::string& name : contestants) text.append(" ").append(name).append(" |");
  if (peers) text += " fastest other / qwha |";
  text += "\n|---|";
  for (std::size_t i = 0; i < contestants.size() + (peers ? 1 : 0); ++i) text += "---|";
  text += "\n";
  for (const double value : values) {
    text += number("| %.15g |", value);
    double fastest = std::numeric_limits<double>::infinity();
    for (const std::string& name : contestants) {
      const auto m = std::ranges::find_if(
          rows, [&](const row* candidate) { return candidate->value == value && candidate->contestant == name; });
      text.append(" ").append(m == rows.end() ? "" : cell(**m)).append(" |");
      if (m != rows.end() && !ours(**m) && name != (*m)->bandwidth) fastest = std::min(fastest, (*m)->ratio);
    }
    if (peers) text += std::isfinite(fastest) ? number(" **%.2f** |", fastest) : " |";
    text += "\n";
  }
  return text + "\n";
}

/// One panel for each contest, one line for each contestant.
drawing::chart lines(const std::string& title, const std::vector<std::pair<std::string, rows_of>>& contests,
                     double (*quantity)(const row&), bool with_bandwidth) {
  drawing::chart c{.title = title, .subtitle = ""};
  for (const auto& [name, rows] : contests) {
    drawing::panel p{name, {}};
    for (const row* m : rows) {
      if (!with_bandwidth && m->contestant == m->bandwidth) continue;
      const std::size_t i = place_in(c.legend, m->contestant);
      if (i >= p.lines.size()) p.lines.resize(i + 1);
      p.lines[i].push_back({m->value, quantity(*m)});
    }
    for (auto& line : p.lines) std::ranges::sort(line, {}, &drawing::point::x);
    c.panels.push_back(std::move(p));
  }
  return c;
}

struct bounds {
  double low = std::numeric_limits<double>::infinity(), high = 0;
};

bounds bounds_of(const drawing::chart& c, double drawing::point::* coordinate) {
  bounds b;
  for (const drawing::panel& p : c.panels)
    for (const auto& line : p.lines)
      for (const drawing::point& q : line) {
        b.low = std::min(b.low, q.*coordinate);
        b.high = std::max(b.high, q.*coordinate);
      }
  return b;
}

/// Powers of two of the axis of N, every second one labelled where there are many.
drawing::axis binary_axis(const drawing::chart& c) {
  const bounds b = bounds_of(c, &drawing::point::x);
  drawing::axis a = drawing::logarithmic_axis(b.low, b.high, 2, drawing::binary_label);
  for (std::size_t i = 0; i < a.ticks.size(); ++i)
    if (a.ticks.size() > 7 && i % 2 == 1) a.ticks[i].label.clear();
  return a;
}

std::vector<std::pair<std::string, rows_of>> contests_of(const std::vector<results>& all, const std::string& bench,
                                                         bool (*wanted)(const std::string&, const row&)) {
  std::vector<std::pair<std::string, rows_of>> found;
  for (const results& r : all)
    if (r.bench == bench)
      for (auto& contest : by_contest(r))
        if (wanted(contest.first, *contest.second.front())) found.push_back(std::move(contest));
  return found;
}

}  // namespace

std::string origin(const results& r) {
  return r.cpu + " · " + r.compiler + " · " + r.date.substr(0, 10) + " · " + r.commit;
}

std::string slug(const std::string& cpu) {
  std::string text;
  for (const char c : cpu)
    if (std::isalnum(static_cast<unsigned char>(c)))
      text += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    else if (!text.empty() && text.back() != '-')
      text += '-';
  while (!text.empty() && text.back() == '-') text.pop_back();
  return text.empty() ? "unknown" : text;
}

std::string tables(const std::vector<results>& all) {
  const results& first = all.front();
  std::string text = "# Benches, " + first.cpu + ", " + std::to_string(first.cores) +
                     " cores\n\n| bench | date | compiler | commit |\n|---|---|---|---|\n";
  for (const results& r : all)
    text.append("| ")
        .append(r.bench)
        .append(" | ")
        .append(r.date)
        .append(" | ")
        .append(r.compiler)
        .append(", `")
        .append(r.flags)
        .append("` | ")
        .append(r.commit)
        .append(" |\n");
  text +=
      "\nContestants of a contest take turns in one process; times are medians, ± half the distance of the quartiles "
      "where that is above 2 %. *x* is the time over that of the contest's reference, the median over the turns; in "
      "parentheses the share of the bandwidth of copying as many bytes, or of what the contest says. The JSON files "
      "beside this one have every row.\n\n";
  for (const results& r : all) {
    text.append("## ").append(r.bench).append("\n\n");
    for (const std::string& note : r.notes) text.append("- ").append(note).append("\n");
    if (!r.notes.empty()) text += "\n";
    for (const auto& [name, rows] : by_contest(r)) text += table(name, rows);
  }
  text.pop_back();
  return text;
}

std::vector<figure> figures(const std::vector<results>& all) {
  std::vector<figure> drawn;
  const auto add = [&](const std::string& name, drawing::chart c, const std::string& explanation) {
    if (c.panels.empty()) return;
    const std::string bench = name.substr(0, name.find('-'));
    c.subtitle = explanation + " · " + origin(*std::ranges::find(all, bench, &results::bench));
    drawn.push_back({name, std::move(c)});
  };

  {
    auto c = lines(
        "Walsh-Hadamard transform: time over N",
        contests_of(all, "transform",
                    [](const std::string& name, const row& m) {
                      return name.ends_with(", one row in cache") && m.reference == "qwha";
                    }),
        [](const row& m) { return m.median * 1e9 / m.value; }, false);
    if (!c.panels.empty()) {
      c.x = binary_axis(c);
      const bounds b = bounds_of(c, &drawing::point::y);
      c.y = drawing::logarithmic_axis(b.low, b.high, 2, drawing::short_label);
      c.panel_width = 420;
      c.panel_height = 280;
    }
    add("transform-time", std::move(c), "nanoseconds an element, one row in place, one core");
  }
  {
    auto c = lines(
        "Walsh-Hadamard transform of 256 MiB: share of the bandwidth of x *= c",
        contests_of(all, "transform",
                    [](const std::string& name, const row& m) {
                      return name.ends_with(", 256 MiB of rows") && !m.bandwidth.empty() && m.reference == "qwha";
                    }),
        [](const row& m) { return m.share; }, false);
    if (!c.panels.empty()) {
      c.x = binary_axis(c);
      c.y = drawing::linear_axis(std::max(1.0, bounds_of(c, &drawing::point::y).high));
      c.mark = drawing::chart::level{1, "x *= c"};
      c.panel_width = 600;
      c.panel_height = 280;
    }
    add("transform-bandwidth", std::move(c), "batch of rows in place, one core");
  }
  {
    auto c = lines(
        "Adapter: time of a forward pass over that of its base",
        contests_of(all, "adapter",
                    [](const std::string& name, const row& m) {
                      return name.starts_with("forward") && m.parameter == "tokens" && !m.reference.empty();
                    }),
        [](const row& m) { return m.ratio; }, true);
    if (!c.panels.empty()) {
      c.x = binary_axis(c);
      c.y = drawing::linear_axis(bounds_of(c, &drawing::point::y).high);
      c.columns = 3;
      c.panel_width = 300;
      c.panel_height = 200;
    }
    add("adapter-tokens", std::move(c), "1 is the contest's reference");
  }
  return drawn;
}

}  // namespace bench
