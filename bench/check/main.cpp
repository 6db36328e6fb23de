// SPDX-License-Identifier: MIT
// bench_check CALLGRIND_FILE VALUES.json COMPILER [--only TEXT | --refresh]: exit status 0 same, 1 differs, 4 skipped,
// 2 could not be told.
#include <exception>
#include <fstream>
#include <iostream>
#include <string>

#include "counts.hpp"

int main(int argc, char** argv) try {
  const std::string option = argc > 4 ? argv[4] : "";
  if (argc < 4 || argc > 6 || (argc == 5 && option != "--refresh") || (argc == 6 && option != "--only")) {
    std::cerr << "bench_check CALLGRIND_FILE VALUES.json COMPILER [--only TEXT | --refresh]\n";
    return 2;
  }
  const std::string compiler = argv[3];
  std::ifstream callgrind(argv[1]);
  const auto counted = bench::read_callgrind(callgrind);
  std::ifstream file(argv[2]);
  auto values = nlohmann::ordered_json::parse(file);
  if (option == "--refresh") {
    std::ofstream out(argv[2]);
    out << bench::refreshed(std::move(values), compiler, counted).dump(1) << '\n';
    if (!out.flush()) throw std::runtime_error(std::string(argv[2]) + " could not be written");
    std::cout << counted.size() << " counts of " << compiler << " written to " << argv[2] << '\n';
    return 0;
  }
  switch (bench::compare(counted, values, compiler, std::cout, argc == 6 ? argv[5] : "")) {
    case bench::verdict::unknown_compiler: return 4;
    case bench::verdict::same:
      std::cout << "instructions per element: " << counted.size() << " kernels within "
                << 100 * values.at("tolerance").get<double>() << " % of the committed counts of " << compiler << '\n';
      return 0;
    case bench::verdict::differs: break;
  }
  std::cout << "instructions per element differ from " << argv[2]
            << "; where that is meant, faster kernels too, `bench/run --check --refresh` commits them\n";
  return 1;
} catch (const std::exception& e) {
  std::cerr << "bench_check: " << e.what() << '\n';
  return 2;
}
