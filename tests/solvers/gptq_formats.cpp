// SPDX-License-Identifier: MIT
// GPTQ works with every format whose weights can be chosen one at a time, and beats rounding to nearest on all of them.
#include <qwha/fit/gptq.hpp>
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

TEMPLATE_TEST_CASE("gptq lowers the output error of every format", "", (affine<2, 64>), nf4<>, double_quantized<fp4<>>,
                   mxfp4, nvfp4, q4_0, q4_k, int8_per_channel) {
  using Q = TestType;
  const std::size_t in = 32 * 6;
  for (const std::uint64_t seed : {1u, 2u}) {
    INFO(Q::name() << ", seed " << seed);
    const matrix w = random_matrix(50, in, seed);
    const second_moment s = moment_of(correlated_tokens(3 * in, in, seed + 10));
    const double nearest = loss(w, dequantized(quantize<Q>(w.view(), round_to_nearest{grid_search::mse})), s);
    const double plain = loss(w, dequantized(quantize<Q>(w.view(), gptq{&s})), s);
    const double ordered = loss(w, dequantized(quantize<Q>(w.view(), gptq{.moment = &s, .act_order = true})), s);
    const double magr_first = loss(
        w, dequantized(quantize<Q>(w.view(), gptq{.moment = &s, .magr = true, .magr_settings = {.alpha = 1e-5}})), s);
    const double descended =
        loss(w, dequantized(quantize<Q>(w.view(), gptq{.moment = &s, .descent = {.passes = 1}})), s);
    CHECK(plain < 0.8 * nearest);
    CHECK(ordered < 0.8 * nearest);
    CHECK(magr_first < 0.8 * nearest);
    CHECK(descended < plain);
  }
}
