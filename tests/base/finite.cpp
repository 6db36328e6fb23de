// SPDX-License-Identifier: MIT
// NaN and infinity are found wherever they stand; statuses have a sentence each.

#include <limits>
#include <set>
#include <string>
#include <vector>

#include <qwha/base/error.hpp>
#include <qwha/base/finite.hpp>
#include <qwha/base/status.hpp>

#include "catch.hpp"

TEMPLATE_TEST_CASE("finite numbers are told from the others", "", float, double) {
  using limits = std::numeric_limits<TestType>;
  for (const TestType v :
       {TestType(0), TestType(-0.0), limits::max(), limits::lowest(), limits::min(), limits::denorm_min()})
    CHECK(qwha::is_finite(v));
  for (const TestType v : {limits::infinity(), -limits::infinity(), limits::quiet_NaN(), limits::signaling_NaN()})
    CHECK_FALSE(qwha::is_finite(v));
  for (std::size_t n : {0u, 1u, 15u, 16u, 33u}) {
    std::vector<TestType> x(n, TestType(1));
    CHECK(qwha::all_finite(x.data(), n));
    for (std::size_t i = 0; i < n; ++i) {
      x[i] = limits::infinity();
      CHECK_FALSE(qwha::all_finite(x.data(), n));
      x[i] = TestType(1);
    }
  }
}

TEST_CASE("the first bad row is named; what lies between rows is not looked at") {
  std::vector<float> x(4 * 8, 1.0f);
  const qwha::rows_view<float> view{x.data(), 4, 5, 8};
  x[6] = std::numeric_limits<float>::quiet_NaN();
  CHECK(qwha::first_non_finite_row(view) == 4);
  x[3 * 8 + 4] = std::numeric_limits<float>::infinity();
  CHECK(qwha::first_non_finite_row(view) == 3);
  x[8] = std::numeric_limits<float>::quiet_NaN();
  CHECK(qwha::first_non_finite_row(view) == 1);
}

TEST_CASE("every status has a sentence of its own") {
  using qwha::status;
  const std::vector<status> all = {
      status::ok,          status::shape_mismatch, status::unsupported_order,   status::null_data,
      status::overlapping, status::out_of_memory,  status::workspace_too_small, status::not_finite,
      status::device_error};
  std::set<std::string> sentences;
  for (const status s : all) {
    REQUIRE(qwha::describe(s) != nullptr);
    sentences.insert(qwha::describe(s));
  }
  CHECK(sentences.size() == all.size());
  CHECK(std::string(qwha::describe(status::ok)) == "ok");
  CHECK(sentences.count("unknown status") == 0);
  CHECK(std::string(qwha::describe(static_cast<status>(99))) == "unknown status");
}

TEST_CASE("every error is a qwha::error and a std::runtime_error") {
  const auto caught = [](const auto& thrown) {
    try {
      throw thrown;
    } catch (const qwha::error& e) {
      return std::string(e.what());
    }
  };
  CHECK(caught(qwha::unsupported_order("a")) == "a");
  CHECK(caught(qwha::format_error("b")) == "b");
  CHECK(caught(qwha::shape_error("c")) == "c");
  CHECK(caught(qwha::value_error("d")) == "d");
  CHECK(caught(qwha::io_error("e")) == "e");
}
