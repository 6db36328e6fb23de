// SPDX-License-Identifier: MIT
// Random numbers are part of the file formats' reproducibility: their values are pinned.

#include <cstdint>
#include <vector>

#include <qwha/base/random.hpp>

#include "catch.hpp"

namespace {
/// SplitMix64's output function, as published.
std::uint64_t split_mix(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}
}  // namespace

TEST_CASE("values are fixed for ever") {
  const qwha::counter_random random(777);
  const std::vector<std::uint64_t> pinned = {0x934062baaa698b45, 0x90b7a8f6735bca0b, 0xd65b9a0808335952,
                                             0xbf269154c0f2e755};
  for (std::size_t i = 0; i < pinned.size(); ++i) CHECK(random.bits(i) == pinned[i]);
  const std::uint64_t golden = 0x9e3779b97f4a7c15u;
  const std::uint64_t key = split_mix(777 + golden) ^ split_mix(2 * golden);
  for (std::uint64_t i = 0; i < 100; ++i) CHECK(random.bits(i) == split_mix(key + golden * (i + 1)));
}

TEST_CASE("positions do not depend on the order of calls, and streams differ") {
  constexpr qwha::counter_random a(1), b(1, 1), c(2);
  static_assert(a.bits(5) == qwha::counter_random(1).bits(5));
  CHECK(a.bits(0) != b.bits(0));
  CHECK(a.bits(0) != c.bits(0));
  CHECK(a.bits(0) != a.bits(1));
}

TEST_CASE("uniform is in [0, 1) with mean 1/2 and variance 1/12; below stays below") {
  const qwha::counter_random random(3);
  const std::size_t n = 100000;
  double sum = 0, squares = 0;
  std::vector<std::size_t> counts(7, 0);
  for (std::size_t i = 0; i < n; ++i) {
    const double u = random.uniform(i);
    REQUIRE((u >= 0 && u < 1));
    sum += u;
    squares += (u - 0.5) * (u - 0.5);
    const std::uint32_t k = random.below(7, i);
    REQUIRE(k < 7);
    ++counts[k];
  }
  const auto count = static_cast<double>(n);
  CHECK(sum / count == Approx(0.5).margin(5 * 0.2887 / 316.2));  // five standard errors
  CHECK(squares / count == Approx(1.0 / 12).margin(5 * 0.0745 / 316.2));
  for (const std::size_t k : counts) CHECK(static_cast<double>(k) == Approx(count / 7).margin(5 * 110.7));
  CHECK(random.below(1, 0) == 0);
}
