// SPDX-License-Identifier: MIT
// From measured contests to JSON, tables and figures: contestants here have times by decree.
#include "report.hpp"

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>

#include "catch.hpp"

namespace {

/// A file that goes with the test.
struct scratch_file {
  std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("qwha-bench-" + std::to_string(std::rand()) + ".json");
  ~scratch_file() { std::filesystem::remove(path); }
};

/// One call takes `seconds`, the n-th turn n times `drift` more: what a machine that slows down does to everybody.
bench::contest::contestant decreed(const std::string& name, double seconds, double drift, double bytes = 0,
                                   double items = 1) {
  double slowdown = 1;
  return {name,
          [=](std::size_t calls) mutable {
            slowdown += drift;
            return seconds * slowdown * static_cast<double>(calls);
          },
          bytes, items};
}

bench::results measured(const bench::contest& c, const std::vector<std::string>& options = {}) {
  const scratch_file file;
  std::vector<std::string> words{"bench", "--json", file.path.string()};
  words.insert(words.end(), options.begin(), options.end());
  std::vector<char*> arguments;
  for (std::string& w : words) arguments.push_back(w.data());
  bench::session s("transform", static_cast<int>(arguments.size()), arguments.data());
  s.note("somebody: skipped");
  s.run(c);
  REQUIRE(s.finish() == 0);
  return bench::read_results(file.path);
}

bench::row row_of(const std::string& contest, double n, const std::string& who, double seconds, double ratio,
                  double share) {
  return {.contest = contest,
          .parameter = "N",
          .value = n,
          .contestant = who,
          .median = seconds,
          .lower_quartile = 0.9 * seconds,
          .upper_quartile = 1.1 * seconds,
          .bytes = 1e9,
          .bandwidth = "x *= c",
          .share = share,
          .reference = "qwha",
          .ratio = ratio,
          .rounds = 9,
          .calls = 1};
}

bench::results example() {
  bench::results r{.bench = "transform",
                   .date = "2026-11-22T10:00:00Z",
                   .cpu = "A <fast> CPU (family 1)",
                   .compiler = "GNU 12.2.0",
                   .flags = "-O3",
                   .commit = "abc123",
                   .cores = 2,
                   .notes = {"FFHT: skipped"},
                   .rows = {}};
  for (const char* contest : {"float, one row in cache", "float, 256 MiB of rows"})
    for (const double n : {64.0, 1024.0}) {
      r.rows.push_back(row_of(contest, n, "qwha", n * 1e-5, 1, 0.8));
      r.rows.push_back(row_of(contest, n, "slow & steady", 4 * n * 1e-5, 4, 0.2));
      r.rows.push_back(row_of(contest, n, "x *= c", 0.8 * n * 1e-5, 0.8, 1));
    }
  return r;
}

std::size_t occurrences(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

}  // namespace

TEST_CASE("quantiles interpolate between order statistics") {
  CHECK(bench::quantile({3, 1, 2}, 0.5) == 2);
  CHECK(bench::quantile({4, 1, 2, 3}, 0.5) == 2.5);
  CHECK(bench::quantile({0, 10}, 0.25) == 2.5);
  CHECK(bench::quantile({7}, 0.75) == 7);
}

TEST_CASE("ratios and shares are those of a turn, whatever the machine's drift") {
  bench::contest c{.name = "decreed", .parameter = "N", .value = 64, .bandwidth = "copy"};
  c.contestants = {decreed("qwha", 1e-3, 0.5, 2e6), decreed("peer", 3e-3, 0.5, 2e6), decreed("copy", 0.5e-3, 0.5, 1e6),
                   decreed("two items", 1e-3, 0.5, 0, 2)};
  const bench::results r = measured(c);
  CHECK(r.bench == "transform");
  CHECK(r.notes == std::vector<std::string>{"somebody: skipped"});
  REQUIRE(r.rows.size() == 4);
  CHECK(r.rows[0].ratio == 1);
  CHECK(r.rows[0].share == 1);  // twice the bytes in twice the time
  CHECK(r.rows[1].ratio == Approx(3));
  CHECK(r.rows[1].share == Approx(1.0 / 3).epsilon(1e-3));
  CHECK(r.rows[1].median > 3 * 3e-3);  // the drift is in the times
  CHECK(r.rows[2].bandwidth == "copy");
  CHECK(r.rows[3].ratio == Approx(0.5));
  CHECK(r.rows[3].share == 0);
  CHECK(r.rows[0].rounds >= 5);
}

TEST_CASE("short calls are repeated until the clock's own cost does not count") {
  bench::contest c{.name = "decreed", .parameter = "N", .value = 64};
  c.contestants = {decreed("qwha", 1e-7, 0, 0), decreed("slow", 1e-3, 0, 0)};
  const bench::results r = measured(c);
  REQUIRE(r.rows.size() == 2);
  CHECK(r.rows[0].calls >= 500);
  CHECK(r.rows[0].calls <= 501);
  CHECK(r.rows[0].median == Approx(1e-7));
  CHECK(r.rows[0].spread() == 0);
  CHECK(r.rows[1].calls == 1);
}

TEST_CASE("where bytes are known and nobody is named as the measure, a copy takes part") {
  bench::contest c{.name = "decreed", .parameter = "N", .value = 64};
  c.contestants = {decreed("qwha", 1e-3, 0, 2e5), decreed("no bytes", 1e-3, 0)};
  const bench::results r = measured(c);
  REQUIRE(r.rows.size() == 3);
  CHECK(r.rows[2].contestant == "copy");
  CHECK(r.rows[2].bytes == 2e5);
  CHECK(r.rows[2].share == Approx(1));
  CHECK(r.rows[0].bandwidth == "copy");
  CHECK(r.rows[0].share == Approx(r.rows[2].median / 1e-3).epsilon(0.5));
  CHECK(r.rows[1].share == 0);
}

TEST_CASE("a turn that took longer than the contest's time is not thrown away") {
  std::size_t calls = 0;
  bench::contest c{.name = "decreed", .parameter = "N", .value = 64, .seconds = 1, .least_rounds = 2};
  c.contestants = {{"slow", [&](std::size_t n) { return calls += n, 5.0; }, 0, 1}};
  CHECK(measured(c).rows.front().rounds == 2);
  CHECK(calls == 2);
  c.contestants = {{"fast enough", [&](std::size_t n) { return calls += n, 0.1; }, 0, 1}};
  calls = 0;
  CHECK(measured(c).rows.front().rounds == 10);
  CHECK(calls == 11);
  CHECK(measured(c, {"--long"}).rows.front().rounds == 40);
}

TEST_CASE("rows measured elsewhere get a copy's bandwidth beside them") {
  const scratch_file file;
  std::string words[] = {"bench", "--json", file.path.string()};
  char* arguments[] = {words[0].data(), words[1].data(), words[2].data()};
  bench::session s("base", 3, arguments);
  bench::row m = row_of("convert", 4096, "half to float", 1e-3, 0, 0);
  m.bytes = 1e5;
  m.reference.clear();
  s.record({m});
  s.record({});
  REQUIRE(s.finish() == 0);
  const bench::results r = bench::read_results(file.path);
  REQUIRE(r.rows.size() == 2);
  CHECK(r.rows[1].contestant == "copy");
  CHECK(r.rows[0].share > 0);
  CHECK(r.rows[0].share == Approx(r.rows[1].median / 1e-3).epsilon(1e-3));
}

TEST_CASE("contests that --only does not name are left out") {
  bench::contest c{.name = "float, one row", .parameter = "N", .value = 64};
  c.contestants = {decreed("qwha", 1e-3, 0)};
  CHECK(measured(c, {"--only", "double"}).rows.empty());
  CHECK(measured(c, {"--only", "one row", "--quick"}).rows.size() == 1);
}

TEST_CASE("results that cannot be read are refused by name") {
  const scratch_file file;
  CHECK_THROWS_AS(bench::read_results(file.path), std::runtime_error);
  std::ofstream(file.path) << R"({"schema": "another"})";
  try {
    bench::read_results(file.path);
    FAIL("accepted");
  } catch (const std::runtime_error& e) {
    const std::string what = e.what();
    CHECK(what.find(file.path.filename().string()) != std::string::npos);
    CHECK(what.find("schema") != std::string::npos);
  }
}

TEST_CASE("tables name the machine, the commit, what was skipped, and the fastest other") {
  const std::string text = bench::tables({example()});
  for (const char* part :
       {"A <fast> CPU", "abc123", "GNU 12.2.0", "2026-11-22", "- FFHT: skipped", "### float, one row",
        "| N | qwha | slow & steady | x *= c | fastest other / qwha |",
        "| 1024 | 10.2 ms ±10 %, 97.7 GB/s (0.80) | 41.0 ms ±10 %, 4.00x, 24.4 GB/s (0.20) |", "| **4.00** |"}) {
    INFO(part);
    CHECK(text.find(part) != std::string::npos);
  }
  CHECK(occurrences(text, "\n### ") == 2);
}

TEST_CASE("figures are well-formed, escape what they are given, and draw a line for each contestant") {
  const auto drawn = bench::figures({example()});
  REQUIRE(drawn.size() == 2);  // no bench of an adapter
  CHECK(drawn[0].name == "transform-time");
  CHECK(drawn[1].name == "transform-bandwidth");
  for (const auto& f : drawn) {
    const std::string svg = drawing::draw(f.chart);
    INFO(svg);
    CHECK(svg.rfind("<svg xmlns=\"http://www.w3.org/2000/svg\"", 0) == 0);
    CHECK(occurrences(svg, "<polyline") == 2);  // x *= c is the measure, not a line
    CHECK(occurrences(svg, "slow &amp; steady") == 1);
    CHECK(svg.find("A &lt;fast&gt; CPU") != std::string::npos);
    CHECK(svg.find("abc123") != std::string::npos);
    for (const char* no_number : {"nan\"", "nan,", ",nan", "inf\"", "inf,", ",inf"})
      CHECK(svg.find(no_number) == std::string::npos);
    CHECK(occurrences(svg, "<") - occurrences(svg, "</") == occurrences(svg, "</") + occurrences(svg, "/>"));
  }
}

TEST_CASE("points are where the axes say") {
  drawing::chart c{.title = "t", .subtitle = "s"};
  c.x = {.low = 1, .high = 4, .logarithmic = true};
  c.y = {.low = 0, .high = 10};
  c.legend = {"a"};
  c.panels = {{"p", {{{1, 0}, {2, 5}, {4, 10}, {8, 5}}}}};  // the last is outside
  c.panel_width = 100;
  c.panel_height = 50;
  CHECK(drawing::draw(c).find("points=\"56.0,142.0 106.0,117.0 156.0,92.0 \"") != std::string::npos);
}

TEST_CASE("axes reach around what they show, with ticks at round numbers") {
  const drawing::axis powers = drawing::logarithmic_axis(70, 1000, 2, drawing::binary_label);
  CHECK(powers.low == Approx(64));
  CHECK(powers.high == Approx(1024));
  REQUIRE(powers.ticks.size() == 5);
  CHECK(powers.ticks.back().label == "1k");
  const drawing::axis one = drawing::logarithmic_axis(64, 64, 2, drawing::binary_label);
  CHECK(one.high == Approx(128));
  const drawing::axis linear = drawing::linear_axis(1.47);
  CHECK(linear.high == Approx(1.6));
  CHECK(linear.ticks.size() == 9);
  CHECK(linear.ticks[3].label == "0.6");
}

TEST_CASE("a processor's name becomes a folder's") {
  CHECK(bench::slug("AMD EPYC (family 26, model 2)") == "amd-epyc-family-26-model-2");
  CHECK(bench::slug("...") == "unknown");
}
