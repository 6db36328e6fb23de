// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// What the benches measured, read back.

#include <filesystem>
#include <string>
#include <vector>

#include "measure.hpp"

namespace bench {

/// The file of one bench.
struct results {
  std::string bench;
  std::string date, cpu, compiler, flags, commit;
  int cores = 0;
  std::vector<std::string> notes;
  std::vector<row> rows;
};

/// @throws std::runtime_error that names the file and what is wrong with it
results read_results(const std::filesystem::path& file);

}  // namespace bench
