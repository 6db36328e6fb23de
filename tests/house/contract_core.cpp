// SPDX-License-Identifier: MIT
// Every public name of <qwha/core.hpp>, used as the contract writes it.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <qwha/core.hpp>

#include "expect.hpp"

namespace {

static_assert(std::is_aggregate_v<qwha::rows_view<float>> ||
              std::is_constructible_v<qwha::rows_view<float>, float*, std::size_t, std::size_t, std::size_t>);
static_assert(std::is_trivially_copyable_v<qwha::rows_view<float>>);
static_assert(std::is_convertible_v<qwha::rows_view<float>, qwha::rows_view<const float>>);
static_assert(!std::is_convertible_v<qwha::rows_view<const float>, qwha::rows_view<float>>);
static_assert(std::is_base_of_v<std::runtime_error, qwha::error>);
static_assert(std::is_base_of_v<qwha::error, qwha::unsupported_order>);
static_assert(std::is_base_of_v<qwha::error, qwha::format_error>);
static_assert(std::is_base_of_v<qwha::error, qwha::shape_error>);
static_assert(std::is_same_v<qwha::wht<>, qwha::wht<qwha::native, qwha::dynamic_order>>);
static_assert(std::is_empty_v<qwha::scalar> && std::is_empty_v<qwha::sse> && std::is_empty_v<qwha::avx2> &&
              std::is_empty_v<qwha::avx512> && std::is_empty_v<qwha::neon> && std::is_empty_v<qwha::cuda>);
static_assert(qwha::supported_order(640) && qwha::supported_order(1) && !qwha::supported_order(18) &&
              !qwha::supported_order(0));
static_assert(noexcept(qwha::supported_order(640)));

void views() {
  std::array<float, 12> data{};
  qwha::rows_view<float> x(data.data(), 2, 5);
  EXPECT(x.stride == 5 && x.rows == 2 && x.cols == 5 && x.data == data.data());
  x = qwha::rows_view<float>{data.data(), 2, 5, 6};
  const qwha::rows_view<const float> same = x;
  EXPECT(same.stride == 6 && same.data == data.data());
}

void statuses() {
  EXPECT(!std::string(qwha::describe(qwha::status::ok)).empty());
  std::vector<float> row(7);
  const qwha::status s = qwha::wht<>(8).apply(qwha::rows_view<float>{row.data(), 1, 7});
  EXPECT(s != qwha::status::ok);
  EXPECT(std::string(qwha::describe(s)) != qwha::describe(qwha::status::ok));
}

template <class T>
void transforms_of() {
  // T_12 ⊗ S_2 on 1 … 24: values of the reference.
  const std::array<int, 24> expected{-294, 10, 54,  -2, 14, -2, 62, -2, 22, -2, -18, -2,
                                     -58,  -2, -10, -2, 38, -2, 86, -2, 46, -2, 94,  -2};
  std::array<T, 24> x{};
  const auto refill = [&] {
    for (std::size_t i = 0; i < 24; ++i) x[i] = static_cast<T>(static_cast<float>(i + 1));
  };
  const qwha::rows_view<T> view{x.data(), 1, 24};
  const qwha::wht<qwha::scalar, 24> fixed;
  const qwha::wht<qwha::native, 24> fast;
  const qwha::wht<> dynamic(24);
  EXPECT(fixed.order() == 24 && dynamic.order() == 24);
  static_assert(noexcept(fixed.order()) && noexcept(dynamic.apply(view)) && noexcept(dynamic.apply_transpose(view)));

  refill();
  EXPECT(fixed.apply(view, qwha::scaling::none) == qwha::status::ok);
  for (std::size_t i = 0; i < 24; ++i)
    EXPECT(std::abs(static_cast<float>(x[i]) - static_cast<float>(expected[i])) <=
           0.01f * std::abs(static_cast<float>(expected[i])));
  EXPECT(fast.apply_transpose(view, qwha::scaling::inverse) == qwha::status::ok);
  for (std::size_t i = 0; i < 24; ++i) EXPECT(std::abs(static_cast<float>(x[i]) - static_cast<float>(i + 1)) <= 0.5f);
  refill();
  EXPECT(dynamic.apply(view) == qwha::status::ok);  // orthonormal
  EXPECT(dynamic.apply_transpose(view) == qwha::status::ok);
  for (std::size_t i = 0; i < 24; ++i) EXPECT(std::abs(static_cast<float>(x[i]) - static_cast<float>(i + 1)) <= 0.5f);
}

void transforms() {
  transforms_of<float>();
  transforms_of<double>();
  transforms_of<qwha::half>();
  transforms_of<qwha::bfloat16>();
  EXPECT(qwha::order_name(18944) == "P2(73)xS128" && qwha::order_name(18).empty());
  EXPECT_THROWS(qwha::wht<>(18), qwha::unsupported_order);
}

template <class Q>
void quantizes(float tolerance) {
  static_assert(qwha::quantizer<Q> && qwha::group_quantizer<Q>);
  std::vector<float> w(6 * 128), out(6 * 128), row(128);
  for (std::size_t i = 0; i < w.size(); ++i) w[i] = std::sin(static_cast<float>(i));
  const qwha::rows_view<const float> view{w.data(), 6, 128};
  const qwha::quantized_matrix<Q> q = qwha::quantize<Q>(view);
  const qwha::quantized_matrix<Q> with_policy = qwha::quantize<Q>(view, qwha::round_to_nearest{});
  EXPECT(q.rows() == 6 && q.cols() == 128 && q.size_bytes() > 0 && q.size_bytes() < w.size() * sizeof(float));
  EXPECT(with_policy.size_bytes() == q.size_bytes());
  q.dequantize(qwha::rows_view<float>{out.data(), 6, 128});
  q.dequantize_row(5, std::span<float>(row));
  for (std::size_t i = 0; i < w.size(); ++i) EXPECT(std::abs(out[i] - w[i]) <= tolerance);
  EXPECT(std::equal(row.begin(), row.end(), out.begin() + 5 * 128));
}

void quantizers() {
  quantizes<qwha::affine<2, 64>>(0.5f);
  quantizes<qwha::affine<3, 64, qwha::zero_point::symmetric>>(0.5f);
  quantizes<qwha::affine<4, 64, qwha::zero_point::asymmetric>>(0.1f);
  quantizes<qwha::affine<8, 32>>(0.01f);
  quantizes<qwha::nf4<>>(0.25f);
  quantizes<qwha::nf4<32>>(0.25f);
  quantizes<qwha::mxfp4>(0.5f);
  quantizes<qwha::nvfp4>(0.5f);
  static_assert(!qwha::quantizer<int> && !qwha::group_quantizer<float>);
  static_assert(qwha::quantizer<qwha::q4_0> && qwha::quantizer<qwha::q8_0> && qwha::quantizer<qwha::q2_k> &&
                qwha::quantizer<qwha::q3_k> && qwha::quantizer<qwha::q4_k> && qwha::quantizer<qwha::q5_k> &&
                qwha::quantizer<qwha::q6_k>);
}

void adapters() {
  constexpr std::size_t out = 4, in = 128, tokens = 3;
  std::vector<float> w(out * in), x(tokens * in), y(tokens * out), dense(out * in), merged(out * in), base_w(out * in);
  for (std::size_t i = 0; i < w.size(); ++i) w[i] = std::sin(static_cast<float>(i));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = std::cos(static_cast<float>(3 * i));
  using quantizer = qwha::affine<4, 64>;
  const auto base = qwha::quantize<quantizer>(qwha::rows_view<const float>{w.data(), out, in});

  // Two coefficients in row 0, none in row 1, one in rows 2 and 3.
  qwha::sparse_spectrum<float> spectrum(out, in, {0, 2, 2, 3, 4}, {3, 100, 7, 0}, {0.5f, -1.0f, 2.0f, 0.25f});
  EXPECT(spectrum.rows() == out && spectrum.cols() == in && spectrum.size() == 4);
  const std::span<const std::uint32_t> first = std::as_const(spectrum).columns(0);
  EXPECT(first.size() == 2 && first[0] == 3 && first[1] == 100);
  const std::span<const float> second = std::as_const(spectrum).values(2);
  EXPECT(second.size() == 1 && second[0] == 2.0f);
  std::span<float> all = spectrum.values();
  EXPECT(all.size() == 4);

  qwha::sparse_spectral_adapter<float, quantizer> adapter(base, spectrum);
  static_assert(
      std::is_same_v<decltype(adapter), qwha::sparse_spectral_adapter<float, quantizer, qwha::wht<qwha::native>>>);
  EXPECT(adapter.spectrum().size() == 4);
  adapter.delta(qwha::rows_view<float>{dense.data(), out, in});
  adapter.merge(qwha::rows_view<float>{merged.data(), out, in});
  base.dequantize(qwha::rows_view<float>{base_w.data(), out, in});
  for (std::size_t i = 0; i < w.size(); ++i) EXPECT(std::abs(merged[i] - base_w[i] - dense[i]) <= 1e-6f);

  EXPECT(adapter.forward(qwha::rows_view<const float>{x.data(), tokens, in},
                         qwha::rows_view<float>{y.data(), tokens, out}) == qwha::status::ok);
  for (std::size_t t = 0; t < tokens; ++t)
    for (std::size_t o = 0; o < out; ++o) {
      double sum = 0;
      for (std::size_t i = 0; i < in; ++i)
        sum += static_cast<double>(merged[o * in + i]) * static_cast<double>(x[t * in + i]);
      EXPECT(std::abs(sum - static_cast<double>(y[t * out + o])) <= 1e-4);
    }

  std::vector<float> dy(tokens * out, 1.0f), dx(tokens * in), dvalues(4, 10.0f);
  EXPECT(adapter.backward(
             qwha::rows_view<const float>{x.data(), tokens, in}, qwha::rows_view<const float>{dy.data(), tokens, out},
             qwha::rows_view<float>{dx.data(), tokens, in}, std::span<float>(dvalues)) == qwha::status::ok);
  for (std::size_t i = 0; i < in; ++i) {
    double sum = 0;
    for (std::size_t o = 0; o < out; ++o) sum += static_cast<double>(merged[o * in + i]);
    EXPECT(std::abs(sum - static_cast<double>(dx[i])) <= 1e-4);
  }
  EXPECT(dvalues[0] != 10.0f);
}

}  // namespace

int main() {
  views();
  statuses();
  transforms();
  quantizers();
  adapters();
  return qwha::test::failures == 0 ? 0 : 1;
}
