// SPDX-License-Identifier: MIT
// bench_draw RESULTS_FOLDER FILE.json…: copies the files into RESULTS_FOLDER/<processor>/, and writes results.md and the
// figures of all that are there now.
#include <algorithm>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <stdexcept>

#include "report.hpp"

namespace {

void write(const std::filesystem::path& file, const std::string& text) {
  std::ofstream out(file);
  out << text;
  if (!out.flush()) throw std::runtime_error(file.string() + " could not be written");
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 3) {
    std::cerr << "bench_draw RESULTS_FOLDER FILE.json...\n";
    return 2;
  }
  const std::filesystem::path folder = std::filesystem::path(argv[1]) / bench::slug(bench::read_results(argv[2]).cpu);
  std::filesystem::create_directories(folder);
  for (int i = 2; i < argc; ++i) {
    const std::filesystem::path file = argv[i], copy = folder / file.filename();
    if (std::filesystem::exists(copy) && std::filesystem::equivalent(file, copy)) continue;  // drawn again
    std::filesystem::copy_file(file, copy, std::filesystem::copy_options::overwrite_existing);
  }
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (entry.path().extension() == ".json") files.push_back(entry.path());
  std::ranges::sort(files);
  std::vector<bench::results> all;
  for (const std::filesystem::path& file : files) all.push_back(bench::read_results(file));
  write(folder / "results.md", bench::tables(all));
  for (const bench::figure& f : bench::figures(all)) write(folder / (f.name + ".svg"), drawing::draw(f.chart));
  std::cout << "Results are in " << folder.string() << '\n';
} catch (const std::exception& e) {
  std::cerr << "bench_draw: " << e.what() << '\n';
  return 1;
}
