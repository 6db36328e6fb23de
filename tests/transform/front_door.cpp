// SPDX-License-Identifier: MIT
// Shapes, strides, alignment, conversions, fused functors, executors: everything around the numbers.

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <string>
#include <type_traits>
#include <vector>

#include <qwha/transform/wht.hpp>

#include "catch.hpp"
#include "executors.hpp"
#include "samples.hpp"

using qwha::bfloat16;
using qwha::executor;
using qwha::half;
using qwha::rows_view;
using qwha::scaling;
using qwha::status;
using qwha::wht;
using qwha::test::backwards;
using qwha::test::three_threads;

static_assert(!std::is_default_constructible_v<wht<>> && std::is_default_constructible_v<wht<qwha::native, 64>>);
static_assert(!std::is_constructible_v<wht<qwha::native, 64>, std::size_t>);
static_assert(std::is_copy_constructible_v<wht<>> && std::is_copy_assignable_v<wht<>>);
static_assert(noexcept(std::declval<const wht<>&>().apply(rows_view<float>{})));

namespace {

/// Each row on its own, contiguous.
template <class T>
std::vector<T> row_by_row(std::vector<T> x, std::size_t n, bool transpose = false) {
  const wht<> h(n);
  for (std::size_t r = 0; r < x.size() / n; ++r) {
    const rows_view<T> row{x.data() + r * n, 1, n};
    REQUIRE((transpose ? h.apply_transpose(row) : h.apply(row)) == status::ok);
  }
  return x;
}

}  // namespace

TEMPLATE_TEST_CASE("rows may have any stride and alignment, and nothing beside them is touched", "", float, double,
                   half, bfloat16) {
  for (const std::size_t n : {1u, 2u, 8u, 12u, 24u, 40u, 48u, 64u, 256u, 512u, 640u, 1024u, 4096u}) {
    for (const std::size_t offset : {0u, 1u, 3u}) {
      const std::size_t rows = 3, stride = n + 5;
      const TestType canary = static_cast<TestType>(-77.0f);
      const auto content = samples::row<TestType>(rows * n, n);
      std::vector<TestType> memory(offset + rows * stride + 64, canary);
      for (std::size_t r = 0; r < rows; ++r)
        std::copy_n(content.begin() + static_cast<std::ptrdiff_t>(r * n), n,
                    memory.begin() + static_cast<std::ptrdiff_t>(offset + r * stride));
      const wht<> h(n);
      REQUIRE(h.apply(rows_view<TestType>{memory.data() + offset, rows, n, stride}) == status::ok);
      const auto expected = row_by_row(content, n);
      std::size_t wrong = 0;
      for (std::size_t i = 0; i < memory.size(); ++i) {
        const bool inside = i >= offset && (i - offset) / stride < rows && (i - offset) % stride < n;
        const TestType want = inside ? expected[(i - offset) / stride * n + (i - offset) % stride] : canary;
        if (samples::bits(memory[i]) != samples::bits(want)) ++wrong;
      }
      INFO("n " << n << ", offset " << offset);
      CHECK(wrong == 0);
    }
  }
}

TEST_CASE("shapes that do not fit are refused and nothing is written") {
  const wht<> h(16);
  std::vector<float> x(64, 1.0f);
  CHECK(h.apply(rows_view<float>{x.data(), 2, 15}) == status::shape_mismatch);
  CHECK(h.apply(rows_view<float>{x.data(), 2, 16, 8}) == status::shape_mismatch);
  CHECK(h.apply(rows_view<float>{x.data(), 1, 16, 0}) == status::ok);  // one row has no stride
  std::fill(x.begin(), x.end(), 1.0f);
  CHECK(h.apply(rows_view<float>{nullptr, 2, 16}) == status::null_data);
  CHECK(h.apply(rows_view<float>{nullptr, 0, 16}) == status::ok);
  CHECK(h.apply(rows_view<float>{x.data(), 0, 16}) == status::ok);
  std::vector<float> y(64, 2.0f);
  CHECK(h.apply(rows_view<float>{x.data(), 2, 16}, rows_view<float>{y.data(), 3, 16}) == status::shape_mismatch);
  CHECK(h.apply(rows_view<float>{x.data(), 2, 16}, rows_view<float>{nullptr, 2, 16}) == status::null_data);
  CHECK(h.apply(rows_view<float>{x.data(), 2, 16}, rows_view<float>{x.data() + 16, 2, 16}) == status::overlapping);
  CHECK(h.apply(rows_view<float>{x.data(), 2, 16, 16}, rows_view<float>{x.data(), 2, 16, 17}) == status::overlapping);
  CHECK(x == std::vector<float>(64, 1.0f));
  CHECK(y == std::vector<float>(64, 2.0f));
  CHECK(h.apply(rows_view<float>{x.data(), 2, 16}, rows_view<float>{x.data() + 32, 2, 16}) == status::ok);
}

TEST_CASE("an unsupported order throws and names the nearest block") {
  REQUIRE_THROWS_AS(wht<>(8128), qwha::unsupported_order);
  try {
    const wht<> h(8128);
  } catch (const qwha::error& e) {
    CHECK(std::string(e.what()) == "wht: no Hadamard matrix of order 8128 is known; the nearest supported block is 64");
  }
  REQUIRE_THROWS_AS(wht<>(0), qwha::unsupported_order);
  CHECK(wht<>(640).name() == "S2xP1(19)xS16");
  CHECK(wht<>(640).order() == 640);
}

TEMPLATE_TEST_CASE_SIG("an order known to the compiler gives the same bits", "", ((std::size_t N), N), 1, 8, 12, 24, 40,
                       256, 512, 1360, 4096, 16384) {
  const wht<qwha::native, N> fixed;
  CHECK(fixed.order() == N);
  auto x = samples::row<float>(2 * N, N);
  const auto expected = row_by_row(x, N), transposed = row_by_row(x, N, true);
  auto y = x;
  REQUIRE(fixed.apply(rows_view<float>{x.data(), 2, N}) == status::ok);
  CHECK(samples::same_bits(x, expected));
  REQUIRE(fixed.apply_transpose(rows_view<float>{y.data(), 2, N}) == status::ok);
  CHECK(samples::same_bits(y, transposed));
}

TEST_CASE("out of place reads, converts, transforms and rounds once") {
  for (const std::size_t n : {8u, 12u, 40u, 256u, 640u, 1024u}) {
    INFO(n);
    const wht<> h(n);
    const auto x = samples::row<float>(2 * n, n);
    const auto kept = x;
    const rows_view<const float> in{x.data(), 2, n};
    const auto expected = row_by_row(x, n), transposed = row_by_row(x, n, true);

    std::vector<float> y(2 * (n + 3), 0.0f);
    REQUIRE(h.apply(in, rows_view<float>{y.data(), 2, n, n + 3}) == status::ok);
    CHECK(std::equal(expected.begin(), expected.begin() + static_cast<std::ptrdiff_t>(n), y.begin()));
    CHECK(std::equal(expected.begin() + static_cast<std::ptrdiff_t>(n), expected.end(),
                     y.begin() + static_cast<std::ptrdiff_t>(n + 3)));
    REQUIRE(h.apply_transpose(in, rows_view<float>{y.data(), 2, n}) == status::ok);
    CHECK(std::equal(transposed.begin(), transposed.end(), y.begin()));

    std::vector<half> narrow(2 * n), rounded(2 * n);
    for (std::size_t i = 0; i < 2 * n; ++i) rounded[i] = half(expected[i]);
    REQUIRE(h.apply(in, rows_view<half>{narrow.data(), 2, n}) == status::ok);
    CHECK(samples::same_bits(narrow, rounded));

    std::vector<bfloat16> from(2 * n);
    std::vector<float> widened(2 * n);
    for (std::size_t i = 0; i < 2 * n; ++i) from[i] = bfloat16(x[i]);
    for (std::size_t i = 0; i < 2 * n; ++i) widened[i] = from[i];
    REQUIRE(h.apply(rows_view<const bfloat16>{from.data(), 2, n}, rows_view<float>{y.data(), 2, n}) == status::ok);
    CHECK(std::equal(y.begin(), y.begin() + static_cast<std::ptrdiff_t>(2 * n), row_by_row(widened, n).begin()));

    auto same = x;  // the same rows are allowed
    REQUIRE(h.apply(rows_view<const float>{same.data(), 2, n}, rows_view<float>{same.data(), 2, n}) == status::ok);
    CHECK(samples::same_bits(same, expected));
    CHECK(samples::same_bits(x, kept));
  }
}

TEST_CASE("a fused load and store see every element once and replace passes of their own") {
  for (const std::size_t n : {1u, 4u, 12u, 24u, 40u, 64u, 96u, 256u, 896u, 1024u, 5440u, 8192u}) {
    INFO(n);
    const wht<> h(n);
    const std::size_t rows = 3;
    // int8 codes with a scale for each row, dequantized on load; added to what is there on store
    std::vector<std::int8_t> codes(rows * n);
    const qwha::counter_random random(n);
    for (std::size_t i = 0; i < codes.size(); ++i)
      codes[i] = static_cast<std::int8_t>(static_cast<int>(random.below(255, i)) - 127);
    const std::vector<float> scales = {0.5f, 0.25f, 2.0f};
    const auto base = samples::row<float>(rows * n, 9);

    auto fused = base;
    std::vector<int> loads(rows * n, 0), stores(rows * n, 0);
    const auto load = [&](auto width, std::size_t r, std::size_t c) {
      for (std::size_t i = 0; i < width(); ++i) ++loads[r * n + c + i];
      return qwha::load_as<float, width()>(codes.data() + r * n + c) * qwha::vec<float, width()>::splat(scales[r]);
    };
    const auto store = [&](std::size_t r, std::size_t c, auto v) {
      for (std::size_t i = 0; i < decltype(v)::size; ++i) ++stores[r * n + c + i];
      (decltype(v)::load(fused.data() + r * n + c) + v).store(fused.data() + r * n + c);
    };
    for (const auto o : {qwha::orientation::forward, qwha::orientation::transpose}) {
      fused = base;
      std::fill(loads.begin(), loads.end(), 0);
      std::fill(stores.begin(), stores.end(), 0);
      REQUIRE(h.apply_fused<float>(rows, load, store, o) == status::ok);

      std::vector<float> separate(rows * n);
      for (std::size_t i = 0; i < separate.size(); ++i) separate[i] = static_cast<float>(codes[i]) * scales[i / n];
      const rows_view<float> view{separate.data(), rows, n};
      REQUIRE((o == qwha::orientation::forward ? h.apply(view, scaling::none)
                                               : h.apply_transpose(view, scaling::none)) == status::ok);
      for (std::size_t i = 0; i < separate.size(); ++i) separate[i] = base[i] + separate[i];
      CHECK(samples::same_bits(fused, separate));
      CHECK(loads == std::vector<int>(rows * n, 1));
      CHECK(stores == std::vector<int>(rows * n, 1));
    }
  }
}

TEST_CASE("any executor gives the same bits") {
  for (const std::size_t n : {64u, 640u, 4096u}) {
    const std::size_t rows = 300000 / n;
    const auto x = samples::row<float>(rows * n, n);
    const wht<> h(n);
    const auto with = [&](const executor& where) {
      auto y = x;
      REQUIRE(h.apply(rows_view<float>{y.data(), rows, n}, scaling::orthonormal, where) == status::ok);
      return y;
    };
    const auto serial = with(executor::serial());
    INFO(n);
    CHECK(samples::same_bits(with(backwards()), serial));
    CHECK(samples::same_bits(with(three_threads()), serial));
    CHECK(samples::same_bits(with(qwha::default_executor()), serial));
    CHECK(samples::same_bits(row_by_row(x, n), serial));
  }
}

TEST_CASE("one object may be used and copied by many threads") {
  const wht<> h(3072);
  const auto x = samples::row<float>(3072, 1);
  const auto expected = row_by_row(x, 3072);
  std::vector<std::vector<float>> results(4, x);
  std::vector<std::thread> threads;
  for (auto& result : results)
    threads.emplace_back([&h, &result] {
      const wht<> copy = h;
      const rows_view<float> view{result.data(), 1, 3072};
      if (copy.apply(view) != status::ok || h.apply_transpose(view) != status::ok || h.apply(view) != status::ok)
        result.clear();
    });
  for (std::thread& thread : threads) thread.join();
  auto again = expected;
  REQUIRE(h.apply_transpose(rows_view<float>{again.data(), 1, 3072}) == status::ok);
  REQUIRE(h.apply(rows_view<float>{again.data(), 1, 3072}) == status::ok);
  for (const auto& result : results) CHECK(samples::same_bits(result, again));
}
