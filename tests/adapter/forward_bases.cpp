// SPDX-License-Identifier: MIT
// Forward, merge and backward over bases of every kind: group formats, block formats, rows that end inside a block.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "catch.hpp"
#include "oracle.hpp"

#include <qwha/adapter/sparse_spectral_adapter.hpp>
#include <qwha/quant/affine.hpp>
#include <qwha/quant/gguf_blocks.hpp>
#include <qwha/quant/nf4.hpp>
#include <qwha/quant/quantize.hpp>

namespace {

template <class Q>
qwha::quantized_matrix<Q> make_base(std::size_t out, std::size_t in, std::vector<std::byte>& memory) {
  if constexpr (std::is_same_v<Q, qwha::q4_k>) {  // read only: blocks of random codes under two small half scales
    const std::size_t blocks = out * ((in + 255) / 256);
    memory.resize(blocks * Q::code_bytes);
    const qwha::counter_random random(19);
    for (std::size_t i = 0; i < memory.size(); ++i) memory[i] = static_cast<std::byte>(random.bits(i) & 255);
    const std::uint16_t scales[2] = {qwha::half(0.002f).bits, qwha::half(0.01f).bits};
    for (std::size_t b = 0; b < blocks; ++b) std::memcpy(memory.data() + b * Q::code_bytes, scales, sizeof scales);
    return qwha::quantized_matrix<Q>::refer(out, in, memory);
  } else {
    const oracle::strided w(out, in, 0, 21);
    return qwha::quantize<Q>(w.view());
  }
}

}  // namespace

TEMPLATE_TEST_CASE("adapters over every kind of base", "[adapter]", (qwha::affine<2, 64>),
                   (qwha::affine<3, 32, qwha::zero_point::symmetric>), (qwha::affine<8, 128>), qwha::nf4<64>,
                   qwha::q4_k) {
  const std::size_t out = 75;
  for (const std::size_t in : {std::size_t{96}, std::size_t{256}, std::size_t{640}}) {
    INFO(TestType::name() << ", in " << in);
    std::vector<std::byte> memory;
    const auto base = make_base<TestType>(out, in, memory);
    const qwha::sparse_spectral_adapter<float, TestType> adapter(base, oracle::random_spectrum<float>(out, in, 9, in));
    const oracle::matrix t = oracle::transform(in), wq = oracle::dense(base);
    const oracle::matrix w = oracle::sum(oracle::delta(adapter.spectrum(), t), wq);
    for (const std::size_t tokens : {1, 18}) {
      const oracle::strided x(tokens, in, 2, 33);
      const oracle::matrix exact = oracle::product_transposed(oracle::dense(x.view()), w);
      const oracle::matrix bound = oracle::forward_bound(oracle::dense(x.view()), wq, adapter.spectrum());
      for (const auto path : {qwha::adapter_path::activations, qwha::adapter_path::weights}) {
        INFO(tokens << " tokens, path " << static_cast<int>(path));
        oracle::strided y(tokens, out, 1);
        REQUIRE(adapter.forward(x.view(), y.view(), {.path = path}) == qwha::status::ok);
        CHECK(oracle::first_difference(y.view(), exact, bound) == "");
      }
    }

    // dx = dy W is the forward pass through the transposed matrix: the same bound, with in and out exchanged, plus that
    // of the coefficients: at most `in` of them meet in one element.
    const std::size_t tokens = 5;
    const oracle::strided x(tokens, in, 0, 34), dy(tokens, out, 4, 35);
    oracle::strided dx(tokens, in, 3);
    std::vector<float> dvalues(adapter.spectrum().size(), 0.0f);
    REQUIRE(adapter.backward(x.view(), dy.view(), dx.view(), dvalues) == qwha::status::ok);
    const oracle::matrix d = oracle::dense(dy.view());
    const oracle::matrix exact = oracle::product(d, w);
    oracle::matrix dense_f(out, in);
    for (std::size_t r = 0; r < out; ++r)
      for (std::size_t k = 0; k < adapter.spectrum().columns(r).size(); ++k)
        dense_f(r, adapter.spectrum().columns(r)[k]) = static_cast<double>(adapter.spectrum().values(r)[k]);
    const oracle::matrix through_base = oracle::product(oracle::magnitudes(d), oracle::magnitudes(wq));
    const oracle::matrix through_spectrum = oracle::product(oracle::magnitudes(d), oracle::magnitudes(dense_f));
    oracle::matrix bound(tokens, in);
    const double eps = std::numeric_limits<float>::epsilon();
    for (std::size_t row = 0; row < tokens; ++row) {
      double norm = 0;
      for (std::size_t c = 0; c < in; ++c) norm += through_spectrum(row, c) * through_spectrum(row, c);
      for (std::size_t c = 0; c < in; ++c)
        bound(row, c) = eps * (2 * std::sqrt(static_cast<double>(out)) + 8) * through_base(row, c) +
                        eps * (2 * std::sqrt(static_cast<double>(out)) + 10 + 12 + 8) * std::sqrt(norm);
    }
    CHECK(oracle::first_difference(dx.view(), exact, bound) == "");
  }
}
