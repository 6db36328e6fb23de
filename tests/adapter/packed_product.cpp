// SPDX-License-Identifier: MIT
// One token through packed rows, for every format that skips the detour through memory, and rows of every length.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "catch.hpp"
#include "oracle.hpp"

#include <qwha/adapter/base_product.hpp>
#include <qwha/quant/affine.hpp>

namespace {

/// Random codes in memory that ends with the last row, the surplus of short groups included; scales near 0.1, any zero
/// point. Every byte belongs to a heap block of exactly its plane's size, so that a sanitizer sees a read past it.
template <class Q>
struct planes {
  planes(std::size_t rows, std::size_t cols) {
    const qwha::counter_random random(cols * 31 + rows);
    const std::size_t blocks = rows * ((cols + Q::block_size - 1) / Q::block_size);
    codes.resize(blocks * Q::code_bytes);
    parameters.resize(blocks * Q::parameter_bytes);
    for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::byte>(random.bits(i) & 255);
    for (std::size_t b = 0; b < blocks; ++b) {
      std::byte* p = parameters.data() + b * Q::parameter_bytes;
      using scale_type = typename Q::scale_type;
      const scale_type scale(0.05f + 0.1f * static_cast<float>(random.uniform(codes.size() + b)));
      std::memcpy(p, &scale, sizeof(scale));
      if (Q::parameter_bytes > sizeof(scale))
        p[sizeof(scale)] = static_cast<std::byte>(random.bits(2 * codes.size() + b) % 16);
    }
    matrix = qwha::quantized_matrix<Q>::refer(rows, cols, codes, parameters);
  }
  std::vector<std::byte> codes, parameters;
  qwha::quantized_matrix<Q> matrix;
};

template <class Q>
std::vector<float> product(const qwha::quantized_matrix<Q>& base, const float* x) {
  std::vector<float> y(base.rows()), scratch(qwha::detail::base_forward_one_floats<Q>(base.cols()) + 16);
  auto* aligned = reinterpret_cast<float*>((reinterpret_cast<std::uintptr_t>(scratch.data()) + 63) / 64 * 64);
  qwha::detail::base_forward_one(base, x, y.data(), aligned, qwha::executor::serial(),
                                 [](std::size_t, std::size_t count, float* sums) { std::fill_n(sums, count, 0.0f); });
  return y;
}

}  // namespace

TEMPLATE_TEST_CASE("one token times packed rows is the definition", "[adapter]", (qwha::affine<4, 16>),
                   (qwha::affine<4, 32>), (qwha::affine<4, 64>), (qwha::affine<4, 128>), (qwha::affine<4, 256>),
                   (qwha::affine<4, 64, qwha::zero_point::symmetric>),
                   (qwha::affine<4, 32, qwha::zero_point::symmetric, qwha::bfloat16>),
                   (qwha::affine<4, 64, qwha::zero_point::asymmetric, qwha::bfloat16>),
                   (qwha::affine<4, 128, qwha::zero_point::asymmetric, qwha::bfloat16>),
                   (qwha::affine<4, 64, qwha::zero_point::asymmetric, float>), (qwha::affine<4, 24>),
                   (qwha::affine<4, 2>)) {
  for (const std::size_t cols : {1, 7, 63, 64, 65, 128, 130, 200, 640, 1024, 1040, 1100, 2500, 4100, 9000}) {
    const std::size_t rows = 5;
    INFO(TestType::name() << ", " << cols << " columns");
    const planes<TestType> p(rows, cols);
    const oracle::strided x(1, cols, 3, 41);
    const std::vector<float> y = product(p.matrix, x.view().data);
    const oracle::matrix w = oracle::dense(p.matrix);
    for (std::size_t r = 0; r < rows; ++r) {
      // Codes are at most 15 and offsets at most 15: what is summed is at most 30 scale |x|, each with a few roundings.
      double exact = 0, magnitude = 0;
      for (std::size_t c = 0; c < cols; ++c) {
        exact += w(r, c) * static_cast<double>(x.view()(0, c));
        magnitude += 30 * 0.15 * std::fabs(static_cast<double>(x.view()(0, c)));
      }
      const double bound = std::numeric_limits<float>::epsilon() * (2 * std::sqrt(static_cast<double>(cols)) + 8);
      CHECK(std::fabs(static_cast<double>(y[r]) - exact) <= bound * magnitude);
    }
  }
}
