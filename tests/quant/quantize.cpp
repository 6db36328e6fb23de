// SPDX-License-Identifier: MIT
#include <qwha/quant/quantize.hpp>

#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <thread>
#include <vector>

#include <qwha/quant/affine.hpp>
#include <qwha/quant/gguf_blocks.hpp>
#include <qwha/quant/mxfp4.hpp>
#include <qwha/quant/nf4.hpp>
#include <qwha/quant/nvfp4.hpp>

#include "catch.hpp"
#include "samples.hpp"

using namespace qwha;
using namespace qwha::test;

namespace user {

/// A format written outside the library: -s, 0 or s; five codes to a byte, base 3.
struct ternary {
  using matrix_parameters = no_parameters;
  struct group {
    float scale = 1;
  };
  static constexpr std::size_t block_size = 20, levels = 3, code_bytes = 4, parameter_bytes = 4;
  static std::string name() { return "ternary"; }
  static no_parameters prepare(rows_view<const float>) noexcept { return {}; }
  static group fit_group(std::span<const float> w, const no_parameters&, grid_search) noexcept {
    float largest = 0;
    for (const float x : w) largest = std::max(largest, std::abs(x));
    return {largest};
  }
  static std::uint8_t code(const group& g, float w) noexcept {
    return w > g.scale / 2 ? std::uint8_t{2} : w < -g.scale / 2 ? std::uint8_t{0} : std::uint8_t{1};
  }
  static float value(const group& g, std::uint8_t c) noexcept { return (static_cast<float>(c) - 1) * g.scale; }
  static void pack(const group& g, const std::uint8_t* codes, std::byte* c, std::byte* p) noexcept {
    for (int b = 0; b < 4; ++b, codes += 5)
      c[b] = static_cast<std::byte>(codes[0] + 3 * codes[1] + 9 * codes[2] + 27 * codes[3] + 81 * codes[4]);
    std::memcpy(p, &g.scale, 4);
  }
  static group unpack(const std::byte* c, const std::byte* p, const no_parameters&, std::uint8_t* codes) noexcept {
    for (int b = 0; b < 4; ++b) {
      auto x = std::to_integer<unsigned>(c[b]);
      for (int i = 0; i < 5; ++i, x /= 3) *codes++ = static_cast<std::uint8_t>(x % 3);
    }
    group g;
    std::memcpy(&g.scale, p, 4);
    return g;
  }
  static void decode(const std::byte* c, const std::byte* p, const no_parameters& m, float* out) noexcept {
    std::uint8_t codes[block_size];
    const group g = unpack(c, p, m, codes);
    for (std::size_t i = 0; i < block_size; ++i) out[i] = value(g, codes[i]);
  }
};
static_assert(group_quantizer<ternary> && !weighted_group_quantizer<ternary>);

/// A solver written outside the library, found by its namespace: every code is the same.
struct constant_code {
  std::uint8_t code;
};
template <group_quantizer Q>
void solve(const constant_code& solver, rows_view<const float> w, quantized_matrix<Q>& out, const executor&) {
  std::vector<std::uint8_t> codes(Q::block_size, solver.code);
  for (std::size_t r = 0; r < w.rows; ++r)
    for (std::size_t b = 0; b < out.blocks_per_row(); ++b)
      Q::pack({}, codes.data(), out.writable_codes(r) + b * Q::code_bytes,
              out.writable_parameters(r) + b * Q::parameter_bytes);
}

}  // namespace user

static_assert(solver_for<round_to_nearest, affine<4, 64>> && solver_for<user::constant_code, user::ternary>);
static_assert(!solver_for<round_to_nearest, q6_k> && !solver_for<int, affine<4, 64>>);
static_assert(!quantizer<int> && !group_quantizer<q6_k>);

namespace {

template <class Q>
std::vector<std::byte> planes(const quantized_matrix<Q>& m) {
  std::vector<std::byte> all;
  for (std::size_t r = 0; r < m.rows(); ++r) {
    all.insert(all.end(), m.codes(r), m.codes(r) + m.code_stride());
    all.insert(all.end(), m.parameters(r), m.parameters(r) + m.parameter_stride());
  }
  return all;
}

/// Threads that take chunks in whatever order they come.
executor threads(unsigned& count) {
  return {&count, [](void* pool, std::size_t chunks, executor::body_function body, void* context) {
            std::atomic<std::size_t> next{chunks};
            std::vector<std::thread> team;
            for (unsigned t = 0; t < *static_cast<unsigned*>(pool); ++t)
              team.emplace_back([&] {
                for (std::size_t left = next.load(); left > 0;)
                  if (next.compare_exchange_weak(left, left - 1)) body(context, left - 1);
              });
            for (auto& t : team) t.join();
          }};
}

}  // namespace

TEST_CASE("size_bytes is what the format takes") {
  CHECK(quantized_matrix<affine<4, 64>>(10, 128).size_bytes() == 10 * 2 * (32 + 3));
  CHECK(quantized_matrix<affine<4, 64, zero_point::symmetric>>(10, 128).size_bytes() == 10 * 2 * (32 + 2));
  CHECK(quantized_matrix<affine<3, 64>>(10, 130).size_bytes() == 10 * 3 * (24 + 3));  // the short block is whole
  CHECK(quantized_matrix<affine<2, 64>>(1, 1).size_bytes() == 16 + 3);
  CHECK(quantized_matrix<nf4<>>(3, 64).size_bytes() == 3 * (32 + 4));
  CHECK(quantized_matrix<mxfp4>(3, 64).size_bytes() == 3 * 2 * 17);
  CHECK(quantized_matrix<nvfp4>(3, 64).size_bytes() == 3 * 4 * 9 + sizeof(nvfp4_parameters));
  CHECK(quantized_matrix<q4_0>(3, 64).size_bytes() == 3 * 2 * 18);
  CHECK(quantized_matrix<q6_k>(3, 512).size_bytes() == 3 * 2 * 210);
  CHECK(quantized_matrix<affine<4, 64>>().size_bytes() == 0);
}

TEMPLATE_TEST_CASE("rows of any length, with any stride", "", (affine<4, 64>), (affine<3, 8>), nf4<>, mxfp4, nvfp4,
                   q5_1, user::ternary) {
  using Q = TestType;
  constexpr std::size_t rows = 3, stride = 300;
  const auto w = normal_weights(rows * stride, 11);
  for (const std::size_t cols :
       {std::size_t{1}, Q::block_size - 1, Q::block_size, Q::block_size + 1, std::size_t{199}}) {
    if (cols == 0) continue;
    INFO(Q::name() << ", " << cols << " columns");
    const rows_view<const float> view(w.data(), rows, cols, stride);
    const auto m = quantize<Q>(view);
    REQUIRE(m.rows() == rows);
    REQUIRE(m.cols() == cols);
    std::vector<float> out(rows * (cols + 2), 77.0f);
    m.dequantize(rows_view<float>(out.data(), rows, cols, cols + 2));
    for (std::size_t r = 0; r < rows; ++r) {
      std::vector<float> row(cols);
      m.dequantize_row(r, row);
      for (std::size_t c = 0; c < cols; ++c) {
        const std::size_t first = c / Q::block_size * Q::block_size;
        const std::span<const float> block(view.row(r) + first, std::min(Q::block_size, cols - first));
        const auto g = Q::fit_group(block, m.matrix(), grid_search::min_max);
        REQUIRE(row[c] == Q::value(g, Q::code(g, view(r, c))));  // the surplus of the last block takes no part
        REQUIRE(out[r * (cols + 2) + c] == row[c]);
      }
      CHECK(out[r * (cols + 2) + cols] == 77.0f);
      CHECK(out[r * (cols + 2) + cols + 1] == 77.0f);
    }
    std::vector<float> slab(2 * cols);
    m.dequantize_rows(1, rows_view<float>(slab.data(), 2, cols));
    for (std::size_t i = 0; i < slab.size(); ++i) REQUIRE(slab[i] == out[(1 + i / cols) * (cols + 2) + i % cols]);
  }
}

TEMPLATE_TEST_CASE("any number of threads gives the same bytes", "", (affine<2, 64>), nf4<>, nvfp4, q4_1) {
  using Q = TestType;
  constexpr std::size_t rows = 200, cols = 333;
  const auto w = normal_weights(rows * cols, 4);
  const rows_view<const float> view(w.data(), rows, cols);
  const round_to_nearest solver{grid_search::mse};
  const auto alone = planes(quantize<Q>(view, solver, executor::serial()));
  for (unsigned count : {2u, 7u}) CHECK(planes(quantize<Q>(view, solver, threads(count))) == alone);
  CHECK(planes(quantize<Q>(view, solver)) == alone);
}

TEST_CASE("a matrix may refer to bytes at any address, and copies share them") {
  using Q = affine<3, 64>;
  const auto w = normal_weights(4 * 128, 9);
  const auto m = quantize<Q>(rows_view<const float>(w.data(), 4, 128));
  std::vector<std::byte> codes(4 * m.code_stride() + 1), parameters(4 * m.parameter_stride() + 1);
  for (std::size_t r = 0; r < 4; ++r) {
    std::memcpy(codes.data() + 1 + r * m.code_stride(), m.codes(r), m.code_stride());
    std::memcpy(parameters.data() + 1 + r * m.parameter_stride(), m.parameters(r), m.parameter_stride());
  }
  const std::span<const std::byte> code_plane(codes.data() + 1, codes.size() - 1);
  const std::span<const std::byte> parameter_plane(parameters.data() + 1, parameters.size() - 1);
  auto view = quantized_matrix<Q>::refer(4, 128, code_plane, parameter_plane);
  CHECK(planes(view) == planes(m));
  CHECK(view.codes(0) == code_plane.data());
  CHECK(view.writable_codes(0) == nullptr);
  CHECK(view.writable_parameters(0) == nullptr);
  const quantized_matrix<Q> copy = m;
  CHECK(copy.codes(2) == m.codes(2));
  std::vector<float> a(128), b(128);
  view.dequantize_row(3, a);
  m.dequantize_row(3, b);
  CHECK(a == b);

  CHECK_THROWS_AS(quantized_matrix<Q>::refer(4, 128, code_plane.first(code_plane.size() - 1), parameter_plane),
                  shape_error);
  CHECK_THROWS_AS(quantized_matrix<Q>::refer(4, 128, code_plane, parameter_plane.first(1)), shape_error);
  CHECK_THROWS_AS(quantized_matrix<Q>::refer(4, 128, code_plane), shape_error);
}

TEST_CASE("bad input is named") {
  using Q = affine<4, 64>;
  std::vector<float> w(3 * 70, 0.5f);
  const rows_view<const float> view(w.data(), 3, 70);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()}) {
    w[2 * 70 + 69] = bad;
    std::string message;
    try {
      (void)quantize<Q>(view);
    } catch (const value_error& e) {
      message = e.what();
    }
    CHECK(message.find("row 2") != std::string::npos);
    CHECK(message.find("[3, 70]") != std::string::npos);
  }
  w[2 * 70 + 69] = 0;
  const auto m = quantize<Q>(view);
  std::vector<float> out(71);
  CHECK_THROWS_AS(m.dequantize_row(0, out), shape_error);
  CHECK_THROWS_AS(m.dequantize_row(3, std::span<float>(out).first(70)), shape_error);
  CHECK_THROWS_AS(m.dequantize(rows_view<float>(w.data(), 2, 70)), shape_error);
  CHECK_THROWS_AS(m.dequantize(rows_view<float>(w.data(), 3, 69)), shape_error);
  CHECK_THROWS_AS(m.dequantize_rows(2, rows_view<float>(w.data(), 2, 70)), shape_error);
  CHECK_THROWS_AS(quantize<Q>(rows_view<const float>(nullptr, 3, 70)), shape_error);
  CHECK_THROWS_AS(quantize<Q>(rows_view<const float>(w.data(), 3, 70, 60)), shape_error);
  constexpr std::size_t huge = std::numeric_limits<std::size_t>::max() / 16;
  CHECK_THROWS_AS(quantized_matrix<Q>(huge, huge), shape_error);
}

TEST_CASE("empty matrices are matrices") {
  for (const auto& [rows, cols] : {std::pair<std::size_t, std::size_t>{0, 0}, {0, 64}, {5, 0}}) {
    const auto m = quantize<affine<4, 64>>(rows_view<const float>(nullptr, rows, cols));
    CHECK(m.rows() == rows);
    CHECK(m.cols() == cols);
    CHECK(m.size_bytes() == 0);
    m.dequantize(rows_view<float>(nullptr, rows, cols));
  }
}

TEST_CASE("formats and solvers of users are found") {
  const auto w = normal_weights(2 * 50, 1);
  const rows_view<const float> view(w.data(), 2, 50);
  const auto m = quantize<user::ternary>(view);
  CHECK(m.size_bytes() == 2 * 3 * 8);
  const auto zeros = quantize<user::ternary>(view, user::constant_code{1});
  std::vector<float> out(50, 1.0f);
  zeros.dequantize_row(1, out);
  for (const float x : out) CHECK(x == 0.0f);
}
