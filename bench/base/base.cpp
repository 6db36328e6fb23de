// SPDX-License-Identifier: MIT
// What everything else stands on, one by one: conversions of 16-bit types, the search for NaN, random numbers by
// counter, and what a parallel loop costs that does nothing.
#include <benchmark/benchmark.h>

#include <cstddef>

#include <qwha/base/aligned_buffer.hpp>
#include <qwha/base/executor.hpp>
#include <qwha/base/finite.hpp>
#include <qwha/base/float16.hpp>
#include <qwha/base/random.hpp>
#include <qwha/base/simd.hpp>

namespace {

constexpr std::size_t width = qwha::lanes<qwha::native, float>;

template <class From, class To>
void convert(benchmark::State& state) {
  const auto n = static_cast<std::size_t>(state.range(0));
  const qwha::aligned_buffer<From> from(n, From(1.0f));
  qwha::aligned_buffer<To> to(n, To(0.0f));
  for (auto _ : state) {
    for (std::size_t i = 0; i < n; i += width)
      qwha::store_as(to.data() + i, qwha::load_as<float, width>(from.data() + i));
    benchmark::ClobberMemory();
  }
  state.counters["bytes"] = static_cast<double>(n * (sizeof(From) + sizeof(To)));
}

void finite(benchmark::State& state) {
  const auto n = static_cast<std::size_t>(state.range(0));
  const qwha::aligned_buffer<float> x(n, 1.0f);
  for (auto _ : state) benchmark::DoNotOptimize(qwha::all_finite(x.data(), n));
  state.counters["bytes"] = static_cast<double>(n * sizeof(float));
}

void random(benchmark::State& state) {
  const auto n = static_cast<std::size_t>(state.range(0));
  const qwha::counter_random uniform(1);
  qwha::aligned_buffer<float> x(n);
  for (auto _ : state) {
    for (std::size_t i = 0; i < n; ++i) x[i] = static_cast<float>(uniform.uniform(i));
    benchmark::ClobberMemory();
  }
  state.counters["bytes"] = static_cast<double>(n * sizeof(float));
}

void loop(benchmark::State& state, const qwha::executor& where) {
  const auto chunks = static_cast<std::size_t>(state.range(0));
  for (auto _ : state)
    qwha::parallel_for(where, chunks, 1, [](std::size_t begin, std::size_t) { benchmark::DoNotOptimize(begin); });
}

void sizes(benchmark::internal::Benchmark* b) { b->ArgName("numbers")->Arg(4096)->Arg(1 << 24)->UseRealTime(); }
void chunk_counts(benchmark::internal::Benchmark* b) {
  b->ArgName("chunks")->RangeMultiplier(16)->Range(1, 4096)->UseRealTime();
}

BENCHMARK(convert<qwha::half, float>)->Name("convert: half to float")->Apply(sizes);
BENCHMARK(convert<float, qwha::half>)->Name("convert: float to half")->Apply(sizes);
BENCHMARK(convert<qwha::bfloat16, float>)->Name("convert: bfloat16 to float")->Apply(sizes);
BENCHMARK(convert<float, qwha::bfloat16>)->Name("convert: float to bfloat16")->Apply(sizes);
BENCHMARK(finite)->Name("scan: all_finite")->Apply(sizes);
BENCHMARK(random)->Name("write: counter_random")->Apply(sizes);
BENCHMARK_CAPTURE(loop, serial, qwha::executor::serial())->Name("parallel_for: serial")->Apply(chunk_counts);
BENCHMARK_CAPTURE(loop, threads, qwha::default_executor())->Name("parallel_for: all threads")->Apply(chunk_counts);

}  // namespace
