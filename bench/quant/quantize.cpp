// SPDX-License-Identifier: MIT
/// Round-to-nearest quantization of a matrix on one thread, with both searches for the scale. Items are weights.

#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <qwha/base/executor.hpp>
#include <qwha/base/random.hpp>
#include <qwha/quant/affine.hpp>
#include <qwha/quant/gguf_blocks.hpp>
#include <qwha/quant/mxfp4.hpp>
#include <qwha/quant/nf4.hpp>
#include <qwha/quant/nvfp4.hpp>
#include <qwha/quant/quantize.hpp>

namespace {

template <class Q>
void quantize(benchmark::State& state, qwha::grid_search search) {
  constexpr std::size_t rows = 64, cols = 1024;
  const qwha::counter_random random(1);
  std::vector<float> w(rows * cols);
  for (std::size_t i = 0; i < w.size(); ++i)
    w[i] = static_cast<float>(random.uniform(3 * i) + random.uniform(3 * i + 1) + random.uniform(3 * i + 2) - 1.5);
  const qwha::rows_view<const float> view(w.data(), rows, cols);
  for (auto _ : state) {
    auto q = qwha::quantize<Q>(view, qwha::round_to_nearest{search}, qwha::executor::serial());
    benchmark::DoNotOptimize(q);
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(rows * cols));
}

template <class... Q>
void add() {
  for (const bool mse : {false, true})
    (benchmark::RegisterBenchmark((Q::name() + (mse ? ", mse" : ", min-max")).c_str(), quantize<Q>,
                                  mse ? qwha::grid_search::mse : qwha::grid_search::min_max),
     ...);
}

}  // namespace

int main(int argc, char** argv) {
  add<qwha::affine<2, 64>, qwha::affine<3, 64>, qwha::affine<4, 64>, qwha::affine<8, 64>, qwha::nf4<>, qwha::mxfp4,
      qwha::nvfp4, qwha::q4_0, qwha::q8_0>();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
