// SPDX-License-Identifier: MIT
// Formats whose matrix parameters are tables, FP4, both conventions of NVFP4, and Q4_K as a format to write.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include <qwha/quant/double_quantized.hpp>
#include <qwha/quant/fp4.hpp>
#include <qwha/quant/gguf_blocks.hpp>
#include <qwha/quant/int8_per_channel.hpp>
#include <qwha/quant/nf4.hpp>
#include <qwha/quant/nvfp4.hpp>
#include <qwha/quant/quantize.hpp>

#include "catch.hpp"
#include "samples.hpp"

using namespace qwha;
using namespace qwha::test;

namespace {

constexpr double fp4_twelfths[16] = {0, 0.0625, 8, 12, 4, 6, 2, 3, 0, -0.0625, -8, -12, -4, -6, -2, -3};

/// The dynamic map by its definition, in double: middles of 2^decade steps between 0.1 and 1, times 10^(decade - 6).
std::vector<double> dynamic_map_by_definition() {
  std::vector<double> map = {0, 1};
  for (int decade = 0; decade < 7; ++decade) {
    const int steps = 1 << decade;
    for (int i = 0; i < steps; ++i) {
      const double middle = (0.1 + 0.9 * (i + 0.5) / steps) * std::pow(10.0, decade - 6);
      map.push_back(middle);
      map.push_back(-middle);
    }
  }
  std::sort(map.begin(), map.end());
  return map;
}

template <class Q>
std::vector<float> dequantized(const quantized_matrix<Q>& m) {
  std::vector<float> out(m.rows() * m.cols());
  m.dequantize(rows_view<float>(out.data(), m.rows(), m.cols()));
  return out;
}

double relative_error(const std::vector<float>& w, const std::vector<float>& q) {
  double error = 0, norm = 0;
  for (std::size_t i = 0; i < w.size(); ++i) {
    error += std::pow(static_cast<double>(w[i]) - static_cast<double>(q[i]), 2);
    norm += std::pow(static_cast<double>(w[i]), 2);
  }
  return std::sqrt(error / norm);
}

template <class Q>
double relative_error_of(const std::vector<float>& w, std::size_t cols, grid_search search) {
  const rows_view<const float> view(w.data(), w.size() / cols, cols);
  return relative_error(w, dequantized(quantize<Q>(view, round_to_nearest{search})));
}

}  // namespace

TEST_CASE("FP4 has the levels and the order of codes of bitsandbytes, the even element in the high nibble") {
  std::vector<float> w(64, 0.0f);
  for (std::size_t c = 0; c < 16; ++c) w[c] = static_cast<float>(fp4_twelfths[c] / 4);  // absmax 3
  const auto m = quantize<fp4<>>(rows_view<const float>(w.data(), 1, 64));
  const int expected[8] = {0x01, 0x23, 0x45, 0x67, 0x09, 0xab, 0xcd, 0xef};  // code 8 is a second zero
  for (std::size_t i = 0; i < 8; ++i) CHECK(std::to_integer<int>(m.codes(0)[i]) == expected[i]);
  float absmax = 0;
  std::memcpy(&absmax, m.parameters(0), sizeof(absmax));
  CHECK(absmax == 3.0f);
  const auto out = dequantized(m);
  for (std::size_t c = 0; c < 64; ++c) CHECK(out[c] == Approx(w[c]).epsilon(1e-7));
}

TEST_CASE("FP4 encodes to the nearest level") {
  for (int i = -1200; i <= 1200; ++i) {
    const double x = i / 1200.0;
    double least = 2;
    for (const double level : fp4_twelfths) least = std::min(least, std::abs(x - level / 12));
    INFO(x);
    const auto code = fp4<>::code({2.0f}, static_cast<float>(2 * x));
    REQUIRE(std::abs(x - fp4_twelfths[code] / 12) <= least + 1e-7);
    REQUIRE(((code & 8) != 0) == (x < 0));
  }
}

TEST_CASE("the dynamic map is its definition") {
  const auto expected = dynamic_map_by_definition();
  REQUIRE(expected.size() == dynamic_map.size());
  for (std::size_t i = 0; i < 256; ++i)
    CHECK(std::abs(static_cast<double>(dynamic_map[i]) - expected[i]) <= 4e-7 * std::abs(expected[i]));
  CHECK(std::is_sorted(dynamic_map.begin(), dynamic_map.end()));
}

TEMPLATE_TEST_CASE("double quantization decodes by its definition", "", nf4<>, nf4<32>, fp4<>) {
  using Q = double_quantized<TestType>;
  constexpr std::size_t rows = 30, cols = 16 * Q::block_size - 6;  // 480 blocks: two scales; the last of a row is short
  nested_absmax matrix;
  matrix.offset = 0.8f;
  matrix.scales = {0.3f, 0.7f};
  const auto codes = random_bytes(rows * 16 * Q::code_bytes, 1), bytes = random_bytes(rows * 16, 2);
  const auto m = quantized_matrix<Q>::refer(rows, cols, codes, bytes, matrix);
  const auto out = dequantized(m);
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t c = 0; c < cols; ++c) {
      const std::size_t block = 16 * r + c / Q::block_size;
      const float product = dynamic_map[std::to_integer<std::size_t>(bytes[block])] * matrix.scales[block / 256];
      const float absmax = product + matrix.offset;
      const auto byte = std::to_integer<std::uint8_t>(codes[16 * r * Q::code_bytes + c / 2]);
      const auto code = static_cast<std::uint8_t>(c % 2 == 0 ? byte >> 4 : byte & 15);
      REQUIRE(out[r * cols + c] == TestType::value({absmax}, code));
    }
}

TEMPLATE_TEST_CASE("double quantization costs a byte per block and little accuracy", "", nf4<>, fp4<32>) {
  using Q = double_quantized<TestType>;
  constexpr std::size_t rows = 64, cols = 640, blocks = rows * (cols / Q::block_size);
  const auto w = normal_weights(rows * cols, 5);
  const rows_view<const float> view(w.data(), rows, cols);
  const auto m = quantize<Q>(view);
  CHECK(m.size_bytes() == rows * cols / 2 + blocks + 4 * ((blocks + 255) / 256) + 1024 + 4);
  CHECK(m.matrix().scales.size() == (blocks + 255) / 256);
  double mean = 0, largest_scale = 0;
  for (std::size_t b = 0; b < blocks; ++b) {
    float absmax = 0;
    for (std::size_t i = 0; i < Q::block_size; ++i) absmax = std::max(absmax, std::abs(w[b * Q::block_size + i]));
    mean += static_cast<double>(absmax) / static_cast<double>(blocks);
    if (b < 256) largest_scale = std::max(largest_scale, std::abs(static_cast<double>(absmax - m.matrix().offset)));
  }
  CHECK(m.matrix().offset == Approx(mean));
  CHECK(m.matrix().scales[0] == Approx(largest_scale));
  for (const auto search : {grid_search::min_max, grid_search::mse}) {
    const double plain = relative_error_of<TestType>(w, cols, search), nested = relative_error_of<Q>(w, cols, search);
    CHECK(nested < 1.02 * plain);
    CHECK(nested > 0.5 * plain);
  }
  const auto copy = m;  // shares the planes
  CHECK(copy.codes(0) == m.codes(0));
  CHECK(copy.matrix() == m.matrix());
}

TEST_CASE("double quantization of equal blocks has scale zero and loses nothing to it") {
  std::vector<float> w(256);
  for (std::size_t i = 0; i < w.size(); ++i) w[i] = i % 64 == 0 ? 0.75f : 0.0f;
  const auto m = quantize<double_quantized<nf4<>>>(rows_view<const float>(w.data(), 2, 128));
  CHECK(m.matrix().scales == std::vector<float>{0.0f});
  CHECK(dequantized(m) == w);
}

TEST_CASE("int8 per channel has one scale for each row, and signed bytes") {
  constexpr std::size_t rows = 9, cols = 70;
  auto w = normal_weights(rows * cols, 8);
  for (std::size_t c = 0; c < cols; ++c) w[3 * cols + c] = 0;
  for (std::size_t c = 0; c < cols; ++c) w[4 * cols + c] *= 1000;
  const auto m = quantize<int8_per_channel>(rows_view<const float>(w.data(), rows, cols));
  CHECK(m.size_bytes() == rows * 96 + 4 * rows);  // 70 weights fill three blocks of 32
  const auto out = dequantized(m);
  for (std::size_t r = 0; r < rows; ++r) {
    double largest = 0;
    for (std::size_t c = 0; c < cols; ++c) largest = std::max(largest, std::abs(static_cast<double>(w[r * cols + c])));
    const auto scale = static_cast<double>(m.matrix().scales[r]);
    if (r != 3) CHECK(scale == Approx(largest / 127));
    for (std::size_t c = 0; c < cols; ++c) {
      const auto code = static_cast<double>(static_cast<std::int8_t>(m.codes(r)[c]));
      CHECK(static_cast<double>(out[r * cols + c]) == Approx(code * scale));
      CHECK(std::abs(static_cast<double>(w[r * cols + c]) - code * scale) <= scale * 0.5001);
    }
  }
}

TEST_CASE("NVFP4 multiplies or divides by the scale of the matrix, rounding once") {
  for (int s = 1; s < 127; ++s) {
    const auto codes = random_bytes(8, static_cast<std::uint64_t>(s));
    const auto block_scale = static_cast<std::byte>(s);
    const float scale = 37.3f, level = e4m3_value(static_cast<std::uint8_t>(s));
    float multiplied[16], divided[16];
    nvfp4::decode(codes.data(), &block_scale, {scale}, multiplied);
    nvfp4::decode(codes.data(), &block_scale, {scale, nvfp4_convention::divisor}, divided);
    for (std::size_t i = 0; i < 16; ++i) {
      const int byte = std::to_integer<int>(codes[i / 2]);
      const float element = e2m1_values[i % 2 == 0 ? byte & 15 : byte >> 4];
      REQUIRE(multiplied[i] == element * (level * scale));
      REQUIRE(divided[i] == element * (level / scale));
    }
  }
}

TEST_CASE("NVFP4 groups are fitted in either convention") {
  const auto w = normal_weights(16, 4);
  for (const auto search : {grid_search::min_max, grid_search::mse}) {
    const nvfp4_parameters by_factor{0x1p-9f}, by_divisor{0x1p9f, nvfp4_convention::divisor};
    const auto a = nvfp4::fit_group(w, by_factor, search), b = nvfp4::fit_group(w, by_divisor, search);
    CHECK(a.block_scale == b.block_scale);
    CHECK(a.scale == b.scale);
  }
}

TEST_CASE("Q4_K keeps its six-bit codes through the bytes, and short rows work") {
  constexpr std::size_t rows = 5, cols = 2 * 256 + 72;
  auto w = normal_weights(rows * cols, 12);
  for (std::size_t i = 0; i < w.size(); i += 7) w[i] += 0.05f;  // unequal ranges
  const rows_view<const float> view(w.data(), rows, cols);
  const auto m = quantize<q4_k>(view, round_to_nearest{grid_search::mse});
  CHECK(m.size_bytes() == rows * 3 * 144);
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t b = 0; b < 3; ++b) {
      std::vector<std::uint8_t> codes(256);
      std::vector<std::byte> block(144);
      const auto g = q4_k::unpack(m.codes(r) + 144 * b, nullptr, {}, codes.data());
      q4_k::pack(g, codes.data(), block.data(), nullptr);
      CHECK(std::equal(block.begin(), block.end(), m.codes(r) + 144 * b));
    }
}

TEST_CASE("Q4_K is more accurate than Q4_0 and Q4_1 of more bits, and its search pays") {
  auto w = normal_weights(16 * 1024, 6);
  for (std::size_t i = 0; i < w.size(); ++i) w[i] *= 1 + static_cast<float>(i / 32 % 8) / 4;
  const double k = relative_error_of<q4_k>(w, 1024, grid_search::mse);
  CHECK(k < relative_error_of<q4_0>(w, 1024, grid_search::mse));
  CHECK(k < 1.03 * relative_error_of<q4_1>(w, 1024, grid_search::mse));  // 5 bits per weight against 4.5
  CHECK(k < 0.95 * relative_error_of<q4_k>(w, 1024, grid_search::min_max));
}

TEST_CASE("Q4_K packs six-bit codes as ggml reads them") {
  q4_k_group g{0.5f, 0.25f, {1, 2, 3, 4, 33, 34, 35, 36}, {0, 1, 2, 3, 40, 41, 42, 43}, {}};
  std::vector<std::uint8_t> codes(256, 0);
  std::vector<std::byte> block(144);
  q4_k::pack(g, codes.data(), block.data(), nullptr);
  const int bytes[12] = {0x81, 0x82, 0x83, 0x84, 0x80, 0x81, 0x82, 0x83, 0x81, 0x92, 0xa3, 0xb4};
  for (std::size_t i = 0; i < 12; ++i) CHECK(byte_of(block, 4 + i) == bytes[i]);
}
