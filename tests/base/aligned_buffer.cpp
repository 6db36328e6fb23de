// SPDX-License-Identifier: MIT
// Owned memory.

#include <cstdint>
#include <limits>
#include <new>
#include <span>
#include <type_traits>
#include <utility>

#include <qwha/base/aligned_buffer.hpp>

#include "catch.hpp"

using qwha::aligned_buffer;

static_assert(!std::is_copy_constructible_v<aligned_buffer<float>> &&
              std::is_nothrow_move_constructible_v<aligned_buffer<float>>);

TEMPLATE_TEST_CASE("memory starts at a 64-byte boundary", "", char, float, double) {
  for (const std::size_t n : {1u, 3u, 64u, 1000u}) {
    aligned_buffer<TestType> b(n, TestType(7));
    CHECK(reinterpret_cast<std::uintptr_t>(b.data()) % 64 == 0);
    CHECK(b.size() == n);
    std::size_t sevens = 0;
    for (const TestType v : b) sevens += v == TestType(7) ? 1 : 0;
    CHECK(sevens == n);
  }
}

TEST_CASE("moves hand the memory over") {
  aligned_buffer<int> a(4, 1);
  const int* data = a.data();
  aligned_buffer<int> b(std::move(a));
  CHECK(b.data() == data);
  CHECK(b.size() == 4);
  aligned_buffer<int> c(2, 5);
  c = std::move(b);
  CHECK(c.data() == data);
  CHECK(c[3] == 1);
  const std::span<const int> view = std::as_const(c);
  CHECK(view.size() == 4);
}

TEST_CASE("sizes that cannot be had are refused") {
  const std::size_t huge = std::numeric_limits<std::size_t>::max() / 2;
  REQUIRE_THROWS_AS(aligned_buffer<double>(huge), std::bad_alloc);
  CHECK(aligned_buffer<double>::try_allocate(huge).size() == 0);
  CHECK(aligned_buffer<double>::try_allocate(0).data() == nullptr);
  CHECK(aligned_buffer<double>(0).data() == nullptr);
  CHECK(aligned_buffer<double>::try_allocate(10).size() == 10);
}
