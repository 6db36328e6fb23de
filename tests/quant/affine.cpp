// SPDX-License-Identifier: MIT
#include <qwha/quant/affine.hpp>

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include <qwha/quant/quantize.hpp>

#include "catch.hpp"
#include "samples.hpp"

using namespace qwha;
using namespace qwha::test;

namespace {

/// Code i of a little-endian bit stream, bit by bit.
int stream_code(const std::vector<std::byte>& bytes, std::size_t i, std::size_t bits) {
  int code = 0;
  for (std::size_t b = 0; b < bits; ++b) {
    const std::size_t position = bits * i + b;
    code |= ((byte_of(bytes, position / 8) >> (position % 8)) & 1) << b;
  }
  return code;
}

template <class Q>
std::vector<float> decode_block(const std::vector<std::byte>& codes, const std::vector<std::byte>& parameters) {
  std::vector<float> out(Q::block_size, -1);
  Q::decode(codes.data(), parameters.data(), {}, out.data());
  return out;
}

template <class Q>
std::vector<std::byte> packed_codes(const std::vector<std::uint8_t>& codes) {
  std::vector<std::byte> code_plane(Q::code_bytes), parameter_plane(Q::parameter_bytes);
  Q::pack({1, 0}, codes.data(), code_plane.data(), parameter_plane.data());
  return code_plane;
}

std::uint32_t word(const std::vector<std::byte>& bytes, std::size_t i) {
  std::uint32_t w = 0;
  for (std::size_t b = 0; b < 4; ++b) w |= std::to_integer<std::uint32_t>(bytes[4 * i + b]) << (8 * b);
  return w;
}

template <class Q>
double squared_error(const std::vector<float>& w, const typename Q::group& g) {
  double total = 0;
  for (const float x : w)
    total += std::pow(static_cast<double>(x) - static_cast<double>(Q::value(g, Q::code(g, x))), 2);
  return total;
}

}  // namespace

TEST_CASE("codes are packed like the columns of a GPTQ checkpoint") {
  std::vector<std::uint8_t> codes(32);
  std::iota(codes.begin(), codes.end(), std::uint8_t{0});
  SECTION("4 bits: 0 … 7 fill the word 0x76543210") {
    for (auto& c : codes) c &= 15;
    const auto bytes = packed_codes<affine<4, 32>>(codes);
    CHECK(word(bytes, 0) == 0x76543210u);
    CHECK(word(bytes, 1) == 0xfedcba98u);
  }
  SECTION("3 bits straddle words") {
    for (auto& c : codes) c &= 7;
    const auto bytes = packed_codes<affine<3, 32>>(codes);
    REQUIRE(bytes.size() == 12);
    CHECK(word(bytes, 0) == 0x88FAC688u);
    CHECK(word(bytes, 1) == 0xC688FAC6u);
    CHECK(word(bytes, 2) == 0xFAC688FAu);
  }
}

TEMPLATE_TEST_CASE("decoding is the formula, for all bytes", "", (affine<2, 64>), (affine<2, 4>), (affine<2, 12>),
                   (affine<3, 8>), (affine<3, 64>), (affine<4, 2>), (affine<4, 20>), (affine<4, 64>), (affine<4, 128>),
                   (affine<8, 1>), (affine<8, 7>), (affine<8, 64>), (affine<2, 64, zero_point::symmetric>),
                   (affine<3, 24, zero_point::symmetric>), (affine<4, 32, zero_point::symmetric>),
                   (affine<8, 64, zero_point::symmetric>)) {
  using Q = TestType;
  constexpr bool stored_zero = Q::parameter_bytes == 3;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    INFO(Q::name() << ", seed " << seed);
    const auto codes = random_bytes(Q::code_bytes, seed);
    auto parameters = random_bytes(Q::parameter_bytes, seed + 1000);
    parameters[1] &= std::byte{0xbb};  // a finite half
    const double scale = half_by_definition(parameters[0], parameters[1]);
    const int zero = stored_zero ? byte_of(parameters, 2) : 1 << (Q::bits - 1);
    const auto out = decode_block<Q>(codes, parameters);
    for (std::size_t i = 0; i < Q::block_size; ++i) {
      const int code = stream_code(codes, i, static_cast<std::size_t>(Q::bits));
      REQUIRE(out[i] == static_cast<float>((code - zero) * scale));  // exact in double, one rounding in float
    }
  }
}

TEMPLATE_TEST_CASE("min-max is the reference's round to nearest", "", (affine<2, 64>), (affine<3, 64>), (affine<4, 64>),
                   (affine<8, 64>), (affine<4, 64, zero_point::asymmetric, float>)) {
  using Q = TestType;
  constexpr double top = Q::levels - 1;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    INFO(Q::name() << ", seed " << seed);
    auto w = normal_weights(64, seed);
    if (seed % 4 == 1)
      for (auto& x : w) x = std::abs(x);  // zero stays in the grid
    if (seed % 4 == 2)
      for (auto& x : w) x = -std::abs(x) - 0.25f;
    const auto g = Q::fit_group(w, {}, grid_search::min_max);
    const double low = std::min(0.0, static_cast<double>(*std::min_element(w.begin(), w.end())));
    const double high = std::max(0.0, static_cast<double>(*std::max_element(w.begin(), w.end())));
    const double exact_scale = (high - low) / top;
    CHECK(std::abs(g.scale - exact_scale) <= exact_scale * (Q::parameter_bytes == 3 ? 0x1p-11 : 0x1p-22));
    CHECK(g.zero == std::clamp(std::nearbyint(-low / static_cast<double>(g.scale)), 0.0, top));
    for (const float x : w) {
      const double position = static_cast<double>(x) / static_cast<double>(g.scale) + static_cast<double>(g.zero);
      const double code = std::clamp(std::nearbyint(position), 0.0, top);
      const double distance = std::abs(position - std::floor(position) - 0.5);
      if (distance > 1e-4) CHECK(Q::code(g, x) == code);  // off the ties, float and double agree
    }
  }
}

TEMPLATE_TEST_CASE("no weight is farther from its level than half a step", "", (affine<2, 64>), (affine<3, 64>),
                   (affine<4, 64>), (affine<8, 64>), (affine<2, 64, zero_point::symmetric>),
                   (affine<4, 64, zero_point::symmetric>), (affine<8, 64, zero_point::symmetric>)) {
  using Q = TestType;
  constexpr double top = Q::levels - 1;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    INFO(Q::name() << ", seed " << seed);
    const auto w = normal_weights(64, seed, std::ldexp(1.0, static_cast<int>(seed % 9) - 4));
    const auto g = Q::fit_group(w, {}, grid_search::min_max);
    // The rounding of the scale to half moves the ends of the grid by at most top steps of 2^-11 of a step.
    const double bound = static_cast<double>(g.scale) * (0.5 + top * 0x1p-11 + 1e-6);
    for (const float x : w)
      CHECK(std::abs(static_cast<double>(x) - static_cast<double>(Q::value(g, Q::code(g, x)))) <= bound);
  }
}

TEST_CASE("code is the nearest level, for every level and around it") {
  using Q = affine<8, 32>;
  for (const float scale : {0.03125f, 1.0f, 700.0f})
    for (const float zero : {0.0f, 3.0f, 128.0f, 255.0f}) {
      const affine_group g{scale, zero};
      for (int c = 0; c < 256; ++c) {
        const float level = Q::value(g, static_cast<std::uint8_t>(c));
        REQUIRE(Q::code(g, level) == c);
        REQUIRE(Q::code(g, level + 0.49f * scale) == c);
        REQUIRE(Q::code(g, level - 0.49f * scale) == c);
        REQUIRE(Q::nearest(g, level + 0.3f * scale) == level);
      }
      CHECK(Q::code(g, FLT_MAX) == 255);
      CHECK(Q::code(g, -FLT_MAX) == 0);
    }
}

TEST_CASE("the mse search beats min-max where one weight is an outlier, and weighs by importance") {
  using Q = affine<3, 64>;
  auto w = normal_weights(64, 5);
  w[17] = 0.4f;
  const auto wide = Q::fit_group(w, {}, grid_search::min_max);
  const auto best = Q::fit_group(w, {}, grid_search::mse);
  CHECK(squared_error<Q>(w, best) < 0.9 * squared_error<Q>(w, wide));

  std::vector<float> importance(64, 1e-3f);
  importance[17] = 1000;
  const auto weighed = Q::fit_group(w, importance, {}, grid_search::mse);
  const auto miss = [&](const affine_group& g) { return std::abs(0.4f - Q::value(g, Q::code(g, 0.4f))); };
  CHECK(miss(weighed) <= miss(best));
  CHECK(miss(weighed) < 1e-3f);
}

TEST_CASE("the mse search finds at least the best of a fine grid of scales") {
  using Q = affine<2, 64>;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    INFO("seed " << seed);
    const auto w = normal_weights(64, seed);
    const double found = squared_error<Q>(w, Q::fit_group(w, {}, grid_search::mse));
    const float widest = Q::fit_group(w, {}, grid_search::min_max).scale;
    double best = found;
    for (int i = 20; i <= 110; ++i)
      for (int zero = 0; zero < 4; ++zero)
        best = std::min(best, squared_error<Q>(w, {static_cast<float>(half(widest * static_cast<float>(i) / 100)),
                                                   static_cast<float>(zero)}));
    CHECK(found <= 1.05 * best);
  }
}

TEST_CASE("scales beyond a half saturate, tiny ones stay above zero") {
  using Q = affine<4, 8>;
  const std::vector<float> huge = {FLT_MAX, -FLT_MAX, 1, 2, 3, 4, 5, 6};
  const std::vector<float> tiny = {1e-40f, -1e-42f, 0, 0, 1e-38f, 0, 0, FLT_TRUE_MIN};
  for (const auto search : {grid_search::min_max, grid_search::mse}) {
    const auto g = Q::fit_group(huge, {}, search);
    CHECK(g.scale == 65504.0f);
    CHECK(std::isfinite(Q::value(g, Q::code(g, FLT_MAX))));
    const auto t = Q::fit_group(tiny, {}, search);
    CHECK(t.scale > 0);
    for (const float x : tiny) CHECK(Q::value(t, Q::code(t, x)) == 0.0f);
  }
}

TEST_CASE("names say what the command line says") {
  CHECK(affine<3, 64>::name() == "int3 g64");
  CHECK(affine<4, 128, zero_point::symmetric>::name() == "int4 g128 symmetric");
  CHECK(affine<4, 32, zero_point::asymmetric, float>::name() == "int4 g32 f32");
}
