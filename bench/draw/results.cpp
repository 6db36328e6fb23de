// SPDX-License-Identifier: MIT
#include "results.hpp"

#include <fstream>
#include <stdexcept>

#include <nlohmann/json.hpp>

namespace bench {

results read_results(const std::filesystem::path& file) try {
  std::ifstream in(file);
  if (!in) throw std::runtime_error("cannot be read");
  const auto j = nlohmann::json::parse(in);
  if (j.at("schema") != "qwha-bench-1") throw std::runtime_error("its schema is not qwha-bench-1");
  const auto& context = j.at("context");
  results r{.bench = j.at("bench"),
            .date = context.at("date"),
            .cpu = context.at("cpu"),
            .compiler = context.at("compiler"),
            .flags = context.at("flags"),
            .commit = context.value("commit", "unknown"),
            .cores = context.at("cores"),
            .notes = j.at("notes"),
            .rows = {}};
  for (const auto& m : j.at("rows"))
    r.rows.push_back({.contest = m.at("contest"),
                      .parameter = m.at("parameter"),
                      .value = m.at("value"),
                      .contestant = m.at("contestant"),
                      .median = m.at("seconds"),
                      .lower_quartile = m.at("lower_quartile"),
                      .upper_quartile = m.at("upper_quartile"),
                      .bytes = m.value("bytes", 0.0),
                      .items = m.value("items", 1.0),
                      .bandwidth = m.value("bandwidth", ""),
                      .share = m.value("share", 0.0),
                      .reference = m.value("reference", ""),
                      .ratio = m.value("ratio", 0.0),
                      .rounds = m.at("rounds"),
                      .calls = m.at("calls")});
  return r;
} catch (const std::exception& e) {
  throw std::runtime_error(file.string() + ": " + e.what());
}

}  // namespace bench
