// SPDX-License-Identifier: MIT
#include <qwha/quant/gguf_blocks.hpp>

#include <bit>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include <qwha/quant/quantize.hpp>

#include "catch.hpp"
#include "golden_gguf.hpp"
#include "samples.hpp"

using namespace qwha;
using namespace qwha::test;

namespace {

using block = std::vector<std::byte>;
using weights = std::vector<double>;

double half_at(const block& b, std::size_t i) { return half_by_definition(b[i], b[i + 1]); }

// The formulas of ggml's format, in double: each element from its own bits.

weights expected(q4_0, const block& b) {
  weights y(32);
  for (std::size_t j = 0; j < 16; ++j) {
    y[j] = half_at(b, 0) * ((byte_of(b, 2 + j) & 15) - 8);
    y[j + 16] = half_at(b, 0) * ((byte_of(b, 2 + j) >> 4) - 8);
  }
  return y;
}

weights expected(q4_1, const block& b) {
  weights y(32);
  for (std::size_t j = 0; j < 16; ++j) {
    y[j] = half_at(b, 0) * (byte_of(b, 4 + j) & 15) + half_at(b, 2);
    y[j + 16] = half_at(b, 0) * (byte_of(b, 4 + j) >> 4) + half_at(b, 2);
  }
  return y;
}

int fifth_bit(const block& b, std::size_t at, std::size_t j) { return (byte_of(b, at + j / 8) >> (j % 8)) & 1; }

weights expected(q5_0, const block& b) {
  weights y(32);
  for (std::size_t j = 0; j < 32; ++j) {
    const int low = j < 16 ? byte_of(b, 6 + j) & 15 : byte_of(b, 6 + j - 16) >> 4;
    y[j] = half_at(b, 0) * (low + 16 * fifth_bit(b, 2, j) - 16);
  }
  return y;
}

weights expected(q5_1, const block& b) {
  weights y(32);
  for (std::size_t j = 0; j < 32; ++j) {
    const int low = j < 16 ? byte_of(b, 8 + j) & 15 : byte_of(b, 8 + j - 16) >> 4;
    y[j] = half_at(b, 0) * (low + 16 * fifth_bit(b, 4, j)) + half_at(b, 2);
  }
  return y;
}

weights expected(q8_0, const block& b) {
  weights y(32);
  for (std::size_t j = 0; j < 32; ++j) {
    const int q = byte_of(b, 2 + j);
    y[j] = half_at(b, 0) * (q < 128 ? q : q - 256);
  }
  return y;
}

weights expected(q2_k, const block& b) {
  weights y(256);
  for (std::size_t e = 0; e < 256; ++e) {
    const std::size_t n = e / 128, j = e / 32 % 4, h = e / 16 % 2, l = e % 16;
    const int s = byte_of(b, 8 * n + 2 * j + h);
    const int q = (byte_of(b, 16 + 32 * n + 16 * h + l) >> (2 * j)) & 3;
    y[e] = half_at(b, 80) * (s & 15) * q - half_at(b, 82) * (s >> 4);
  }
  return y;
}

weights expected(q3_k, const block& b) {
  weights y(256);
  for (std::size_t e = 0; e < 256; ++e) {
    const std::size_t n = e / 128, j = e / 32 % 4, h = e / 16 % 2, l = e % 16, k = 8 * n + 2 * j + h;
    const int low = k < 8 ? byte_of(b, 96 + k) & 15 : byte_of(b, 96 + k - 8) >> 4;
    const int high = (byte_of(b, 96 + 8 + k % 4) >> (2 * (k / 4))) & 3;
    const int q = (byte_of(b, 32 + 32 * n + 16 * h + l) >> (2 * j)) & 3;
    const int missing = ((byte_of(b, 16 * h + l) >> (4 * n + j)) & 1) != 0 ? 0 : 4;
    y[e] = half_at(b, 108) * (low + 16 * high - 32) * (q - missing);
  }
  return y;
}

/// Six-bit scale and minimum of sub-block j, scales at byte 4.
std::pair<int, int> six_bits(const block& b, std::size_t j) {
  const auto s = [&](std::size_t i) { return byte_of(b, 4 + i); };
  if (j < 4) return {s(j) & 63, s(j + 4) & 63};
  return {(s(j + 4) & 15) | ((s(j - 4) >> 6) << 4), (s(j + 4) >> 4) | ((s(j) >> 6) << 4)};
}

weights expected(q4_k, const block& b) {
  weights y(256);
  for (std::size_t e = 0; e < 256; ++e) {
    const std::size_t j = e / 32, l = e % 32;
    const int byte = byte_of(b, 16 + 32 * (j / 2) + l);
    const auto [scale, minimum] = six_bits(b, j);
    y[e] = half_at(b, 0) * scale * (j % 2 == 0 ? byte & 15 : byte >> 4) - half_at(b, 2) * minimum;
  }
  return y;
}

weights expected(q5_k, const block& b) {
  weights y(256);
  for (std::size_t e = 0; e < 256; ++e) {
    const std::size_t j = e / 32, l = e % 32;
    const int byte = byte_of(b, 48 + 32 * (j / 2) + l);
    const int q = (j % 2 == 0 ? byte & 15 : byte >> 4) + (((byte_of(b, 16 + l) >> j) & 1) != 0 ? 16 : 0);
    const auto [scale, minimum] = six_bits(b, j);
    y[e] = half_at(b, 0) * scale * q - half_at(b, 2) * minimum;
  }
  return y;
}

weights expected(q6_k, const block& b) {
  weights y(256);
  for (std::size_t e = 0; e < 256; ++e) {
    const std::size_t n = e / 128, part = e / 32 % 4, l = e % 32;
    const int low_byte = byte_of(b, 64 * n + l + (part % 2 == 1 ? 32 : 0));
    const int low = part < 2 ? low_byte & 15 : low_byte >> 4;
    const int high = (byte_of(b, 128 + 32 * n + l) >> (2 * part)) & 3;
    const int raw = byte_of(b, 192 + 8 * n + l / 16 + 2 * part);
    y[e] = half_at(b, 208) * (raw < 128 ? raw : raw - 256) * (low + 16 * high - 32);
  }
  return y;
}

/// Where the halves of a block are: they must be finite.
std::vector<std::size_t> halves(const std::string& name) {
  if (name == "q2_k") return {80, 82};
  if (name == "q3_k") return {108};
  if (name == "q6_k") return {208};
  if (name == "q4_0" || name == "q5_0" || name == "q8_0") return {0};
  return {0, 2};
}

template <class Q>
std::vector<float> decode(const block& b) {
  std::vector<float> out(Q::block_size, -1);
  Q::decode(b.data(), nullptr, {}, out.data());
  return out;
}

const golden_block& golden(const std::string& name) {
  if (name == "q4_0") return golden_q4_0;
  if (name == "q4_1") return golden_q4_1;
  if (name == "q5_0") return golden_q5_0;
  if (name == "q5_1") return golden_q5_1;
  if (name == "q8_0") return golden_q8_0;
  if (name == "q2_k") return golden_q2_k;
  if (name == "q3_k") return golden_q3_k;
  if (name == "q4_k") return golden_q4_k;
  if (name == "q5_k") return golden_q5_k;
  REQUIRE(name == "q6_k");
  return golden_q6_k;
}

}  // namespace

TEMPLATE_TEST_CASE("GGUF blocks decode to the rounded exact value, for random bytes", "", q4_0, q4_1, q5_0, q5_1, q8_0,
                   q2_k, q3_k, q4_k, q5_k, q6_k) {
  using Q = TestType;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    INFO(Q::name() << ", seed " << seed);
    block b = random_bytes(Q::code_bytes, seed);
    for (const std::size_t i : halves(Q::name())) b[i + 1] &= std::byte{0xbb};
    const weights exact = expected(Q{}, b);
    const auto out = decode<Q>(b);
    for (std::size_t i = 0; i < Q::block_size; ++i) REQUIRE(out[i] == static_cast<float>(exact[i]));
  }
}

TEMPLATE_TEST_CASE("GGUF blocks decode to the bits of gguf-py", "", q4_0, q4_1, q5_0, q5_1, q8_0, q2_k, q3_k, q4_k,
                   q5_k, q6_k) {
  using Q = TestType;
  const golden_block& reference = golden(Q::name());
  const block b = from_hex(reference.bytes);
  REQUIRE(b.size() == Q::code_bytes);
  const std::string bits = reference.weights;
  REQUIRE(bits.size() == 8 * Q::block_size);
  const auto out = decode<Q>(b);
  for (std::size_t i = 0; i < Q::block_size; ++i)
    CHECK(std::bit_cast<std::uint32_t>(out[i]) == std::stoul(bits.substr(8 * i, 8), nullptr, 16));
}

TEST_CASE("block sizes are those of ggml") {
  CHECK(q4_0::code_bytes == 18);
  CHECK(q4_1::code_bytes == 20);
  CHECK(q5_0::code_bytes == 22);
  CHECK(q5_1::code_bytes == 24);
  CHECK(q8_0::code_bytes == 34);
  CHECK(q2_k::code_bytes == 84);
  CHECK(q3_k::code_bytes == 110);
  CHECK(q4_k::code_bytes == 144);
  CHECK(q5_k::code_bytes == 176);
  CHECK(q6_k::code_bytes == 210);
}

TEST_CASE("Q4_0: 00 3c 1f is 7 at element 0 and -7 at element 16") {
  block b(18);
  b[1] = std::byte{0x3c};
  b[2] = std::byte{0x1f};
  const auto out = decode<q4_0>(b);
  CHECK(out[0] == 7.0f);
  CHECK(out[16] == -7.0f);
}

TEST_CASE("Q4_K: the twelve bytes of scales hold six-bit scales and minima") {
  const block scales = from_hex("81828384808182838192a3b4");
  constexpr int scale[8] = {1, 2, 3, 4, 33, 34, 35, 36}, minimum[8] = {0, 1, 2, 3, 40, 41, 42, 43};
  block b(144, std::byte{0x11});  // every code is 1
  b[0] = b[2] = std::byte{0};
  b[1] = b[3] = std::byte{0x3c};  // d and dmin are 1
  std::copy(scales.begin(), scales.end(), b.begin() + 4);
  const auto out = decode<q4_k>(b);
  for (std::size_t j = 0; j < 8; ++j) CHECK(out[32 * j + 5] == static_cast<float>(scale[j] - minimum[j]));
}

TEST_CASE("Q8_0 quantizes to 127 steps on either side") {
  std::vector<float> w(32);
  for (std::size_t i = 0; i < 32; ++i) w[i] = static_cast<float>(i) - 15.0f;
  w[31] = 31.75f;  // a scale of 1/4 exactly
  const auto m = quantize<q8_0>(rows_view<const float>(w.data(), 1, 32));
  CHECK(m.size_bytes() == 34);
  CHECK(std::to_integer<int>(m.codes(0)[2 + 31]) == 127);
  CHECK(std::to_integer<int>(m.codes(0)[2]) == 256 - 60);
  std::vector<float> out(32);
  m.dequantize_row(0, out);
  CHECK(out == w);
}

TEST_CASE("Q4_0 gives the weight of largest magnitude the code 0, whatever its sign") {
  for (const float sign : {1.0f, -1.0f}) {
    std::vector<float> w(32, 0.25f * sign);
    w[7] = -2.0f * sign;
    const auto m = quantize<q4_0>(rows_view<const float>(w.data(), 1, 32));
    std::vector<float> out(32);
    m.dequantize_row(0, out);
    CHECK(out == w);
    CHECK((std::to_integer<int>(m.codes(0)[2 + 7]) & 15) == 0);
  }
}
