// SPDX-License-Identifier: MIT
/// Decoding throughput of every format on one thread, next to a memcpy of the same output. Rates count the bytes of the
/// float output; `share_of_copy` is the rate over that of the copy.

#include <benchmark/benchmark.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include <qwha/base/aligned_buffer.hpp>
#include <qwha/base/random.hpp>
#include <qwha/quant/affine.hpp>
#include <qwha/quant/gguf_blocks.hpp>
#include <qwha/quant/mxfp4.hpp>
#include <qwha/quant/nf4.hpp>
#include <qwha/quant/nvfp4.hpp>
#include <qwha/quant/quantized_matrix.hpp>

namespace {

constexpr std::size_t rows = 64;
constexpr std::size_t cols = 2048;  // a slab of 512 KiB: what a product works through at a time

double copy_seconds() {
  static const double seconds = [] {
    qwha::aligned_buffer<float> in(rows * cols, 1.0f), out(rows * cols, 0.0f);
    double best = 1;
    for (int repeat = 0; repeat < 200; ++repeat) {
      const auto start = std::chrono::steady_clock::now();
      std::memcpy(out.data(), in.data(), rows * cols * sizeof(float));
      benchmark::DoNotOptimize(out.data());
      benchmark::ClobberMemory();
      const std::chrono::duration<double> d = std::chrono::steady_clock::now() - start;
      best = d.count() < best ? d.count() : best;
    }
    return best;
  }();
  return seconds;
}

void copy(benchmark::State& state) {
  qwha::aligned_buffer<float> in(rows * cols, 1.0f), out(rows * cols, 0.0f);
  for (auto _ : state) {
    std::memcpy(out.data(), in.data(), rows * cols * sizeof(float));
    benchmark::DoNotOptimize(out.data());
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(rows * cols * sizeof(float)));
}

template <class Q>
void dequantize(benchmark::State& state) {
  constexpr std::size_t blocks = rows * cols / Q::block_size;
  const qwha::counter_random random(1);
  std::vector<std::byte> codes(blocks * Q::code_bytes), parameters(blocks * Q::parameter_bytes);
  for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::byte>(random.below(64, i));
  for (auto& p : parameters) p = std::byte{0x3c};
  const auto m = qwha::quantized_matrix<Q>::refer(rows, cols, codes, parameters);
  qwha::aligned_buffer<float> out(rows * cols, 0.0f);
  const qwha::rows_view<float> view(out.data(), rows, cols);
  const auto start = std::chrono::steady_clock::now();
  for (auto _ : state) {
    m.dequantize(view);
    benchmark::DoNotOptimize(out.data());
    benchmark::ClobberMemory();
  }
  const std::chrono::duration<double> d = std::chrono::steady_clock::now() - start;
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(rows * cols * sizeof(float)));
  state.counters["share_of_copy"] = copy_seconds() * static_cast<double>(state.iterations()) / d.count();
  state.counters["bits_per_weight"] = 8.0 * static_cast<double>(m.size_bytes()) / (rows * cols);
}

template <class... Q>
void add() {
  (benchmark::RegisterBenchmark(Q::name().c_str(), dequantize<Q>), ...);
}

}  // namespace

int main(int argc, char** argv) {
  using qwha::zero_point;
  benchmark::RegisterBenchmark("memcpy", copy);
  add<qwha::affine<2, 64>, qwha::affine<3, 64>, qwha::affine<4, 64>, qwha::affine<8, 64>,
      qwha::affine<4, 128, zero_point::symmetric>, qwha::nf4<>, qwha::mxfp4, qwha::nvfp4>();
  add<qwha::q4_0, qwha::q4_1, qwha::q5_0, qwha::q5_1, qwha::q8_0, qwha::q2_k, qwha::q3_k, qwha::q4_k, qwha::q5_k,
      qwha::q6_k>();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
