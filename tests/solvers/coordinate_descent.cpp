// SPDX-License-Identifier: MIT
// Coordinate descent: never a higher error, and at the end no single code that would lower it.
#include <limits>

#include <qwha/fit/coordinate_descent.hpp>
#include <qwha/quant/affine.hpp>
#include <qwha/quant/double_quantized.hpp>
#include <qwha/quant/fp4.hpp>
#include <qwha/quant/gguf_blocks.hpp>
#include <qwha/quant/int8_per_channel.hpp>
#include <qwha/quant/mxfp4.hpp>
#include <qwha/quant/nf4.hpp>
#include <qwha/quant/nvfp4.hpp>
#include <qwha/quant/quantize.hpp>

#include "catch.hpp"
#include "support.hpp"

using namespace qwha;
using namespace solvers_test;

namespace {

template <class Q>
void never_raises(std::size_t rows, std::size_t cols, std::size_t tokens, std::uint64_t seed, descent_options how) {
  INFO(Q::name() << " [" << rows << ", " << cols << "], tokens " << tokens << ", seed " << seed << ", codes "
                 << how.codes << ", scales " << how.scales);
  const matrix w = random_matrix(rows, cols, seed);
  const second_moment s = moment_of(correlated_tokens(tokens, cols, seed + 1));
  matrix smaller = w;  // a poor start: every scale has to grow
  for (float& v : smaller.values) v *= 0.6f;
  const auto q = quantize<Q>(smaller.view());
  const auto before_bytes = bytes_of(q);
  double before = loss(w, dequantized(q), s);
  const double start = before;
  for (how.passes = 1; how.passes <= 4; ++how.passes) {
    const double after = loss(w, dequantized(coordinate_descent(w.view(), s, q, how)), s);
    CHECK(after <= before);
    before = after;
  }
  CHECK(before < start);
  CHECK(bytes_of(q) == before_bytes);  // the input, whose copies share its storage, is not touched
}

}  // namespace

TEMPLATE_TEST_CASE("coordinate descent never raises the error", "", (affine<2, 32>),
                   (affine<3, 64, zero_point::symmetric, bfloat16>)) {
  for (const bool codes : {true, false}) {
    never_raises<TestType>(40, 96, 300, 1, {.codes = codes, .scales = !codes});
    never_raises<TestType>(40, 96, 300, 1, {.codes = codes, .scales = true});
    never_raises<TestType>(3, 100, 30, 2, {.codes = codes, .scales = true});  // short group; fewer tokens than inputs
  }
}

TEST_CASE("coordinate descent on a format without scales of groups") {
  never_raises<int8_per_channel>(20, 128, 300, 3, {});
  const matrix w = random_matrix(2, 64, 4);
  const second_moment s = moment_of(correlated_tokens(100, 64, 5));
  const auto q = quantize<int8_per_channel>(w.view());
  REQUIRE_THROWS_AS(coordinate_descent(w.view(), s, q, {.scales = true}), value_error);
}

TEMPLATE_TEST_CASE("scales of every format that has them are refitted once codes are fixed", "", (affine<3, 64>), nf4<>,
                   double_quantized<fp4<>>, mxfp4, nvfp4, q4_0, q4_k) {
  using Q = TestType;
  const matrix w = random_matrix(20, 300, 13);
  const second_moment s = moment_of(correlated_tokens(900, 300, 14));
  const auto q = quantize<Q>(w.view());
  const auto refitted = coordinate_descent(w.view(), s, q, {.passes = 2, .codes = false, .scales = true});
  CHECK(loss(w, dequantized(refitted), s) < loss(w, dequantized(q), s));
  std::vector<std::uint8_t> before(Q::block_size), after(Q::block_size);
  for (std::size_t r = 0; r < w.rows; ++r)
    for (std::size_t g = 0; g < q.blocks_per_row(); ++g) {
      const auto unpack = [&](const quantized_matrix<Q>& m, std::vector<std::uint8_t>& codes) {
        Q::unpack(m.codes(r) + g * Q::code_bytes, m.parameters(r) + g * Q::parameter_bytes, m.local(r, g),
                  codes.data());
      };
      unpack(q, before);
      unpack(refitted, after);
      REQUIRE(before == after);
    }
}

TEST_CASE("after enough passes no single code can be better") {
  using Q = affine<2, 16>;
  const matrix w = random_matrix(6, 40, 7);
  const second_moment s = moment_of(correlated_tokens(100, 40, 8));
  const auto q = coordinate_descent(w.view(), s, quantize<Q>(w.view()), {.passes = 50});
  const matrix values = dequantized(q);
  const double reached = loss(w, values, s);
  for (std::size_t r = 0; r < w.rows; ++r)
    for (std::size_t j = 0; j < w.cols; ++j) {
      std::uint8_t codes[Q::block_size];
      const std::size_t g = j / Q::block_size;
      const auto grid = Q::unpack(q.codes(r) + g * Q::code_bytes, q.parameters(r) + g * Q::parameter_bytes, {}, codes);
      for (std::uint8_t code = 0; code < Q::levels; ++code) {
        matrix other = values;
        other(r, j) = Q::value(grid, code);
        CHECK(loss(w, other, s) >= reached * (1 - 1e-9));
      }
    }
}

TEST_CASE("after enough passes no neighbouring scale is better") {
  using Q = affine<2, 16, zero_point::asymmetric, float>;
  const matrix w = random_matrix(6, 40, 9);
  const second_moment s = moment_of(correlated_tokens(100, 40, 10));
  const auto q =
      coordinate_descent(w.view(), s, quantize<Q>(w.view()), {.passes = 200, .codes = false, .scales = true});
  const matrix values = dequantized(q);
  const double reached = loss(w, values, s);
  for (std::size_t r = 0; r < w.rows; ++r)
    for (std::size_t first = 0; first < w.cols; first += Q::block_size)
      for (const float factor : {0.999f, 1.001f}) {
        matrix other = values;
        for (std::size_t j = first; j < std::min(w.cols, first + Q::block_size); ++j) other(r, j) *= factor;
        CHECK(loss(w, other, s) >= reached * (1 - 1e-9));
      }
}

TEST_CASE("coordinate descent: nothing to do, and bad input") {
  using Q = affine<4, 32>;
  matrix w = random_matrix(3, 64, 11);
  const second_moment s = moment_of(correlated_tokens(100, 64, 12)), other = moment_of(correlated_tokens(100, 32, 12));
  const auto q = quantize<Q>(w.view());
  CHECK(bytes_of(coordinate_descent(w.view(), s, q, {.passes = 0})) == bytes_of(q));
  CHECK(bytes_of(coordinate_descent(w.view(), second_moment(64), q)) == bytes_of(q));  // no column excited
  REQUIRE_THROWS_AS(coordinate_descent(w.view(), other, q), shape_error);
  REQUIRE_THROWS_AS(coordinate_descent(w.view().rows_from(0, 2), s, q), shape_error);
  w(1, 1) = std::numeric_limits<float>::infinity();
  REQUIRE_THROWS_AS(coordinate_descent(w.view(), s, q), value_error);
}
