// SPDX-License-Identifier: MIT
// Products of the example engine beside Eigen's own on the shapes of Gemma 3 270M: x [2048 tokens, in] times W [out,
// in]ᵀ, in one thread. `flops` is the rate; the engine's share of Eigen's is the figure to look at. The engine adds its
// tiles, and the decoding of quantized weights.

#include <cstdint>
#include <utility>

#include <benchmark/benchmark.h>
#include <qwha/base/random.hpp>
#include <qwha/quant/affine.hpp>
#include <qwha/quant/quantize.hpp>

#include <engine/eigen_view.hpp>
#include <engine/linear.hpp>

namespace {

constexpr std::size_t tokens = 2048;

engine::matrix random_matrix(std::size_t rows, std::size_t cols, std::uint64_t seed) {
  const qwha::counter_random random(seed);
  engine::matrix m(rows, cols);
  for (std::size_t i = 0; i < rows * cols; ++i) m.row(0)[i] = static_cast<float>(random.uniform(i) - 0.5);
  return m;
}

struct shapes {
  std::size_t out, in;
  engine::matrix x, w, y;
  explicit shapes(const benchmark::State& state)
      : out(static_cast<std::size_t>(state.range(0))),
        in(static_cast<std::size_t>(state.range(1))),
        x(random_matrix(tokens, in, 1)),
        w(random_matrix(out, in, 2)),
        y(tokens, out) {}
  void rate(benchmark::State& state) const {
    state.counters["flops"] =
        benchmark::Counter(2.0 * static_cast<double>(tokens * out * in), benchmark::Counter::kIsIterationInvariantRate);
  }
};

void eigen_alone(benchmark::State& state) {
  shapes s(state);
  const engine::matrix& x = s.x;
  const engine::matrix& w = s.w;
  for (auto _ : state) {
    engine::eigen(s.y.view()).noalias() = engine::eigen(x.view()) * engine::eigen(w.view()).transpose();
    benchmark::ClobberMemory();
  }
  s.rate(state);
}
void engine_dense(benchmark::State& state) {
  shapes s(state);
  const engine::linear layer = engine::make_dense(std::move(s.w));
  for (auto _ : state) {
    layer.forward(s.x.view(), s.y.view(), engine::executor::serial());
    benchmark::ClobberMemory();
  }
  s.rate(state);
}
void engine_int4(benchmark::State& state) {
  shapes s(state);
  const engine::linear layer = engine::make_quantized(qwha::quantize<qwha::affine<4, 64>>(s.w.view()));
  for (auto _ : state) {
    layer.forward(s.x.view(), s.y.view(), engine::executor::serial());
    benchmark::ClobberMemory();
  }
  s.rate(state);
}

void gemma(benchmark::internal::Benchmark* b) {
  b->ArgNames({"out", "in"})
      ->Args({256, 640})
      ->Args({1024, 640})
      ->Args({640, 1024})
      ->Args({2048, 640})
      ->Args({640, 2048})
      ->Args({4096, 640});
}
BENCHMARK(eigen_alone)->Apply(gemma);
BENCHMARK(engine_dense)->Apply(gemma);
BENCHMARK(engine_int4)->Apply(gemma);

}  // namespace

BENCHMARK_MAIN();
