// SPDX-License-Identifier: MIT
/// What the concept of a group quantizer promises, for every format that models it.
#include <cfloat>
#include <cmath>
#include <cstring>
#include <set>
#include <vector>

#include <qwha/base/finite.hpp>
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
#include "samples.hpp"

using namespace qwha;
using namespace qwha::test;

namespace {

/// The weight that the code of x stands for at place i of a group.
template <class Q>
float nearest(const typename Q::group& g, std::size_t i, float x) {
  return Q::value(group_part<Q>(g, i), Q::code(group_part<Q>(g, i), x));
}

template <class Q>
double squared_error(std::span<const float> w, const typename Q::group& g, std::span<const float> importance = {}) {
  double total = 0;
  for (std::size_t i = 0; i < w.size(); ++i) {
    const double d = static_cast<double>(w[i]) - static_cast<double>(nearest<Q>(g, i, w[i]));
    total += (importance.empty() ? 1.0 : static_cast<double>(importance[i])) * d * d;
  }
  return total;
}

/// Parameters of a matrix whose second row is a block `w`, and whose first is half of it, as that block sees them.
template <class Q>
class prepared {
 public:
  explicit prepared(std::vector<float> w) {
    std::vector<float> rows(w.size());
    for (std::size_t i = 0; i < w.size(); ++i) rows[i] = w[i] / 2;
    rows.insert(rows.end(), w.begin(), w.end());
    matrix_ = Q::prepare(rows_view<const float>(rows.data(), 2, w.size()));
  }
  decltype(auto) local() const { return local_parameters<Q>(matrix_, {1, 0, 1}); }

 private:
  typename Q::matrix_parameters matrix_;
};

bool same_bits(float a, float b) { return std::memcmp(&a, &b, sizeof(float)) == 0; }

}  // namespace

// Formats that search for their groups' parameters; the others find them in those of the matrix.
#define SEARCHING_QUANTIZERS                                                                                           \
  (affine<2, 64>), (affine<3, 64>), (affine<4, 64>), (affine<8, 64>), (affine<2, 4>), (affine<3, 8>), (affine<4, 10>), \
      (affine<3, 64, zero_point::symmetric>), (affine<4, 128, zero_point::symmetric>),                                 \
      (affine<4, 32, zero_point::asymmetric, float>), (affine<4, 32, zero_point::asymmetric, bfloat16>), nf4<>,        \
      nf4<32>, fp4<>, double_quantized<nf4<>>, double_quantized<fp4<32>>, mxfp4, nvfp4, q4_0, q4_1, q5_0, q5_1, q8_0,  \
      q4_k
#define ALL_GROUP_QUANTIZERS SEARCHING_QUANTIZERS, int8_per_channel

TEMPLATE_TEST_CASE("pack and unpack are inverse, and decode gives value(g, code)", "", ALL_GROUP_QUANTIZERS) {
  using Q = TestType;
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    INFO(Q::name() << ", seed " << seed);
    const auto w = normal_weights(Q::block_size, seed, std::ldexp(1.0, static_cast<int>(seed % 7) - 5));
    const prepared<Q> parameters(w);
    decltype(auto) matrix = parameters.local();
    const auto g = Q::fit_group(w, matrix, seed % 2 == 0 ? grid_search::min_max : grid_search::mse);
    const counter_random random(seed);
    std::vector<std::uint8_t> codes(Q::block_size), back(Q::block_size);
    for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::uint8_t>(random.below(Q::levels, i));
    // One byte more on either side, so that planes are not aligned and stray writes are seen.
    std::vector<std::byte> code_plane(Q::code_bytes + 2, std::byte{0xa5});
    std::vector<std::byte> parameter_plane(Q::parameter_bytes + 2, std::byte{0xa5});
    Q::pack(g, codes.data(), code_plane.data() + 1, parameter_plane.data() + 1);
    CHECK(code_plane.front() == std::byte{0xa5});
    CHECK(code_plane.back() == std::byte{0xa5});
    CHECK(parameter_plane.front() == std::byte{0xa5});
    CHECK(parameter_plane.back() == std::byte{0xa5});

    const auto h = Q::unpack(code_plane.data() + 1, parameter_plane.data() + 1, matrix, back.data());
    CHECK(back == codes);
    std::vector<float> out(Q::block_size + 1, 123.0f);
    Q::decode(code_plane.data() + 1, parameter_plane.data() + 1, matrix, out.data());
    for (std::size_t i = 0; i < Q::block_size; ++i) {
      REQUIRE(same_bits(out[i], Q::value(group_part<Q>(g, i), codes[i])));
      REQUIRE(same_bits(out[i], Q::value(group_part<Q>(h, i), codes[i])));
    }
    CHECK(out.back() == 123.0f);
  }
}

TEMPLATE_TEST_CASE("code is the nearest of all levels", "", ALL_GROUP_QUANTIZERS) {
  using Q = TestType;
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    INFO(Q::name() << ", seed " << seed);
    const auto w = normal_weights(Q::block_size, seed);
    const auto g = Q::fit_group(w, prepared<Q>(w).local(), grid_search::min_max);
    for (std::size_t i = 0; i < w.size(); ++i) {
      const float x = w[i];
      const auto& part = group_part<Q>(g, i);
      const std::uint8_t code = Q::code(part, x);
      REQUIRE(code < Q::levels);
      const auto distance = [&](std::size_t c) {
        return std::abs(static_cast<double>(x) - static_cast<double>(Q::value(part, static_cast<std::uint8_t>(c))));
      };
      double least = distance(0);
      for (std::size_t c = 1; c < Q::levels; ++c) least = std::min(least, distance(c));
      REQUIRE(distance(code) <= least + 1e-5 * std::abs(static_cast<double>(x)));  // ties: w / scale is rounded
    }
  }
}

TEMPLATE_TEST_CASE("the mse search is never worse than min-max", "", SEARCHING_QUANTIZERS) {
  using Q = TestType;
  double all_wide = 0, all_best = 0;
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    INFO(Q::name() << ", seed " << seed);
    auto w = normal_weights(Q::block_size, seed, seed % 3 == 0 ? 1e-3 : 0.1);
    if (seed % 5 == 4) w[0] *= 10;
    const std::size_t count = seed % 4 == 3 ? (Q::block_size + 1) / 2 : Q::block_size;  // the end of a row
    const std::span<const float> group(w.data(), count);
    const prepared<Q> parameters(w);
    decltype(auto) matrix = parameters.local();
    const double wide = squared_error<Q>(group, Q::fit_group(group, matrix, grid_search::min_max));
    const double best = squared_error<Q>(group, Q::fit_group(group, matrix, grid_search::mse));
    CHECK(best <= wide * (1 + 1e-12));
    all_wide += wide;
    all_best += best;
  }
  CHECK(all_best < all_wide);
}

TEMPLATE_TEST_CASE("equal importances change nothing; the weighted error is never worse either", "",
                   SEARCHING_QUANTIZERS) {
  using Q = TestType;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    INFO(Q::name() << ", seed " << seed);
    const auto w = normal_weights(Q::block_size, seed);
    const prepared<Q> parameters(w);
    decltype(auto) matrix = parameters.local();
    const std::vector<float> equal(w.size(), 1.0f);
    const auto plain = Q::fit_group(w, matrix, grid_search::mse),
               same = Q::fit_group(w, equal, matrix, grid_search::mse);
    for (std::size_t c = 0; c < Q::levels; ++c)
      for (std::size_t i = 0; i < Q::block_size; ++i)
        REQUIRE(same_bits(Q::value(group_part<Q>(plain, i), static_cast<std::uint8_t>(c)),
                          Q::value(group_part<Q>(same, i), static_cast<std::uint8_t>(c))));

    const counter_random random(seed);
    std::vector<float> importance(w.size());
    for (std::size_t i = 0; i < w.size(); ++i) importance[i] = static_cast<float>(std::exp(6 * random.uniform(i)));
    const auto error = [&](const auto& g) { return squared_error<Q>(w, g, importance); };
    const auto weighed = Q::fit_group(w, importance, matrix, grid_search::mse);
    CHECK(error(weighed) <= error(Q::fit_group(w, importance, matrix, grid_search::min_max)) * (1 + 1e-12));
  }
}

TEMPLATE_TEST_CASE("zeros stay zeros and extremes stay finite", "", ALL_GROUP_QUANTIZERS) {
  using Q = TestType;
  const float extremes[] = {0.0f, FLT_TRUE_MIN, -FLT_MIN, 1e-30f,  -1e-8f,  1e-4f,
                            1.0f, -65504.0f,    1e20f,    FLT_MAX, -FLT_MAX};
  for (const float a : extremes)
    for (const float b : extremes)
      for (const auto search : {grid_search::min_max, grid_search::mse}) {
        INFO(Q::name() << ", " << a << " and " << b << (search == grid_search::mse ? ", mse" : ""));
        std::vector<float> w(Q::block_size, 0.0f);
        w[0] = a;
        w.back() = b;
        const auto m = quantize<Q>(rows_view<const float>(w.data(), 1, w.size()), round_to_nearest{search});
        std::vector<float> out(w.size());
        m.dequantize_row(0, out);
        REQUIRE(all_finite(out.data(), out.size()));
        if (a == 0 && b == 0)
          for (const float x : out) REQUIRE(x == 0.0f);
      }
}

TEST_CASE("every format has a name of its own") {
  const std::set<std::string> names = {affine<2, 64>::name(),
                                       affine<3, 64>::name(),
                                       affine<4, 64>::name(),
                                       affine<4, 64, zero_point::symmetric>::name(),
                                       nf4<>::name(),
                                       nf4<32>::name(),
                                       mxfp4::name(),
                                       nvfp4::name(),
                                       q4_0::name(),
                                       q4_1::name(),
                                       q5_0::name(),
                                       q5_1::name(),
                                       q8_0::name(),
                                       q2_k::name(),
                                       q3_k::name(),
                                       q4_k::name(),
                                       q5_k::name(),
                                       q6_k::name(),
                                       fp4<>::name(),
                                       fp4<32>::name(),
                                       double_quantized<nf4<>>::name(),
                                       double_quantized<fp4<>>::name(),
                                       int8_per_channel::name()};
  CHECK(names.size() == 23);
}
