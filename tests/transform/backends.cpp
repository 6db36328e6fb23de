// SPDX-License-Identifier: MIT
// Every back end that this file is compiled for gives the scalar back end's bits.

#include <type_traits>
#include <vector>

#include <qwha/transform/wht.hpp>

#include "catch.hpp"
#include "samples.hpp"

using qwha::rows_view;
using qwha::status;
using qwha::wht;

namespace {

#if defined(QWHA_TEST_16_BIT)
using first_type = qwha::half;
using second_type = qwha::bfloat16;
#else
using first_type = float;
using second_type = double;
#endif

template <class Backend, class T>
void require_scalar_bits() {
  if constexpr (qwha::compiled_for<Backend>) {
    for (const std::size_t n :
         {1u,   2u,    4u,    8u,    12u,   16u,   20u,   24u,   32u,   36u,   40u,    48u,    52u,    64u,   80u,
          96u,  100u,  112u,  128u,  160u,  172u,  192u,  256u,  288u,  320u,  428u,   448u,   512u,   640u,  896u,
          924u, 1024u, 1360u, 1408u, 2048u, 2144u, 3072u, 4096u, 5440u, 8192u, 16384u, 22016u, 32768u, 65536u}) {
      const wht<Backend> vectors(n);
      const wht<qwha::scalar> numbers(n);
      const auto x = samples::row<T>(n, n);
      for (const bool transpose : {false, true}) {
        auto a = x, b = x;
        const rows_view<T> left{a.data(), 1, n}, right{b.data(), 1, n};
        REQUIRE((transpose ? vectors.apply_transpose(left) : vectors.apply(left)) == status::ok);
        REQUIRE((transpose ? numbers.apply_transpose(right) : numbers.apply(right)) == status::ok);
        INFO(Backend::name << ", n = " << n << (transpose ? " transposed" : ""));
        CHECK(samples::same_bits(a, b));
      }
    }
  } else {
    WARN(Backend::name << ": this file is not compiled for it");
  }
}

/// Batches beyond the caches' reach, which prefetch: odd strides, odd alignment, a tail, serial and in chunks.
template <class T>
void require_scalar_bits_of_batches() {
  const qwha::executor backwards{nullptr, [](void*, std::size_t chunks, qwha::executor::body_function body, void* c) {
                                   for (std::size_t i = chunks; i-- > 0;) body(c, i);
                                 }};
  for (const std::size_t n : {16u, 64u, 160u, 192u, 256u, 320u, 448u, 512u, 640u, 1024u, 1360u, 2752u, 4096u, 7168u,
                              8192u, 14336u, 16384u, 65536u}) {
    const std::size_t rows = n > 8192 ? 3 : 98304 / n + 3, stride = n + 5;
    const auto x = samples::row<T>(rows * stride + 1, n);
    auto serial = x, chunks = x, numbers = x;
    REQUIRE(wht<>(n).apply(rows_view<T>{serial.data() + 1, rows, n, stride}, qwha::scaling::orthonormal,
                           qwha::executor::serial()) == status::ok);
    REQUIRE(wht<>(n).apply(rows_view<T>{chunks.data() + 1, rows, n, stride}, qwha::scaling::orthonormal, backwards) ==
            status::ok);
    for (std::size_t r = 0; r < rows; ++r)
      REQUIRE(wht<qwha::scalar>(n).apply(rows_view<T>{numbers.data() + 1 + r * stride, 1, n}) == status::ok);
    INFO("n = " << n << ", " << rows << " rows");
    CHECK(samples::same_bits(serial, numbers));
    CHECK(samples::same_bits(chunks, numbers));
  }
}

}  // namespace

TEMPLATE_TEST_CASE("back ends agree bit for bit", "", first_type, second_type) {
#if defined(__x86_64__) || defined(_M_X64)
  SECTION("sse") { require_scalar_bits<qwha::sse, TestType>(); }
  SECTION("avx2") { require_scalar_bits<qwha::avx2, TestType>(); }
  SECTION("avx512") { require_scalar_bits<qwha::avx512, TestType>(); }
#elif defined(__aarch64__)
  SECTION("neon") { require_scalar_bits<qwha::neon, TestType>(); }
#endif
  SUCCEED("native: " << qwha::native::name);
}

TEMPLATE_TEST_CASE("batches give the bits of their rows", "", first_type, second_type) {
  require_scalar_bits_of_batches<TestType>();
}
