// SPDX-License-Identifier: MIT
// The Hadamard tables and transforms of the QWHA reference, computed by its own Python code.

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include <qwha/transform/wht.hpp>

#include "catch.hpp"
#include "samples.hpp"

namespace fs = std::filesystem;
using qwha::rows_view;
using qwha::scaling;
using qwha::status;

namespace {

/// QWHA_GOLDEN, or shared/golden beside the project. Without it the program says so and exits as skipped.
fs::path golden() {
  const char* named = std::getenv("QWHA_GOLDEN");
  const fs::path folder = named != nullptr ? fs::path(named) : fs::path(QWHA_TEST_SOURCE_DIR) / "../../shared/golden";
  if (fs::exists(folder / "reference/hadamard/cases.safetensors")) return folder / "reference/hadamard";
  std::cout << "skipped: no golden files at " << folder << " (set QWHA_GOLDEN)" << std::endl;
  std::exit(4);
}

/// Just enough of safetensors: a tensor's bytes by name.
struct tensors {
  std::string header;
  std::string bytes;

  explicit tensors(const fs::path& file) {
    std::ifstream in(file, std::ios::binary);
    const std::string all{std::istreambuf_iterator<char>(in), {}};
    std::uint64_t length = 0;
    REQUIRE(all.size() > sizeof(length));
    std::memcpy(&length, all.data(), sizeof(length));
    header = all.substr(sizeof(length), length);
    bytes = all.substr(sizeof(length) + length);
  }
  template <class T>
  std::vector<T> read(const std::string& name) const {
    const std::size_t entry = header.find('"' + name + "\":");
    REQUIRE(entry != std::string::npos);
    const std::size_t offsets = header.find("\"data_offsets\":[", entry) + 16;
    const std::size_t begin = std::stoul(header.substr(offsets));
    const std::size_t end = std::stoul(header.substr(header.find(',', offsets) + 1));
    std::vector<T> values((end - begin) / sizeof(T));
    std::memcpy(values.data(), bytes.data() + begin, end - begin);
    return values;
  }
  /// The numbers that follow `prefix` in tensor names.
  std::vector<std::size_t> sizes(const std::string& prefix) const {
    std::vector<std::size_t> all;
    for (std::size_t at = 0; (at = header.find('"' + prefix, at)) != std::string::npos; ++at)
      all.push_back(std::stoul(header.substr(at + 1 + prefix.size())));
    return all;
  }
};

}  // namespace

TEST_CASE("the reference's tables are ours, entry by entry") {
  const tensors file(golden() / "tables.safetensors");
  const auto sizes = file.sizes("had");
  CHECK(sizes.size() == 11);
  for (const std::size_t n : sizes) {
    const auto table = file.read<std::int8_t>("had" + std::to_string(n));
    REQUIRE(table.size() == n * n);
    const qwha::wht<> h(n);
    std::size_t wrong = 0;
    for (std::size_t j = 0; j < n; ++j) {
      std::vector<float> column(n, 0.0f);
      column[j] = 1;
      REQUIRE(h.apply(rows_view<float>{column.data(), 1, n}, scaling::none) == status::ok);
      for (std::size_t i = 0; i < n; ++i)
        if (column[i] != static_cast<float>(table[i * n + j])) ++wrong;
    }
    INFO(n);
    CHECK(wrong == 0);
  }
}

TEST_CASE("the reference's transforms are ours") {
  const tensors file(golden() / "cases.safetensors");
  const auto sizes = file.sizes("x_");
  CHECK(sizes.size() == 29);
  for (const std::size_t n : sizes) {
    const auto x = file.read<float>("x_" + std::to_string(n));
    REQUIRE(x.size() == 3 * n);
    const qwha::wht<> h(n);
    const double bound = 2 * 2e-7 * std::max(1.0, std::log2(static_cast<double>(n)));  // both sides round
    INFO(n);
    auto y = x;
    REQUIRE(h.apply(rows_view<float>{y.data(), 3, n}, scaling::none) == status::ok);
    CHECK(samples::relative_error(samples::values(y), samples::values(file.read<float>("wht_" + std::to_string(n)))) <=
          bound);
    y = x;
    REQUIRE(h.apply_transpose(rows_view<float>{y.data(), 3, n}, scaling::inverse) == status::ok);
    CHECK(samples::relative_error(samples::values(y), samples::values(file.read<float>("iwht_" + std::to_string(n)))) <=
          bound);
  }
}
