// SPDX-License-Identifier: MIT
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "catch.hpp"
#include "oracle.hpp"

#include <qwha/adapter/multi_adapter.hpp>
#include <qwha/quant/affine.hpp>
#include <qwha/quant/quantize.hpp>

namespace {

using base_format = qwha::affine<4, 64>;
using several = qwha::multi_adapter<float, base_format>;

qwha::quantized_matrix<base_format> random_base(std::size_t out, std::size_t in, std::uint64_t seed) {
  const oracle::strided w(out, in, 0, seed);
  return qwha::quantize<base_format>(w.view());
}

}  // namespace

TEST_CASE("every token gets its own adapter", "[adapter]") {
  const std::size_t out = 110, in = 160;
  const auto base = random_base(out, in, 3);
  std::vector<qwha::sparse_spectrum<float>> spectra;
  for (std::uint64_t a = 0; a < 5; ++a) spectra.push_back(oracle::random_spectrum<float>(out, in, 3 + 4 * a, 40 + a));
  const several adapters(base, spectra);
  const oracle::matrix t = oracle::transform(in), wq = oracle::dense(base);
  const qwha::counter_random random(77);

  for (const std::size_t tokens : {0, 1, 2, 7, 40, 150})
    for (const int mix : {0, 1, 2, 3}) {  // any, all of one, base only, one token each in turn
      INFO(tokens << " tokens, mix " << mix);
      std::vector<std::int32_t> choice(tokens);
      for (std::size_t i = 0; i < tokens; ++i)
        choice[i] = mix == 0   ? static_cast<std::int32_t>(random.below(6, i)) - 1
                    : mix == 1 ? 3
                    : mix == 2 ? qwha::no_adapter
                               : static_cast<std::int32_t>(i % 5);
      const oracle::strided x(tokens, in, 2, 9);
      oracle::strided y(tokens, out, 3), again(tokens, out, 0);
      REQUIRE(adapters.forward(x.view(), y.view(), choice) == qwha::status::ok);
      for (std::size_t i = 0; i < tokens; ++i) {
        const auto f = choice[i] < 0
                           ? qwha::sparse_spectrum<float>(out, in, std::vector<std::size_t>(out + 1, 0), {}, {})
                           : spectra[static_cast<std::size_t>(choice[i])];
        const oracle::matrix row = oracle::dense(x.view().rows_from(i, 1));
        const oracle::matrix w = oracle::sum(oracle::delta(f, t), wq);
        CHECK(oracle::first_difference(y.view().rows_from(i, 1), oracle::product_transposed(row, w),
                                       oracle::forward_bound(row, wq, f)) == "");
      }
      oracle::team team(3);
      std::vector<std::byte> memory(adapters.workspace_bytes(tokens));
      REQUIRE(adapters.forward(x.view(), again.view(), choice, {.workspace = memory}, team.executor()) ==
              qwha::status::ok);
      CHECK(oracle::same_bits(y.view(), again.view()));
      if (!memory.empty())
        CHECK(adapters.forward(x.view(), again.view(), choice,
                               {.workspace = std::span(memory).first(memory.size() - 1)}) ==
              qwha::status::workspace_too_small);
    }
}

TEST_CASE("one adapter for all is that adapter alone, bit for bit", "[adapter]") {
  const std::size_t out = 50, in = 64, tokens = 33;
  const auto base = random_base(out, in, 3);
  const auto f = oracle::random_spectrum<float>(out, in, 9, 4);
  const several adapters(base, {oracle::random_spectrum<float>(out, in, 5, 6), f});
  const qwha::sparse_spectral_adapter<float, base_format> alone(base, f);
  const oracle::strided x(tokens, in, 0, 9);
  oracle::strided y(tokens, out, 0), expected(tokens, out, 0);
  REQUIRE(adapters.forward(x.view(), y.view(), std::vector<std::int32_t>(tokens, 1)) == qwha::status::ok);
  REQUIRE(alone.forward(x.view(), expected.view(), {.path = qwha::adapter_path::activations}) == qwha::status::ok);
  CHECK(oracle::same_bits(y.view(), expected.view()));
}

TEST_CASE("several adapters refuse what does not fit", "[adapter]") {
  const auto base = random_base(10, 64, 3);
  const several adapters(base, {oracle::random_spectrum<float>(10, 64, 5, 6)});
  const oracle::strided x(2, 64, 0, 1);
  oracle::strided y(2, 10, 0);
  const auto run = [&](std::vector<std::int32_t> choice) { return adapters.forward(x.view(), y.view(), choice); };
  CHECK(run({0, -1}) == qwha::status::ok);
  CHECK(run({0}) == qwha::status::shape_mismatch);
  CHECK(run({0, 1}) == qwha::status::shape_mismatch);
  CHECK(run({0, -2}) == qwha::status::shape_mismatch);
  CHECK(oracle::refuses(
      [&] {
        several(base, {oracle::random_spectrum<float>(10, 64, 5, 6), oracle::random_spectrum<float>(9, 64, 5, 6)});
      },
      "adapter 1"));
  const several none(base, {});
  CHECK(none.forward(x.view(), y.view(), std::vector<std::int32_t>{-1, -1}) == qwha::status::ok);
}
