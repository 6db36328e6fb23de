// SPDX-License-Identifier: MIT
// Views of rows.

#include <type_traits>
#include <vector>

#include <qwha/base/rows_view.hpp>

#include "catch.hpp"

using qwha::rows_view;

static_assert(std::is_convertible_v<rows_view<float>, rows_view<const float>>);
static_assert(!std::is_convertible_v<rows_view<const float>, rows_view<float>>);
static_assert(!std::is_convertible_v<rows_view<float>, rows_view<double>>);
static_assert(std::is_trivially_copyable_v<rows_view<double>>);

TEST_CASE("rows start a stride apart") {
  std::vector<int> x(20);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<int>(i);
  const rows_view view(x.data(), 4, 3, 5);
  CHECK(view(2, 1) == 11);
  CHECK(view.row(3) == x.data() + 15);
  view(0, 2) = -1;
  CHECK(x[2] == -1);
  const rows_view<const int> constant = view;
  CHECK(constant(2, 1) == 11);
  const auto tail = view.rows_from(1, 2);
  CHECK(tail.rows == 2);
  CHECK(tail(1, 1) == 11);
  CHECK(tail.stride == 5);
}

TEST_CASE("the stride is the row length unless said otherwise, and empty views know it") {
  int x[6] = {};
  const rows_view<int> view{x, 2, 3};
  CHECK(view.stride == 3);
  CHECK_FALSE(view.empty());
  CHECK(rows_view<int>{}.empty());
  CHECK(rows_view<int>{x, 0, 3}.empty());
  CHECK(rows_view<int>{x, 2, 0}.empty());
}

TEST_CASE("a view with elements needs data and rows that do not overlap") {
  int x[6] = {};
  CHECK(rows_view<int>{x, 2, 3}.well_formed());
  CHECK(rows_view<int>{x, 1, 3, 0}.well_formed());
  CHECK(rows_view<int>{nullptr, 0, 3}.well_formed());
  CHECK(rows_view<int>{nullptr, 3, 0}.well_formed());
  CHECK_FALSE(rows_view<int>{nullptr, 2, 3}.well_formed());
  CHECK_FALSE(rows_view<int>{x, 2, 3, 2}.well_formed());
}
