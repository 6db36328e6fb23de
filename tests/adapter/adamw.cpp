// SPDX-License-Identifier: MIT
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <vector>

#include "catch.hpp"
#include "oracle.hpp"

#include <qwha/adapter/adamw.hpp>

TEST_CASE("AdamW is its formula", "[adapter]") {
  const qwha::adamw_options options{
      .learning_rate = 0.01, .beta1 = 0.8, .beta2 = 0.95, .epsilon = 1e-6, .weight_decay = 0.1};
  const std::size_t n = 50;
  qwha::adamw optimiser(n, options);
  std::vector<double> values(n), c(n), m(n, 0.0), v(n, 0.0);
  const qwha::counter_random random(3);
  for (std::size_t i = 0; i < n; ++i) c[i] = values[i] = random.uniform(i) - 0.5;
  for (int t = 1; t <= 30; ++t) {
    std::vector<float> g(n);
    for (std::size_t i = 0; i < n; ++i)
      g[i] = static_cast<float>(random.uniform(static_cast<std::size_t>(t) * n + i) - 0.3);
    const double schedule = t < 10 ? t / 10.0 : 1.0;
    REQUIRE(optimiser.step(std::span<double>(values), g, schedule) == qwha::status::ok);
    for (std::size_t i = 0; i < n; ++i) {
      const double gi = static_cast<double>(g[i]);
      m[i] = 0.8 * m[i] + 0.2 * gi;
      v[i] = 0.95 * v[i] + 0.05 * gi * gi;
      const double mh = m[i] / (1 - std::pow(0.8, t)), vh = v[i] / (1 - std::pow(0.95, t));
      c[i] -= 0.01 * schedule * (mh / (std::sqrt(vh) + 1e-6) + 0.1 * c[i]);
      // Moments are rounded to float at every step: 2^-24 each, a few times over while they decay; a step moves by at
      // most about 2 · 0.01 and errors of t steps add up.
      CHECK(std::fabs(values[i] - c[i]) <= t * 0.02 * 20 * std::ldexp(1.0, -24));
    }
  }
  CHECK(optimiser.steps() == 30);
}

TEST_CASE("the first step moves against the gradient by the learning rate; decay alone shrinks", "[adapter]") {
  qwha::adamw optimiser(3, {.learning_rate = 0.125, .weight_decay = 0.5});
  std::vector<float> values{1.0f, -2.0f, 4.0f};
  const std::vector<float> g{3.0f, -1e-3f, 0.0f};
  REQUIRE(optimiser.step(std::span<float>(values), g) == qwha::status::ok);
  CHECK(values[0] == Approx(1 - 0.125 * (1 + 0.5)));
  CHECK(values[1] == Approx(-2 - 0.125 * (-1 - 1.0)).epsilon(1e-5));
  CHECK(values[2] == Approx(4 - 0.125 * 2.0));
}

TEST_CASE("AdamW refuses what it cannot use and changes nothing", "[adapter]") {
  qwha::adamw optimiser(2);
  std::vector<float> values{1.0f, 2.0f};
  const std::vector<float> bad{1.0f, std::numeric_limits<float>::quiet_NaN()}, long_one{1.0f, 1.0f, 1.0f};
  CHECK(optimiser.step(std::span<float>(values), bad) == qwha::status::not_finite);
  CHECK(optimiser.step(std::span<float>(values), long_one) == qwha::status::shape_mismatch);
  CHECK(optimiser.steps() == 0);
  CHECK(values == std::vector<float>{1.0f, 2.0f});
  const std::vector<float> huge{3e38f, -3e38f};  // its square is above float
  REQUIRE(optimiser.step(std::span<float>(values), huge) == qwha::status::ok);
  REQUIRE(optimiser.step(std::span<float>(values), huge) == qwha::status::ok);
  for (const float v : values) CHECK(std::isfinite(v));
}

TEMPLATE_TEST_CASE("16-bit coefficients take one rounding", "[adapter]", qwha::half, qwha::bfloat16) {
  qwha::adamw narrow(1, {.learning_rate = 0.1}), wide(1, {.learning_rate = 0.1});
  std::vector<TestType> a{TestType(1.0f)};
  std::vector<float> b{1.0f};
  const std::vector<float> g{0.5f};
  REQUIRE(narrow.step(std::span<TestType>(a), g) == qwha::status::ok);
  REQUIRE(wide.step(std::span<float>(b), g) == qwha::status::ok);
  CHECK(a[0].bits == TestType(b[0]).bits);
}
