// SPDX-License-Identifier: MIT
// Products of the example engine beside Eigen's own on the shapes of Gemma 3 270M: x [2048 tokens, in] times W [out,
// in]ᵀ, in one thread. The engine adds its tiles, and the decoding of quantized weights.
#include <cstddef>
#include <cstdint>
#include <string>

#include <qwha/base/random.hpp>
#include <qwha/quant/affine.hpp>
#include <qwha/quant/quantize.hpp>

#include <engine/eigen_view.hpp>
#include <engine/linear.hpp>

#include "measure.hpp"

namespace {

constexpr std::size_t tokens = 2048;

engine::matrix random_matrix(std::size_t rows, std::size_t cols, std::uint64_t seed) {
  const qwha::counter_random random(seed);
  engine::matrix m(rows, cols);
  for (std::size_t i = 0; i < rows * cols; ++i) m.row(0)[i] = static_cast<float>(random.uniform(i) - 0.5);
  return m;
}

void products(bench::session& s, std::size_t out, std::size_t in) {
  bench::contest c{.name = "product " + std::to_string(out) + "x" + std::to_string(in),
                   .parameter = "tokens",
                   .value = tokens,
                   .reference = "Eigen"};
  if (!s.wanted(c.name)) return;
  const engine::matrix x = random_matrix(tokens, in, 1), w = random_matrix(out, in, 2);
  engine::matrix y(tokens, out);
  const engine::linear quantized = engine::make_quantized(qwha::quantize<qwha::affine<4, 64>>(w.view()));
  const engine::linear dense = engine::make_dense(random_matrix(out, in, 2));
  const auto weights = static_cast<double>(out * in), activations = static_cast<double>(4 * tokens * (out + in));
  c.add(
      "Eigen",
      [&] { engine::eigen(y.view()).noalias() = engine::eigen(x.view()) * engine::eigen(w.view()).transpose(); },
      4 * weights + activations);
  c.add(
      "engine, dense", [&] { dense.forward(x.view(), y.view(), engine::executor::serial()); },
      4 * weights + activations);
  c.add(
      "engine, int4 g64", [&] { quantized.forward(x.view(), y.view(), engine::executor::serial()); },
      0.5625 * weights + activations);
  c.seconds = 0.5;
  s.run(c);
}

}  // namespace

int main(int argc, char** argv) {
  bench::session s("engine", argc, argv);
  products(s, 256, 640);
  products(s, 1024, 640);
  products(s, 640, 1024);
  products(s, 2048, 640);
  products(s, 640, 2048);
  products(s, 4096, 640);
  return s.finish();
}
