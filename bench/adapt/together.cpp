// SPDX-License-Identifier: MIT
/// @file
/// adapt_together COMMON … : JOB … : JOB …
///
/// Several jobs of the example `adapt` in one run, each the common words and its own, e.g.
///
///     adapt_together --model m.gguf --bits 3 : --quantizer rtn : --quantizer gptq --rank 64
///
/// The figures are those of `adapt` with the same words; what is shared (the passes of the model as it is) is done once.
/// Prints a Markdown table.

#include <algorithm>
#include <cstdio>
#include <exception>
#include <iostream>
#include <string>
#include <vector>

#include "options.hpp"
#include "pipeline.hpp"
#include "progress.hpp"
#include "report.hpp"

namespace {

std::vector<std::vector<const char*>> command_lines(int argc, char** argv) {
  const std::vector<const char*> words(argv, argv + argc);
  const auto is_colon = [](const char* word) { return std::string(word) == ":"; };
  const auto common = std::find_if(words.begin(), words.end(), is_colon);
  std::vector<std::vector<const char*>> lines;
  for (auto at = common; at != words.end();) {
    const auto next = std::find_if(at + 1, words.end(), is_colon);
    lines.emplace_back(words.begin(), common);
    lines.back().insert(lines.back().end(), at + 1, next);
    at = next;
  }
  if (lines.empty()) lines.push_back(words);
  return lines;
}

void print_markdown(const std::vector<std::vector<const char*>>& lines, std::size_t common,
                    const std::vector<adapt::run_figures>& runs) {
  std::printf("| job | method | parameters | layer error | perplexity |\n|---|---|---|---|---|\n");
  std::printf("| | full precision | | | %.2f |\n", runs.front().reference_perplexity);
  for (std::size_t i = 0; i < runs.size(); ++i) {
    std::string job;
    for (std::size_t word = common; word < lines[i].size(); ++word) job.append(lines[i][word]).append(" ");
    for (const adapt::method_figures& m : runs[i].methods)
      std::printf("| %s| %s | %zu | %.3f | %.2f |\n", job.c_str(), m.name.c_str(), m.parameters, m.relative_error(),
                  m.perplexity);
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const auto lines = command_lines(argc, argv);
    std::vector<adapt::options> jobs;
    for (const auto& line : lines) jobs.push_back(adapt::parse_options(static_cast<int>(line.size()), line.data()));
    adapt::stop_at_interrupt();
    const std::vector<adapt::run_figures> runs = adapt::run_together(jobs);
    const auto common = std::find_if(argv, argv + argc, [](const char* word) { return std::string(word) == ":"; });
    print_markdown(lines, static_cast<std::size_t>(common - argv), runs);
    for (std::size_t i = 0; i < jobs.size(); ++i)
      if (jobs[i].report) adapt::write_report(*jobs[i].report, runs[i]);
    return 0;
  } catch (const adapt::usage_error& e) {
    (e.status == 0 ? std::cout : std::cerr) << e.what();
    return e.status;
  } catch (const adapt::interrupted&) {
    return 130;
  } catch (const std::exception& e) {
    std::cerr << "adapt_together: " << e.what() << '\n';
    return 1;
  }
}
