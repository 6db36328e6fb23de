// SPDX-License-Identifier: MIT
// Orders m 2^k: every dense kernel against the definition, and every way into it against the scalar back end's bits.

#include <cmath>
#include <cstddef>
#include <string>
#include <type_traits>
#include <vector>

#include <qwha/transform/wht.hpp>

#include "catch.hpp"
#include "executors.hpp"
#include "oracle.hpp"
#include "samples.hpp"

using qwha::executor;
using qwha::orientation;
using qwha::rows_view;
using qwha::scaling;
using qwha::status;
using qwha::wht;

namespace {

/// Kernels in registers (12, 20, 28, 36, 52, 172), tables of one and of several chunks, of P2 by halves, of GS.
constexpr std::size_t factors[] = {12,  20,  28,  36,  44,  52,  60,  68,  76,  84,  92,  100, 108, 116,
                                   132, 140, 148, 156, 172, 180, 188, 200, 236, 284, 428, 540, 684, 924};

template <class T>
constexpr double unit = sizeof(T) == 4 ? 2e-7 : 2e-7 * 0x1p-29;

/// Rows that lie `offset` elements off the alignment of a vector, `gap` elements apart.
template <class T>
struct spread_rows {
  std::size_t rows, cols, stride;
  std::vector<T> memory;
  std::size_t first;

  spread_rows(std::size_t rows_, std::size_t cols_, std::size_t offset, std::size_t gap)
      : rows(rows_), cols(cols_), stride(cols_ + gap), memory(rows_ * (cols_ + gap) + offset + 64, T(7)) {
    first = 0;
    while (reinterpret_cast<std::uintptr_t>(memory.data() + first) % 64 != 0) ++first;
    first += offset;
    for (std::size_t r = 0; r < rows; ++r) {
      const auto x = samples::row<T>(cols, r + 1);
      std::copy(x.begin(), x.end(), memory.begin() + static_cast<std::ptrdiff_t>(first + r * stride));
    }
  }
  spread_rows(const spread_rows&) = delete;
  rows_view<T> view() { return {memory.data() + first, rows, cols, stride}; }
};

template <class Backend, class T>
std::vector<T> transformed_rows(std::size_t n, std::size_t rows, std::size_t offset, std::size_t gap, orientation o,
                                const executor& where = executor::serial()) {
  spread_rows<T> x(rows, n, offset, gap);
  const wht<Backend> h(n);
  REQUIRE((o == orientation::forward ? h.apply(x.view(), scaling::orthonormal, where)
                                     : h.apply_transpose(x.view(), scaling::orthonormal, where)) == status::ok);
  // aligned or not, the same rows and gaps
  return {x.memory.begin() + static_cast<std::ptrdiff_t>(x.first - offset),
          x.memory.begin() + static_cast<std::ptrdiff_t>(x.first + rows * x.stride)};
}

template <class T, class Backend>
void require_scalar_bits(std::size_t n) {
  if constexpr (qwha::compiled_for<Backend>)
    for (const orientation o : {orientation::forward, orientation::transpose})
      for (const std::size_t offset : {0u, 1u})
        for (const std::size_t gap : {0u, 3u}) {
          INFO(Backend::name << ", " << n << " = " << qwha::order_name(n) << ", offset " << offset << ", gap " << gap
                             << (o == orientation::transpose ? ", transposed" : ""));
          CHECK(samples::same_bits(transformed_rows<Backend, T>(n, 3, offset, gap, o),
                                   transformed_rows<qwha::scalar, T>(n, 3, offset, gap, o)));
        }
}

}  // namespace

TEMPLATE_TEST_CASE("every dense factor is the definition, at every width of columns", "", float, double) {
  for (const std::size_t m : factors)
    for (const std::size_t columns : {1u, 2u, 4u, 8u, 16u, 64u}) {
      const std::size_t n = m * columns;
      if (n > 16384) continue;
      const std::string name = qwha::order_name(n);
      const auto x = samples::row<TestType>(n, n + 1);
      for (const bool transpose : {false, true}) {
        INFO(n << " = " << name << (transpose ? " transposed" : "") << ", seed " << n + 1);
        auto exact = oracle::product(name, samples::values(x), transpose);
        for (double& v : exact) v /= std::sqrt(static_cast<double>(n));
        auto y = x;
        const rows_view<TestType> row{y.data(), 1, n};
        const wht<> h(n);
        REQUIRE((transpose ? h.apply_transpose(row) : h.apply(row)) == status::ok);
        CHECK(samples::relative_error(samples::values(y), exact) <= unit<TestType> * std::log2(static_cast<double>(n)));
      }
    }
}

TEMPLATE_TEST_CASE("any stride and alignment gives the scalar bits, and gaps are left alone", "", float, double) {
  // narrow rows, tails of 12 and 4 columns behind a dense factor (20 x 68), single columns, one and several chunks
  for (const std::size_t n :
       {12u, 24u,  48u,  96u, 192u, 20u,  80u,   160u, 320u, 640u, 28u,  56u,  112u, 448u,  36u,   288u,
        52u, 416u, 832u, 44u, 172u, 688u, 2752u, 148u, 592u, 188u, 428u, 856u, 924u, 1360u, 2720u, 1904u}) {
    require_scalar_bits<TestType, qwha::sse>(n);
    require_scalar_bits<TestType, qwha::avx2>(n);
    require_scalar_bits<TestType, qwha::avx512>(n);
    require_scalar_bits<TestType, qwha::neon>(n);
  }
}

TEST_CASE("rows whose columns share cache sets take the way over scratch to the same bits") {
  for (const std::size_t n : {14336u, 28672u, 40960u, 22016u, 36864u, 57344u}) {
    const auto x = samples::row<float>(n, n);
    for (const bool transpose : {false, true}) {
      INFO(n << (transpose ? " transposed" : ""));
      auto exact = oracle::product(qwha::order_name(n), samples::values(x), transpose);
      for (double& v : exact) v /= std::sqrt(static_cast<double>(n));
      auto fast = x, slow = x;
      const rows_view<float> left{fast.data(), 1, n}, right{slow.data(), 1, n};
      const wht<> vectors(n);
      const wht<qwha::scalar> numbers(n);
      REQUIRE((transpose ? vectors.apply_transpose(left) : vectors.apply(left)) == status::ok);
      REQUIRE((transpose ? numbers.apply_transpose(right) : numbers.apply(right)) == status::ok);
      CHECK(samples::same_bits(fast, slow));
      CHECK(samples::relative_error(samples::values(fast), exact) <= unit<float> * std::log2(static_cast<double>(n)));
    }
  }
}

TEST_CASE("the order known to the compiler gives the same bits") {
  const auto same = []<std::size_t N>(std::integral_constant<std::size_t, N>) {
    for (const bool transpose : {false, true}) {
      auto a = samples::row<float>(N, N), b = a;
      const wht<qwha::native, N> known;
      const wht<> found(N);
      const rows_view<float> left{a.data(), 1, N}, right{b.data(), 1, N};
      REQUIRE((transpose ? known.apply_transpose(left) : known.apply(left)) == status::ok);
      REQUIRE((transpose ? found.apply_transpose(right) : found.apply(right)) == status::ok);
      INFO(N);
      CHECK(samples::same_bits(a, b));
    }
  };
  same(std::integral_constant<std::size_t, 96>{});
  same(std::integral_constant<std::size_t, 320>{});
  same(std::integral_constant<std::size_t, 896>{});
  same(std::integral_constant<std::size_t, 1152>{});
  same(std::integral_constant<std::size_t, 1360>{});
  same(std::integral_constant<std::size_t, 9472>{});
  same(std::integral_constant<std::size_t, 11008>{});
}

TEST_CASE("inputs from a functor or of another type take the same way") {
  for (const std::size_t n : {48u, 96u, 320u, 640u, 896u, 2752u, 1360u, 28672u}) {
    const auto x = samples::row<float>(n, n);
    for (const orientation o : {orientation::forward, orientation::transpose}) {
      INFO(n << (o == orientation::transpose ? " transposed" : ""));
      auto plain = x;
      const wht<> h(n);
      const rows_view<float> row{plain.data(), 1, n};
      REQUIRE((o == orientation::forward ? h.apply(row, scaling::none) : h.apply_transpose(row, scaling::none)) ==
              status::ok);

      std::vector<float> fused(n);
      const auto load = [&]<std::size_t W>(std::integral_constant<std::size_t, W>, std::size_t, std::size_t c) {
        return qwha::vec<float, W>::load(x.data() + c);
      };
      const auto store = [&](std::size_t, std::size_t c, auto v) { v.store(fused.data() + c); };
      REQUIRE(h.apply_fused<float>(1, load, store, o) == status::ok);
      CHECK(samples::same_bits(fused, plain));

      std::vector<float> apart(n);
      const rows_view<float> out{apart.data(), 1, n};
      const rows_view<const float> in{x.data(), 1, n};
      REQUIRE((o == orientation::forward ? h.apply(in, out, scaling::none)
                                         : h.apply_transpose(in, out, scaling::none)) == status::ok);
      CHECK(samples::same_bits(apart, plain));
    }
  }
}

TEST_CASE("threads do not change a bit") {
  const executor three = qwha::test::three_threads();
  for (const std::size_t n : {640u, 2752u, 1360u, 13696u, 14336u}) {
    INFO(n);
    CHECK(samples::same_bits(transformed_rows<qwha::native, float>(n, 40, 0, 1, orientation::forward, three),
                             transformed_rows<qwha::native, float>(n, 40, 0, 1, orientation::forward)));
  }
}
