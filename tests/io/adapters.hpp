// SPDX-License-Identifier: MIT
#pragma once
/// Adapters to save and load, and how to compare them.

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include <qwha/io/adapter_module.hpp>
#include "catch.hpp"

namespace qwha::test {

inline sparse_spectrum<float> some_spectrum(std::size_t out, std::size_t in, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::size_t> offsets{0};
  std::vector<std::uint32_t> columns;
  std::vector<float> values;
  for (std::size_t r = 0; r < out; ++r) {
    for (std::uint32_t c = 0; c < in; ++c)
      if (random() % 7 == 0 && r % 3 != 1) {  // every third row is empty
        columns.push_back(c);
        values.push_back(static_cast<float>(static_cast<int>(random() % 2001) - 1000) * 0.00137f);
      }
    offsets.push_back(columns.size());
  }
  return {out, in, std::move(offsets), std::move(columns), std::move(values)};
}

/// Equal to the last bit.
inline void check_same(const io::adapter_file& a, const io::adapter_file& b) {
  REQUIRE(a.modules.size() == b.modules.size());
  for (std::size_t i = 0; i < a.modules.size(); ++i) {
    const auto& f = a.modules[i].spectrum;
    const auto& g = b.modules[i].spectrum;
    INFO(a.modules[i].name);
    CHECK(a.modules[i].name == b.modules[i].name);
    CHECK(b.modules[i].order_name == order_name(f.cols()));
    CHECK(f.rows() == g.rows());
    CHECK(f.cols() == g.cols());
    CHECK(std::equal(f.offsets().begin(), f.offsets().end(), g.offsets().begin(), g.offsets().end()));
    CHECK(std::equal(f.columns().begin(), f.columns().end(), g.columns().begin(), g.columns().end()));
    CHECK(std::equal(f.values().begin(), f.values().end(), g.values().begin(), g.values().end(), [](float x, float y) {
      return std::bit_cast<std::uint32_t>(x) == std::bit_cast<std::uint32_t>(y);
    }));
  }
  CHECK(a.metadata == b.metadata);
}

}  // namespace qwha::test
