// SPDX-License-Identifier: MIT
#include "measure.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <iostream>
#include <limits>
#include <memory>
#include <random>
#include <thread>

#include <nlohmann/json.hpp>

namespace bench {
namespace {

constexpr double sample_seconds = 50e-6;  // the clock's own cost, 25 ns, is then far below the spread
constexpr double contest_seconds = 0.25;
constexpr double long_effort = 4;
constexpr std::size_t most_rounds = 400;
constexpr const char* copy = "copy";

struct sample {
  std::size_t calls;
  double seconds;
};

/// Calls that take about `sample_seconds`, and how long; the growing tries also warm caches and predictors.
sample sample_of(const contest::contestant& c) {
  for (std::size_t calls = 1;; calls *= 2) {
    const double taken = c.seconds(calls);
    if (taken < sample_seconds / 4) continue;
    const double one = taken / static_cast<double>(calls);
    const auto wanted = std::max<std::size_t>(1, static_cast<std::size_t>(std::ceil(sample_seconds / one)));
    return {wanted, one * static_cast<double>(wanted)};
  }
}

std::size_t index_of(const contest& c, const std::string& name) {
  const auto found = std::find_if(c.contestants.begin(), c.contestants.end(), [&](auto& x) { return x.name == name; });
  return static_cast<std::size_t>(found - c.contestants.begin());
}

/// A contestant that copies, so that as many bytes are read and written.
void add_copy(contest& c, double bytes) {
  const auto half = std::max<std::size_t>(1, static_cast<std::size_t>(bytes / 2));
  c.add(
      copy,
      [half, from = std::make_shared<std::vector<char>>(half, 'a'),
       to = std::make_shared<std::vector<char>>(half, 'b')] { std::memcpy(to->data(), from->data(), half); },
      2 * static_cast<double>(half));
}

std::string line_of(const char* file, const std::string& key) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);)
    if (line.starts_with(key)) {
      const auto colon = line.find(':');
      return colon == std::string::npos ? line : line.substr(line.find_first_not_of(" \t", colon + 1));
    }
  return {};
}

nlohmann::ordered_json context() {
  char date[32];
  const std::time_t now = std::time(nullptr);
  std::strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", std::gmtime(&now));
  std::string cpu = line_of("/proc/cpuinfo", "model name");
  if (const std::string family = line_of("/proc/cpuinfo", "cpu family"); !family.empty())
    cpu += " (family " + family + ", model " + line_of("/proc/cpuinfo", "model\t") + ")";
  const char* commit = std::getenv("QWHA_BENCH_COMMIT");  // bench/run knows it
  return {{"date", date},
          {"cpu", cpu.empty() ? "unknown" : cpu},
          {"cores", std::thread::hardware_concurrency()},
          {"compiler", QWHA_BENCH_COMPILER},
          {"flags", QWHA_BENCH_FLAGS},
          {"commit", commit == nullptr ? "unknown" : commit}};
}

/// To four digits: the others are noise.
double rounded(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", value);
  return std::atof(text);
}

[[noreturn]] void refuse(const std::string& sentence) {
  std::cerr << sentence
            << "\nOptions: --json FILE, --only TEXT (part of a contest's name), --long (four times as long), "
            << "--quick (one short turn: does it run?), --list\n";
  std::exit(2);
}

}  // namespace

std::string time_text(double seconds) {
  const auto [scale, unit] = seconds < 1e-6   ? std::pair{1e9, "ns"}
                             : seconds < 1e-3 ? std::pair{1e6, "us"}
                             : seconds < 1    ? std::pair{1e3, "ms"}
                                              : std::pair{1.0, "s"};
  const double value = seconds * scale;
  char text[32];
  std::snprintf(text, sizeof text, "%.*f %s", value < 9.995 ? 2 : value < 99.95 ? 1 : 0, value, unit);
  return text;
}

double quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  const double place = q * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (place - static_cast<double>(below)) * (values[above] - values[below]);
}

session::session(std::string bench, int argc, char** argv) : bench_(std::move(bench)) {
  for (int i = 1; i < argc; ++i) {
    const std::string option = argv[i];
    const auto argument = [&] {
      return i + 1 < argc ? std::string(argv[++i]) : (refuse(option + " needs a value"), "");
    };
    if (option == "--json")
      json_ = argument();
    else if (option == "--only")
      only_ = argument();
    else if (option == "--long")
      effort_ = long_effort;
    else if (option == "--quick")
      quick_ = true;
    else if (option == "--list")
      list_ = true;
    else
      refuse("unknown option '" + option + "'");
  }
}

bool session::wanted(const std::string& contest_name) const { return contest_name.find(only_) != std::string::npos; }

void session::note(const std::string& sentence) {
  notes_.push_back(sentence);
  std::cout << sentence << std::endl;
}

void session::run(contest c) {
  if (!wanted(c.name) || c.contestants.empty()) return;
  if (list_) {
    std::cout << c.name << ", " << c.parameter << " = " << c.value << '\n';
    return;
  }
  const double most_bytes = std::ranges::max(c.contestants, {}, &contest::contestant::bytes).bytes;
  if (c.bandwidth.empty() && most_bytes > 0) {
    add_copy(c, most_bytes);
    c.bandwidth = copy;
  }
  const std::size_t count = c.contestants.size();
  std::vector<std::vector<double>> times(count);
  std::vector<std::size_t> calls(count, 1);
  double turn = 0;
  for (std::size_t i = 0; i < count && !quick_; ++i) {
    const sample s = sample_of(c.contestants[i]);
    calls[i] = s.calls;
    turn += s.seconds;
    times[i].push_back(s.seconds / static_cast<double>(s.calls));
  }
  const double seconds = effort_ * (c.seconds > 0 ? c.seconds : contest_seconds);
  const double fitting = quick_ ? 1 : std::min(seconds / turn, double{most_rounds});
  const std::size_t rounds = quick_ ? 1 : std::max({static_cast<std::size_t>(fitting), c.least_rounds, std::size_t{1}});
  // Where turns are few and long, the one that found out is the first of them.
  if (fitting >= static_cast<double>(c.least_rounds))
    for (auto& t : times) t.clear();

  std::vector<std::size_t> order(count);
  for (std::size_t i = 0; i < count; ++i) order[i] = i;
  std::minstd_rand random(1);  // who follows whom changes: nobody always finds the caches that the same one left
  while (times.front().size() < rounds) {
    std::shuffle(order.begin(), order.end(), random);
    for (const std::size_t i : order) {
      if (calls[i] > 1) c.contestants[i].seconds(1);
      times[i].push_back(c.contestants[i].seconds(calls[i]) / static_cast<double>(calls[i]));
    }
  }

  const auto median_ratio = [&](std::size_t over, std::size_t under) {
    std::vector<double> ratios(rounds);
    for (std::size_t r = 0; r < rounds; ++r) ratios[r] = times[over][r] / times[under][r];
    return quantile(std::move(ratios), 0.5);
  };
  const std::size_t reference = index_of(c, c.reference), bandwidth = index_of(c, c.bandwidth);
  std::vector<row> measured;
  for (std::size_t i = 0; i < count; ++i) {
    const auto& who = c.contestants[i];
    row m{.contest = c.name, .parameter = c.parameter, .value = c.value, .contestant = who.name};
    m.median = quantile(times[i], 0.5);
    m.lower_quartile = quantile(times[i], 0.25);
    m.upper_quartile = quantile(times[i], 0.75);
    m.bytes = who.bytes;
    m.items = who.items;
    if (bandwidth < count && who.bytes > 0) {
      m.bandwidth = c.bandwidth;
      m.share = median_ratio(bandwidth, i) * who.bytes / c.contestants[bandwidth].bytes;
    }
    if (reference < count) {
      m.reference = c.reference;
      m.ratio = median_ratio(i, reference) * c.contestants[reference].items / who.items;
    }
    m.rounds = rounds;
    m.calls = calls[i];
    measured.push_back(m);
  }
  print(measured);
  rows_.insert(rows_.end(), measured.begin(), measured.end());
}

void session::record(std::vector<row> rows) {
  const double most_bytes = rows.empty() ? 0 : std::ranges::max(rows, {}, &row::bytes).bytes;
  if (most_bytes > 0) {
    contest c;
    add_copy(c, most_bytes);
    const std::size_t calls = quick_ ? 1 : sample_of(c.contestants.front()).calls, rounds = quick_ ? 1 : 9;
    std::vector<double> times(rounds);
    for (double& t : times) t = c.contestants.front().seconds(calls) / static_cast<double>(calls);
    row m = rows.front();
    m.contestant = copy;
    m.median = quantile(times, 0.5);
    m.lower_quartile = quantile(times, 0.25);
    m.upper_quartile = quantile(times, 0.75);
    m.bytes = c.contestants.front().bytes;
    m.items = 1;
    m.rounds = rounds;
    m.calls = calls;
    rows.push_back(m);
    for (row& r : rows)
      if (r.bytes > 0) {
        r.bandwidth = copy;
        r.share = r.bytes / r.median / (m.bytes / m.median);
      }
  }
  if (rows.empty()) return;
  print(rows);
  rows_.insert(rows_.end(), rows.begin(), rows.end());
}

void session::print(const std::vector<row>& rows) const {
  char text[256];
  std::snprintf(text, sizeof text, "%.15g", rows.front().value);
  std::cout << rows.front().contest << ", " << rows.front().parameter << " = " << text << '\n';
  for (const row& m : rows) {
    int length = std::snprintf(text, sizeof text, "  %-24s %10s  spread %5.1f %%", m.contestant.c_str(),
                               time_text(m.median).c_str(), 100 * m.spread());
    const auto append = [&](const char* format, auto... values) {
      length += std::snprintf(text + length, sizeof text - static_cast<std::size_t>(length), format, values...);
    };
    if (m.bytes > 0) append("  %8.2f MB  %6.1f GB/s", m.bytes / 1e6, m.bytes / m.median / 1e9);
    if (m.share > 0) append("  share %4.2f", m.share);
    if (!m.reference.empty() && m.reference != m.contestant) append("  %6.3f x %s", m.ratio, m.reference.c_str());
    std::cout << text << '\n';
  }
  std::cout << std::flush;
}

int session::finish() const {
  if (json_.empty()) return 0;
  const nlohmann::ordered_json head{
      {"schema", "qwha-bench-1"}, {"bench", bench_}, {"context", context()}, {"notes", notes_}};
  std::string text = head.dump(1);
  text.replace(text.rfind("\n}"), 2, ",\n \"rows\": [");  // a row a line
  for (const row& m : rows_) {
    nlohmann::ordered_json j{{"contest", m.contest},
                             {"parameter", m.parameter},
                             {"value", m.value},
                             {"contestant", m.contestant},
                             {"seconds", rounded(m.median)},
                             {"lower_quartile", rounded(m.lower_quartile)},
                             {"upper_quartile", rounded(m.upper_quartile)}};
    if (m.bytes > 0) j["bytes"] = m.bytes;
    if (m.items != 1) j["items"] = m.items;
    if (!m.bandwidth.empty()) {
      j["bandwidth"] = m.bandwidth;
      j["share"] = rounded(m.share);
    }
    if (!m.reference.empty()) {
      j["reference"] = m.reference;
      j["ratio"] = rounded(m.ratio);
    }
    j["rounds"] = m.rounds;
    j["calls"] = m.calls;
    text += (&m == rows_.data() ? "\n  " : ",\n  ") + j.dump();
  }
  std::ofstream out(json_);
  out << text << "\n ]\n}\n";
  if (!out.flush()) {
    std::cerr << json_ << ": could not be written\n";
    return 1;
  }
  return 0;
}

}  // namespace bench
