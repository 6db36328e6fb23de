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
