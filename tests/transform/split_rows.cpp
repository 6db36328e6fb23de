// SPDX-License-Identifier: MIT
// Few large rows are split across threads: the bits of the serial transform on every executor.

#include <cstddef>
#include <vector>

#include <qwha/transform/wht.hpp>

#include "catch.hpp"
#include "executors.hpp"
#include "samples.hpp"

using qwha::executor;
using qwha::rows_view;
using qwha::scaling;
using qwha::status;
using qwha::wht;
using qwha::test::three_threads;

namespace {

/// Chunks from the last to the first; counts loops.
executor backwards(int& loops) {
  return {&loops, [](void* count, std::size_t chunks, executor::body_function body, void* context) {
            ++*static_cast<int*>(count);
            for (std::size_t i = chunks; i-- > 0;) body(context, i);
          }};
}

template <class T>
void require_serial_bits(std::size_t n, std::size_t rows, bool transpose) {
  INFO("n = " << n << ", " << rows << " rows" << (transpose ? ", transposed" : ""));
  const std::size_t stride = n + 3;
  const auto x = samples::row<T>(rows * stride + 1, n);
  const auto transformed = [&](const executor& where, scaling s, bool in_place) {
    const wht<> h(n);
    auto y = x;
    const rows_view<const T> from{x.data() + 1, rows, n, stride};
    const rows_view<T> to{y.data() + 1, rows, n, stride};
    const status done = in_place ? (transpose ? h.apply_transpose(to, s, where) : h.apply(to, s, where))
                                 : (transpose ? h.apply_transpose(from, to, s, where) : h.apply(from, to, s, where));
    REQUIRE(done == status::ok);
    return y;
  };
  for (const scaling s : {scaling::orthonormal, scaling::none}) {
    const auto expected = transformed(executor::serial(), s, true);
    int loops = 0;
    for (const executor& where : {backwards(loops), three_threads(), qwha::default_executor()})
      for (const bool in_place : {true, false}) CHECK(samples::same_bits(transformed(where, s, in_place), expected));
  }
}

}  // namespace

TEMPLATE_TEST_CASE("large rows have the serial transform's bits", "", float, double, qwha::half, qwha::bfloat16) {
  for (std::size_t k = 16; k <= 20; ++k) require_serial_bits<TestType>(std::size_t{1} << k, 1, k % 2 == 0);
  require_serial_bits<TestType>(std::size_t{1} << 17, 2, false);
  require_serial_bits<TestType>(std::size_t{1} << 20, 2, true);
}

TEMPLATE_TEST_CASE("large rows have the scalar back end's bits", "", float, double) {
  const std::size_t n = std::size_t{1} << 19;
  int loops = 0;
  auto a = samples::row<TestType>(n, n), b = a;
  REQUIRE(wht<>(n).apply(rows_view<TestType>{a.data(), 1, n}, scaling::orthonormal, backwards(loops)) == status::ok);
  REQUIRE(wht<qwha::scalar>(n).apply(rows_view<TestType>{b.data(), 1, n}, scaling::orthonormal, executor::serial()) ==
          status::ok);
  CHECK(samples::same_bits(a, b));
}

TEST_CASE("one large row is cut into loops, the known order too, and a small one is not") {
  constexpr std::size_t n = std::size_t{1} << 18;
  const auto x = samples::row<float>(n, 5);
  auto a = x, b = x, c = x;
  int loops = 0;
  const executor where = backwards(loops);
  REQUIRE(wht<>(n).apply(rows_view<float>{a.data(), 1, n}, scaling::orthonormal, where) == status::ok);
  CHECK(loops == 2);
  REQUIRE(wht<qwha::native, n>().apply(rows_view<float>{b.data(), 1, n}, scaling::orthonormal, where) == status::ok);
  CHECK(loops == 4);
  REQUIRE(wht<>(4096).apply(rows_view<float>{c.data(), 1, 4096}, scaling::orthonormal, where) == status::ok);
  CHECK(loops == 4);
  CHECK(samples::same_bits(a, b));
}
