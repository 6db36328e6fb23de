// SPDX-License-Identifier: MIT
// AdaAlloc: exact sums and caps for every input, the paper's formula where no row reaches the cap.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include <qwha/base/error.hpp>
#include <qwha/base/random.hpp>
#include <qwha/fit/ada_alloc.hpp>

#include "catch.hpp"
#include "expect.hpp"

namespace {

using budgets = std::vector<std::uint32_t>;
using qwha::test::mentions;
using qwha::test::message_of;

void check_sum_and_cap(const std::vector<double>& error, std::size_t parameters, std::size_t cap, double temperature) {
  INFO("rows " << error.size() << ", parameters " << parameters << ", cap " << cap << ", temperature " << temperature);
  const budgets p = qwha::ada_alloc(error, parameters, cap, temperature);
  REQUIRE(p.size() == error.size());
  std::size_t sum = 0;
  bool within = true, ordered = true;
  for (std::size_t i = 0; i < p.size(); ++i) {
    sum += p[i];
    within &= p[i] <= cap;
    for (std::size_t j = 0; j < p.size(); ++j) ordered &= !(error[i] > error[j] && p[i] + 1 < p[j]);
  }
  REQUIRE(sum == parameters);
  REQUIRE(within);
  REQUIRE(ordered);  // a larger error never means a smaller budget, up to the one that rounding hands out
}

}  // namespace

TEST_CASE("ada_alloc gives floor(p a / sum a) and the rest to the smallest budgets") {
  // Shares 1, 2.5, 4.5 and 2 of 10: floors 1, 2, 4, 2 leave 1 for the first row.
  CHECK(qwha::ada_alloc(std::vector<double>{2, 5, 9, 4}, 10, 100) == budgets{2, 2, 4, 2});
  // Equal smallest budgets: the first row takes it. Shares 0.4, 0.4, 4.2.
  CHECK(qwha::ada_alloc(std::vector<double>{2, 2, 21}, 5, 100) == budgets{1, 0, 4});
  // Temperature 2: weights 1, 9, so shares 1 and 9.
  CHECK(qwha::ada_alloc(std::vector<double>{1, 3}, 10, 100, 2) == budgets{1, 9});
  CHECK(qwha::ada_alloc(std::vector<double>{1, 3}, 10, 100, 0) == budgets{5, 5});
  CHECK(qwha::ada_alloc(std::vector<double>{0, 0, 0}, 7, 100) == budgets{3, 2, 2});
}

TEST_CASE("ada_alloc of whole numbers is the rule in whole numbers") {
  CHECK(qwha::ada_alloc(std::vector<double>{9, 6, 2, 7, 1}, 8, 100) == budgets{2, 2, 1, 2, 1});
  constexpr std::uint64_t seed = 11;
  INFO("seed " << seed);
  const qwha::counter_random random(seed);
  std::uint64_t draw = 0;
  for (int trial = 0; trial < 20000; ++trial) {
    std::vector<double> error(1 + random.below(7, draw++));
    std::uint64_t sum = 0;
    for (double& e : error) {
      e = 1 + random.below(40, draw++);
      sum += static_cast<std::uint64_t>(e);
    }
    const std::size_t parameters = random.below(60, draw++);
    budgets expected(error.size());
    std::size_t left = parameters;
    for (std::size_t i = 0; i < error.size(); ++i) {
      expected[i] = static_cast<std::uint32_t>(parameters * static_cast<std::uint64_t>(error[i]) / sum);
      left -= expected[i];
    }
    std::vector<std::size_t> order(error.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    const budgets floors = expected;
    std::sort(order.begin(), order.end(),
              [&](std::size_t a, std::size_t b) { return floors[a] < floors[b] || (floors[a] == floors[b] && a < b); });
    for (std::size_t k = 0; k < left; ++k) ++expected[order[k]];
    REQUIRE(qwha::ada_alloc(error, parameters, 1000) == expected);
  }
}

TEST_CASE("ada_alloc shares what capped rows cannot take among the others by the same rule") {
  // Shares 12, 2 and 2 of 16 with a cap of 8: 8 are left for two equal rows.
  CHECK(qwha::ada_alloc(std::vector<double>{6, 1, 1}, 16, 8) == budgets{8, 4, 4});
  // The second round caps the second row: shares 90, 9, 1 of 100; cap 40; then 60 as 54 and 6; then 20.
  CHECK(qwha::ada_alloc(std::vector<double>{90, 9, 1}, 100, 40) == budgets{40, 40, 20});
  // Rows without error take what is left once all others are full.
  CHECK(qwha::ada_alloc(std::vector<double>{1, 0, 0}, 9, 4) == budgets{4, 3, 2});
  CHECK(qwha::ada_alloc(std::vector<double>{3, 1, 2}, 12, 4) == budgets{4, 4, 4});
}

TEST_CASE("ada_alloc sums to p and obeys the cap for every small case") {
  const std::vector<double> levels{0, 1, 3, 1e-300, 1e300};
  for (std::size_t rows = 1; rows <= 3; ++rows)
    for (std::size_t cap = 1; cap <= 4; ++cap)
      for (std::size_t parameters = 0; parameters <= rows * cap; ++parameters)
        for (const double temperature : {0.0, 0.5, 1.0, 2.0, 1e300}) {
          std::vector<std::size_t> digit(rows, 0);
          for (bool more = true; more;) {
            std::vector<double> error(rows);
            for (std::size_t i = 0; i < rows; ++i) error[i] = levels[digit[i]];
            check_sum_and_cap(error, parameters, cap, temperature);
            std::size_t i = 0;
            while (i < rows && ++digit[i] == levels.size()) digit[i++] = 0;
            more = i < rows;
          }
        }
}

TEST_CASE("ada_alloc sums to p and obeys the cap for random cases of wide range") {
  const std::uint64_t seed = 20;
  INFO("seed " << seed);
  for (std::uint64_t round = 0; round < 2000; ++round) {
    const qwha::counter_random random(seed, round);
    const std::size_t rows = 1 + random.below(40, 0), cap = 1 + random.below(200, 1);
    std::vector<double> error(rows);
    const double range = 600 * random.uniform(2);
    for (std::size_t i = 0; i < rows; ++i)
      error[i] = random.below(8, 100 + i) == 0 ? 0 : std::pow(10.0, range * (random.uniform(200 + i) - 0.5));
    const std::size_t parameters = random.below(static_cast<std::uint32_t>(rows * cap + 1), 3);
    check_sum_and_cap(error, parameters, cap, 4 * random.uniform(4));
  }
}

TEST_CASE("ada_alloc is exact at sizes of large layers") {
  std::vector<double> error(53248);
  const qwha::counter_random random(3);
  for (std::size_t i = 0; i < error.size(); ++i) error[i] = random.uniform(i);
  for (const std::size_t parameters : {std::size_t{64} * (53248 + 16384), error.size() * 16384}) {
    const budgets p = qwha::ada_alloc(error, parameters, 16384);
    CHECK(std::accumulate(p.begin(), p.end(), std::size_t{0}) == parameters);
    CHECK(*std::max_element(p.begin(), p.end()) <= 16384);
  }
  CHECK(qwha::ada_alloc(std::vector<double>{1, 1}, 10, std::numeric_limits<std::size_t>::max()) == budgets{5, 5});
}

TEST_CASE("ada_alloc refuses what has no answer and names the row") {
  const auto message = [](std::vector<double> error, std::size_t parameters, std::size_t cap, double temperature = 1) {
    return message_of<qwha::value_error>([&] { (void)qwha::ada_alloc(error, parameters, cap, temperature); });
  };
  const double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
  CHECK(mentions(message({1, nan}, 1, 4), "row 1"));
  CHECK(mentions(message({-1, 1}, 1, 4), "row 0"));
  CHECK(mentions(message({1, 1, inf}, 1, 4), "row 2"));
  CHECK(mentions(message({1, 1}, 9, 4), "parameters = 9"));
  CHECK(mentions(message({}, 1, 4), "parameters = 1"));
  CHECK(mentions(message({1}, 1, 0), "cap"));
  CHECK(mentions(message({1}, std::numeric_limits<std::size_t>::max(), 4), "parameters"));
  CHECK(mentions(message({1}, 1, 4, nan), "temperature"));
  CHECK(mentions(message({1}, 1, 4, -1), "temperature"));
  CHECK(qwha::ada_alloc(std::vector<double>{}, 0, 4).empty());
  CHECK(qwha::ada_alloc(std::vector<double>{1, 2}, 0, 4) == budgets{0, 0});
}
