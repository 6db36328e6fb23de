// SPDX-License-Identifier: MIT
#include <bit>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <vector>

#include <qwha/quant/minifloat.hpp>
#include <qwha/quant/mxfp4.hpp>
#include <qwha/quant/nf4.hpp>
#include <qwha/quant/nvfp4.hpp>
#include <qwha/quant/quantize.hpp>

#include "catch.hpp"
#include "samples.hpp"

using namespace qwha;
using namespace qwha::test;

namespace {

constexpr double e2m1[8] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
double e2m1_by_definition(int code) { return (code & 8) != 0 ? -e2m1[code & 7] : e2m1[code & 7]; }

double e4m3_by_definition(int code) {
  const int exponent = (code >> 3) & 15, mantissa = code & 7;
  const double magnitude = exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
  return (code & 128) != 0 ? -magnitude : magnitude;
}

// Levels and thresholds of formats.md as decimal text, in double.
constexpr double nf4_levels[16] = {-1,
                                   -0.6961928009986877,
                                   -0.5250730514526367,
                                   -0.39491748809814453,
                                   -0.28444138169288635,
                                   -0.18477343022823334,
                                   -0.09105003625154495,
                                   0,
                                   0.07958029955625534,
                                   0.16093020141124725,
                                   0.24611230194568634,
                                   0.33791524171829224,
                                   0.44070982933044434,
                                   0.5626170039176941,
                                   0.7229568362236023,
                                   1};

int nibble(const std::vector<std::byte>& bytes, std::size_t i, bool even_is_high) {
  const int byte = byte_of(bytes, i / 2);
  return ((i % 2 == 0) == even_is_high) ? byte >> 4 : byte & 15;
}

}  // namespace

TEST_CASE("E2M1, E4M3 and E8M0 by code are their definitions") {
  for (int c = 0; c < 16; ++c) CHECK(static_cast<double>(e2m1_values[c]) == e2m1_by_definition(c));
  for (int c = 0; c < 256; ++c) {
    const auto code = static_cast<std::uint8_t>(c);
    if ((c & 127) == 127)
      CHECK(std::isnan(e4m3_value(code)));
    else
      CHECK(static_cast<double>(e4m3_value(code)) == e4m3_by_definition(c));
    if (c == 255)
      CHECK(std::isnan(e8m0_value(code)));
    else
      CHECK(static_cast<double>(e8m0_value(code)) == std::ldexp(1.0, c - 127));
  }
}

TEST_CASE("rounding to E2M1 takes the nearest code, ties to the even one") {
  for (int i = -1600; i <= 1600; ++i) {
    const double x = i / 200.0;
    int best = 0;
    for (int c = 0; c < 8; ++c) {
      const double d = std::abs(std::abs(x) - e2m1[c]), least = std::abs(std::abs(x) - e2m1[best]);
      if (d < least - 1e-9 || (std::abs(d - least) < 1e-9 && c % 2 == 0)) best = c;
    }
    INFO(x);
    REQUIRE(e2m1_code(static_cast<float>(x)) == best + (x < 0 ? 8 : 0));
  }
  CHECK(e2m1_code(1e30f) == 7);
  CHECK(e2m1_code(-FLT_MAX) == 15);
}

TEST_CASE("rounding to E4M3 takes the nearest code, ties to the even one") {
  for (int c = 0; c < 0x7e; ++c) {
    const double low = e4m3_by_definition(c), high = e4m3_by_definition(c + 1), middle = (low + high) / 2;
    INFO(c);
    REQUIRE(e4m3_code(static_cast<float>(low)) == c);
    REQUIRE(e4m3_code(static_cast<float>(-high)) == (128 | (c + 1)));
    REQUIRE(e4m3_code(static_cast<float>(middle)) == (c % 2 == 0 ? c : c + 1));
    REQUIRE(e4m3_code(std::nextafter(static_cast<float>(middle), 0.0f)) == c);
    REQUIRE(e4m3_code(std::nextafter(static_cast<float>(middle), 1000.0f)) == c + 1);
  }
  CHECK(e4m3_code(1e9f) == 0x7e);
  CHECK(e4m3_code(INFINITY) == 0x7e);
  CHECK((e4m3_code(std::nanf("")) & 0x7f) == 0x7f);
  CHECK(e4m3_code(FLT_TRUE_MIN) == 0);
}

TEST_CASE("NF4: absmax 2 with weights 2 and -0.2 gives the byte 0xF6") {
  std::vector<float> w(64, 0.0f);
  w[0] = 2.0f;
  w[1] = -0.2f;
  const auto m = quantize<nf4<>>(rows_view<const float>(w.data(), 1, 64));
  CHECK(std::to_integer<int>(m.codes(0)[0]) == 0xF6);
  float absmax = 0;
  std::memcpy(&absmax, m.parameters(0), 4);
  CHECK(absmax == 2.0f);
  std::vector<float> out(64);
  m.dequantize_row(0, out);
  CHECK(out[0] == 2.0f);
  CHECK(out[1] == Approx(-0.1821).margin(5e-5));
  CHECK(out[2] == 0.0f);
}

TEMPLATE_TEST_CASE("NF4 decodes by table and encodes to the nearest level", "", nf4<>, nf4<32>, nf4<2>, nf4<10>,
                   nf4<256>) {
  using Q = TestType;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    INFO(Q::name() << ", seed " << seed);
    const auto codes = random_bytes(Q::code_bytes, seed);
    const float absmax = 0.01f * static_cast<float>(seed + 1);
    std::vector<std::byte> parameters(4);
    std::memcpy(parameters.data(), &absmax, 4);
    std::vector<float> out(Q::block_size);
    Q::decode(codes.data(), parameters.data(), {}, out.data());
    for (std::size_t i = 0; i < Q::block_size; ++i) {
      const double exact = nf4_levels[nibble(codes, i, true)] * static_cast<double>(absmax);
      REQUIRE(std::abs(static_cast<double>(out[i]) - exact) <= std::abs(exact) * 0x1p-23);  // level and product rounded
    }
  }
  for (int i = -1000; i <= 1000; ++i) {
    const double x = i / 1000.0;
    int best = 0;
    for (int c = 1; c < 16; ++c)
      if (std::abs(x - nf4_levels[c]) < std::abs(x - nf4_levels[best])) best = c;
    INFO(x);
    REQUIRE(Q::code({4.0f}, static_cast<float>(4 * x)) == best);
  }
}

TEST_CASE("MXFP4: byte 0x72 with scale 128 is 2 and 12") {
  std::vector<std::byte> codes(16);
  codes[0] = std::byte{0x72};
  const std::byte scale{128};
  float out[32];
  mxfp4::decode(codes.data(), &scale, {}, out);
  CHECK(out[0] == 2.0f);
  CHECK(out[1] == 12.0f);
  CHECK(out[2] == 0.0f);
}

TEST_CASE("MXFP4 decodes by definition for every scale") {
  for (int e = 0; e < 253; ++e) {
    const auto codes = random_bytes(16, static_cast<std::uint64_t>(e));
    const auto scale = static_cast<std::byte>(e);
    float out[32];
    mxfp4::decode(codes.data(), &scale, {}, out);
    for (std::size_t i = 0; i < 32; ++i)
      REQUIRE(static_cast<double>(out[i]) == std::ldexp(e2m1_by_definition(nibble(codes, i, false)), e - 127));
  }
}

TEST_CASE("MXFP4 takes the smallest power of two that leaves every weight within half a step") {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    INFO("seed " << seed);
    const auto w = normal_weights(32, seed, std::ldexp(1.0, static_cast<int>(seed % 40) - 20));
    double largest = 0;
    for (const float x : w) largest = std::max(largest, static_cast<double>(std::abs(x)));
    const auto g = mxfp4::fit_group(w, {}, grid_search::min_max);
    const double scale = std::ldexp(1.0, g.exponent - 127);
    CHECK(static_cast<double>(g.scale) == scale);
    CHECK(largest <= 7 * scale);
    CHECK(largest > 7 * scale / 2);
  }
}

TEST_CASE("NVFP4 decodes by definition, with a multiplier for the matrix") {
  for (int s = 0; s < 127; ++s) {
    const auto codes = random_bytes(8, static_cast<std::uint64_t>(s));
    const auto scale = static_cast<std::byte>(s);
    const float global = 0.37f;
    float out[16];
    nvfp4::decode(codes.data(), &scale, {global}, out);
    for (std::size_t i = 0; i < 16; ++i) {
      const double exact =
          e2m1_by_definition(nibble(codes, i, false)) * e4m3_by_definition(s) * static_cast<double>(global);
      REQUIRE(std::abs(static_cast<double>(out[i]) - exact) <= std::abs(exact) * 0x1p-23);  // two roundings
    }
  }
}

TEST_CASE("NVFP4 uses the range of its scales and keeps relative errors small") {
  constexpr std::size_t rows = 8, cols = 64;
  auto w = normal_weights(rows * cols, 3);
  w[100] = 0.5f;
  const rows_view<const float> view(w.data(), rows, cols);
  const auto m = quantize<nvfp4>(view);
  CHECK(m.matrix().scale == Approx(0.5 / (6 * 448)));
  CHECK(std::to_integer<int>(m.parameters(1)[2]) == 0x7e);  // the block of the largest weight: 448
  std::vector<float> out(w.size());
  m.dequantize(rows_view<float>(out.data(), rows, cols));
  CHECK(out[100] == Approx(0.5));
  for (std::size_t b = 0; b < w.size() / 16; ++b) {
    float largest = 0;
    for (std::size_t i = 0; i < 16; ++i) largest = std::max(largest, std::abs(w[16 * b + i]));
    // Half the top step is a sixth of the largest weight; the rounding of the block scale adds at most 1/16.
    for (std::size_t i = 0; i < 16; ++i) CHECK(std::abs(w[16 * b + i] - out[16 * b + i]) <= largest / 6 * 1.0626f);
  }
}
