// SPDX-License-Identifier: MIT
// Decoding and round-to-nearest coding of every format, on one thread, beside a copy of as many floats: a slab of 512 KiB
// of floats, what a product works through at a time, and decoding of 64 MiB too, which no cache holds.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include <qwha/base/aligned_buffer.hpp>
#include <qwha/base/executor.hpp>
#include <qwha/base/random.hpp>
#include <qwha/quant/affine.hpp>
#include <qwha/quant/double_quantized.hpp>
#include <qwha/quant/fp4.hpp>
#include <qwha/quant/gguf_blocks.hpp>
#include <qwha/quant/int8_per_channel.hpp>
#include <qwha/quant/mxfp4.hpp>
#include <qwha/quant/nf4.hpp>
#include <qwha/quant/nvfp4.hpp>
#include <qwha/quant/quantize.hpp>
#include <qwha/quant/quantized_matrix.hpp>

#include "measure.hpp"

namespace {

constexpr std::size_t slab = 64, beyond_caches = 8192;  // rows
constexpr std::size_t cols = 2048;

template <class... Q>
struct formats {};
using affine_and_codebooks =
    formats<qwha::affine<2, 64>, qwha::affine<3, 64>, qwha::affine<4, 64>, qwha::affine<8, 64>,
            qwha::affine<4, 128, qwha::zero_point::symmetric>, qwha::nf4<>, qwha::fp4<>,
            qwha::double_quantized<qwha::nf4<>>, qwha::mxfp4, qwha::nvfp4, qwha::int8_per_channel>;
using gguf = formats<qwha::q4_0, qwha::q4_1, qwha::q5_0, qwha::q5_1, qwha::q8_0, qwha::q2_k, qwha::q3_k, qwha::q4_k,
                     qwha::q5_k, qwha::q6_k>;
using coded = formats<qwha::affine<4, 64>, qwha::affine<2, 64>, qwha::affine<3, 64>, qwha::affine<8, 64>, qwha::nf4<>,
                      qwha::fp4<>, qwha::double_quantized<qwha::nf4<>>, qwha::mxfp4, qwha::nvfp4, qwha::q4_0,
                      qwha::q8_0, qwha::q4_k, qwha::int8_per_channel>;

/// Any codes will do; the parameters are such that no weight is infinite.
template <class Q>
struct coded_matrix {
  std::vector<std::byte> codes, parameters;
  typename Q::matrix_parameters matrix;
  explicit coded_matrix(std::size_t rows)
      : codes(rows * cols / Q::block_size * Q::code_bytes),
        parameters(rows * cols / Q::block_size * Q::parameter_bytes, std::byte{0x3c}) {
    const qwha::counter_random random(1);
    for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::byte>(random.below(64, i));
    if constexpr (std::is_same_v<Q, qwha::int8_per_channel>) matrix.scales.assign(rows, 0.01f);
    if constexpr (std::is_same_v<typename Q::matrix_parameters, qwha::nested_absmax>)
      matrix.scales.assign(rows * cols / Q::block_size / 256 + 1, 0.01f);
  }
};

template <class... Q>
void decode(bench::session& s, const std::string& name, std::size_t rows, formats<Q...>) {
  if (!s.wanted(name)) return;
  const double floats = static_cast<double>(rows * cols * sizeof(float));
  qwha::aligned_buffer<float> in(rows * cols, 1.0f), out(rows * cols, 0.0f);
  bench::contest c{.name = name,
                   .parameter = "weights",
                   .value = static_cast<double>(rows * cols),
                   .reference = "memcpy",
                   .bandwidth = "memcpy"};
  c.seconds = 1;
  c.add("memcpy", [&] { std::memcpy(out.data(), in.data(), rows * cols * sizeof(float)); }, 2 * floats);
  const auto add = [&]<class Format>(std::unique_ptr<coded_matrix<Format>> codes) {
    const auto m = qwha::quantized_matrix<Format>::refer(rows, cols, codes->codes, codes->parameters, codes->matrix);
    const double bytes = floats + static_cast<double>(m.size_bytes());
    c.add(
        Format::name(),
        [m, kept = std::shared_ptr<coded_matrix<Format>>(std::move(codes)),
         view = qwha::rows_view<float>(out.data(), rows, cols)] { m.dequantize(view); },
        bytes);
  };
  (add(std::make_unique<coded_matrix<Q>>(rows)), ...);
  s.run(c);
}

template <class... Q>
void encode(bench::session& s, const std::string& name, qwha::grid_search search, formats<Q...>) {
  if (!s.wanted(name)) return;
  constexpr std::size_t rows = slab;
  const qwha::counter_random random(1);
  std::vector<float> w(rows * cols);
  for (std::size_t i = 0; i < w.size(); ++i)
    w[i] = static_cast<float>(random.uniform(3 * i) + random.uniform(3 * i + 1) + random.uniform(3 * i + 2) - 1.5);
  const qwha::rows_view<const float> view(w.data(), rows, cols);
  bench::contest c{.name = name, .parameter = "weights", .value = rows * cols, .reference = "int4 g64"};
  c.seconds = 1;
  (c.add(
       Q::name(),
       [=] { bench::computed(qwha::quantize<Q>(view, qwha::round_to_nearest{search}, qwha::executor::serial())); },
       static_cast<double>(w.size() * sizeof(float) + qwha::quantized_matrix<Q>(rows, cols).size_bytes())),
   ...);
  s.run(c);
}

}  // namespace

int main(int argc, char** argv) {
  bench::session s("quant", argc, argv);
  for (const std::size_t rows : {slab, beyond_caches}) {
    decode(s, "dequantize, own formats", rows, affine_and_codebooks{});
    decode(s, "dequantize, GGUF", rows, gguf{});
  }
  encode(s, "quantize, min-max", qwha::grid_search::min_max, coded{});
  encode(s, "quantize, least squares", qwha::grid_search::mse, coded{});
  return s.finish();
}
