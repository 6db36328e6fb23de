// SPDX-License-Identifier: MIT
// bench_draw RESULTS_FOLDER COMMIT FILE.json…: copies the files into RESULTS_FOLDER/<processor>/, with results.md and the
// figures beside them.
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
  if (argc < 4) {
    std::cerr << "bench_draw RESULTS_FOLDER COMMIT FILE.json...\n";
    return 2;
  }
  std::vector<bench::results> all;
  for (int i = 3; i < argc; ++i) all.push_back(bench::read_results(argv[i]));
  const std::filesystem::path folder = std::filesystem::path(argv[1]) / bench::slug(all.front().cpu);
  std::filesystem::create_directories(folder);
  for (int i = 3; i < argc; ++i) {
    const std::filesystem::path file = argv[i], copy = folder / file.filename();
    if (std::filesystem::exists(copy) && std::filesystem::equivalent(file, copy)) continue;  // drawn again
    std::filesystem::copy_file(file, copy, std::filesystem::copy_options::overwrite_existing);
  }
  write(folder / "results.md", bench::tables(all, argv[2]));
  for (const bench::figure& f : bench::figures(all, argv[2])) write(folder / (f.name + ".svg"), drawing::draw(f.chart));
  std::cout << "Results are in " << folder.string() << '\n';
} catch (const std::exception& e) {
  std::cerr << "bench_draw: " << e.what() << '\n';
  return 1;
}
