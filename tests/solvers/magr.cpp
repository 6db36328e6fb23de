// SPDX-License-Identifier: MIT
// MagR: the proximal map against its definition, the objective against plain double loops.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <qwha/fit/magr.hpp>

#include "catch.hpp"
#include "executors.hpp"
#include "support.hpp"

using namespace qwha;
using namespace solvers_test;

namespace {

double row_norm(const matrix& w, std::size_t r, std::size_t group) {
  double sum = 0;
  const std::size_t size = group == 0 ? w.cols : group;
  for (std::size_t first = 0; first < w.cols; first += size) {
    double largest = 0;
    for (std::size_t j = first; j < std::min(w.cols, first + size); ++j)
      largest = std::max(largest, std::abs(static_cast<double>(w(r, j))));
    sum += largest;
  }
  return sum;
}

/// ‖(w - w0) X‖² / 2 + alpha · sum of norms, X scaled to largest singular value 1.
double objective(const matrix& w, const matrix& w0, std::size_t r, const second_moment& s, double largest,
                 const magr_options& how) {
  const matrix one{1, w.cols, {w.view().row(r), w.view().row(r) + w.cols}};
  const matrix zero{1, w.cols, {w0.view().row(r), w0.view().row(r) + w.cols}};
  return 0.5 * loss(one, zero, s) / largest + how.alpha * row_norm(w, r, how.group);
}

/// Largest eigenvalue, by squaring: the norm of S^(2^k) to the power 2^-k.
double largest_by_squaring(const second_moment& moment) {
  const std::size_t n = moment.in();
  std::vector<double> a(moment.values().data, moment.values().data + n * n), b(n * n);
  double logarithm = 0;  // of the factor taken out so far, per power
  double power = 1;
  for (int k = 0; k < 20; ++k) {
    double norm = 0;
    for (const double v : a) norm += v * v;
    norm = std::sqrt(norm);
    logarithm += std::log(norm) / power;
    for (double& v : a) v /= norm;
    std::fill(b.begin(), b.end(), 0.0);
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = 0; j < n; ++j)
        for (std::size_t l = 0; l < n; ++l) b[i * n + l] += a[i * n + j] * a[j * n + l];
    a.swap(b);
    power *= 2;
  }
  return std::exp(logarithm);
}

}  // namespace

TEST_CASE("the proximal map of the l-infinity norm is what minimises its definition") {
  const matrix v = random_matrix(20, 37, 1);
  for (std::size_t r = 0; r < v.rows; ++r)
    for (const float alpha : {1e-6f, 1e-3f, 0.3f, 2.0f, 1000.0f}) {
      INFO("row " << r << ", alpha " << alpha);
      const Eigen::Map<const Eigen::ArrayXf> row(v.view().row(r), 37);
      const auto bound = static_cast<double>(detail::clipping_bound(row, alpha));
      // Among clippings at t, |v - clamp(v, t)|² / 2 + alpha t is convex: bisect on its derivative.
      double low = 0, high = static_cast<double>(row.abs().maxCoeff());
      for (int i = 0; i < 100; ++i) {
        const double t = 0.5 * (low + high);
        double slope = static_cast<double>(alpha);
        for (Eigen::Index j = 0; j < 37; ++j) slope -= std::max(std::abs(static_cast<double>(row(j))) - t, 0.0);
        (slope > 0 ? high : low) = t;
      }
      CHECK(bound == Approx(0.5 * (low + high)).margin(1e-6));
      // And no point nearby, clipped or not, is better.
      const auto value = [&](const Eigen::ArrayXf& x) {
        return 0.5 * (x - row).cast<double>().square().sum() +
               static_cast<double>(alpha) * static_cast<double>(x.abs().maxCoeff());
      };
      const Eigen::ArrayXf clipped = row.max(-static_cast<float>(bound)).min(static_cast<float>(bound));
      const double least = value(clipped);
      const matrix nudge = random_matrix(50, 37, 100 + r);
      for (std::size_t k = 0; k < nudge.rows; ++k)
        CHECK(value(clipped + 0.01f * Eigen::Map<const Eigen::ArrayXf>(nudge.view().row(k), 37)) >= least - 1e-7);
    }
  CHECK(detail::clipping_bound(Eigen::ArrayXf::Zero(5), 1.0f) == 0.0f);
  CHECK(detail::clipping_bound(Eigen::ArrayXf::Constant(5, 2.0f), 1e-30f) == 2.0f);  // alpha below the rounding of v
}

TEST_CASE("the scale of X is its largest singular value") {
  const second_moment s = moment_of(correlated_tokens(200, 50, 3));
  CHECK(detail::largest_eigenvalue(s.values()) == Approx(largest_by_squaring(s)).epsilon(1e-3));
}

TEST_CASE("magr lowers its objective, and with it the range of every row") {
  const matrix w0 = random_matrix(40, 96, 5);
  const second_moment s = moment_of(correlated_tokens(60, 96, 6));  // fewer tokens than inputs
  const double largest = largest_by_squaring(s);
  for (const std::size_t group : {std::size_t{0}, std::size_t{32}, std::size_t{36}}) {
    std::vector<double> last(w0.rows);
    for (std::size_t r = 0; r < w0.rows; ++r) last[r] = row_norm(w0, r, group) * 1e-3;
    for (const std::size_t iterations : {1u, 10u, 100u, 400u}) {
      INFO("group " << group << ", iterations " << iterations);
      const magr_options how{.alpha = 1e-3, .group = group, .iterations = iterations};
      matrix w = w0;
      magr(w.view(), s, how);
      for (std::size_t r = 0; r < w.rows; ++r) {
        const double now = objective(w, w0, r, s, largest, how);
        CHECK(now < last[r] * (1 + 1e-3));
        last[r] = now;
        CHECK(row_norm(w, r, group) < row_norm(w0, r, group));
      }
    }
    CHECK(last[0] < 0.9 * 1e-3 * row_norm(w0, 0, group));
  }
}

TEST_CASE("magr ends where the gradient and the norm balance") {
  // One input: minimise s (w - w0)² / 2 + alpha |w| with s = 1: w = w0 - alpha.
  matrix w{2, 1, {1.0f, -0.5f}};
  magr(w.view(), moment_of({3, 1, {1.0f, 2.0f, -1.0f}}), {.alpha = 0.25});
  CHECK(w(0, 0) == Approx(0.75));
  CHECK(w(1, 0) == Approx(-0.25));
}

TEST_CASE("magr: nothing to do, executors, bad input") {
  matrix w = random_matrix(70, 64, 7);
  const matrix w0 = w;
  const second_moment s = moment_of(correlated_tokens(100, 64, 8)), other = moment_of(correlated_tokens(10, 32, 8));
  magr(w.view(), s, {.alpha = 0});
  CHECK(w.values == w0.values);
  magr(w.view(), s, {.iterations = 0});
  CHECK(w.values == w0.values);
  magr(w.view(), second_moment(64));
  CHECK(w.values == w0.values);

  matrix serial = w0, threads = w0;
  magr(serial.view(), s, {}, executor::serial());
  magr(threads.view(), s, {}, qwha::test::three_threads());
  CHECK(serial.values == threads.values);
  CHECK(serial.values != w0.values);

  REQUIRE_THROWS_AS(magr(w.view(), other), shape_error);
  REQUIRE_THROWS_AS(magr(w.view(), s, {.alpha = -1}), value_error);
  REQUIRE_THROWS_AS(magr(w.view(), s, {.alpha = std::numeric_limits<double>::quiet_NaN()}), value_error);
  w(3, 3) = std::numeric_limits<float>::quiet_NaN();
  REQUIRE_THROWS_AS(magr(w.view(), s), value_error);
}
