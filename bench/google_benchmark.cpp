// SPDX-License-Identifier: MIT
// The main of programs that register single kernels with Google Benchmark: the options, rows and files of measure.hpp.
// A name "task: kernel" is contest and contestant; the first argument is what changes, under its ArgName; the counter
// `bytes` says what one call reads and writes. Repetitions of all kernels are interleaved.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "measure.hpp"

namespace {

/// "task: kernel" → {"task", "kernel"}; without a colon the kernel is ours.
std::pair<std::string, std::string> contest_and_contestant(const std::string& name) {
  const auto colon = name.find(": ");
  return colon == std::string::npos ? std::pair{name, std::string("qwha")}
                                    : std::pair{name.substr(0, colon), name.substr(colon + 2)};
}

/// Collects the repetitions of a kernel and hands over what they come to.
class recorder : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context&) override { return true; }

  void ReportRuns(const std::vector<Run>& runs) override {
    std::vector<double> seconds;
    bench::row m;
    for (const Run& run : runs) {
      if (run.run_type != Run::RT_Iteration) continue;
      std::tie(m.contest, m.contestant) = contest_and_contestant(run.run_name.function_name);
      const std::string& argument = run.run_name.args;  // "n:64"
      const auto colon = argument.find(':');
      m.parameter = colon == std::string::npos ? "argument" : argument.substr(0, colon);
      m.value = std::atof(argument.c_str() + (colon == std::string::npos ? 0 : colon + 1));
      m.calls = static_cast<std::size_t>(run.iterations);
      if (const auto bytes = run.counters.find("bytes"); bytes != run.counters.end()) m.bytes = bytes->second;
      seconds.push_back(run.real_accumulated_time / static_cast<double>(run.iterations));
    }
    if (seconds.empty()) return;
    m.median = bench::quantile(seconds, 0.5);
    m.lower_quartile = bench::quantile(seconds, 0.25);
    m.upper_quartile = bench::quantile(seconds, 0.75);
    m.rounds = seconds.size();
    rows_[{m.contest, m.value}].push_back(m);
  }

  void hand_over(bench::session& s) {
    for (auto& [key, rows] : rows_) s.record(std::move(rows));
  }

 private:
  std::map<std::pair<std::string, double>, std::vector<bench::row>> rows_;
};

}  // namespace

int main(int argc, char** argv) {
  const std::string program = std::filesystem::path(argv[0]).filename().string();
  bench::session s(program.starts_with("bench_") ? program.substr(6) : program, argc, argv);
  std::vector<std::string> words{program, "--benchmark_enable_random_interleaving=true",
                                 "--benchmark_filter=" + (s.only().empty() ? std::string("all") : s.only()),
                                 "--benchmark_repetitions=" + std::to_string(s.quick() ? 1 : 9),
                                 "--benchmark_min_time=" + std::to_string(s.quick() ? 1e-6 : 0.01 * s.effort())};
  if (s.list()) words.push_back("--benchmark_list_tests=true");
  std::vector<char*> arguments;
  for (std::string& w : words) arguments.push_back(w.data());
  int count = static_cast<int>(arguments.size());
  benchmark::Initialize(&count, arguments.data());
  recorder all;
  benchmark::RunSpecifiedBenchmarks(&all);
  all.hand_over(s);
  benchmark::Shutdown();
  return s.finish();
}
