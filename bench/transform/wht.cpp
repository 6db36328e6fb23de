// SPDX-License-Identifier: MIT
// The transform in the first-level cache (one row) and over a batch larger than the caches, beside a plain loop and the
// in-place scaling x *= c of the same memory. `bytes_per_second` counts one read and one write; compare `copy` of the
// same size.

#include <cmath>
#include <cstddef>
#include <cstdint>

#include <benchmark/benchmark.h>

#include <qwha/base/aligned_buffer.hpp>
#include <qwha/base/float16.hpp>
#include <qwha/base/rows_view.hpp>
#include <qwha/transform/wht.hpp>

namespace {

using qwha::aligned_buffer;
using qwha::rows_view;

/// The textbook's three loops, as the compiler vectorizes them.
template <class T>
void plain_loop(T* x, std::size_t n) {
  for (std::size_t h = 1; h < n; h *= 2)
    for (std::size_t i = 0; i < n; i += 2 * h)
      for (std::size_t j = i; j < i + h; ++j) {
        const T a = x[j], b = x[j + h];
        x[j] = a + b;
        x[j + h] = a - b;
      }
  const T scale = static_cast<T>(1 / std::sqrt(static_cast<double>(n)));
  for (std::size_t i = 0; i < n; ++i) x[i] *= scale;
}

template <class T>
aligned_buffer<T> numbers(std::size_t count) {
  aligned_buffer<T> x(count);
  for (std::size_t i = 0; i < count; ++i) x[i] = static_cast<T>(static_cast<float>(i % 7) - 3.0f);
  return x;
}

template <class T>
void set_bytes(benchmark::State& state, std::size_t count) {
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(2 * count * sizeof(T)));
}

template <class T>
void wht_row(benchmark::State& state) {
  const auto n = static_cast<std::size_t>(state.range(0));
  const qwha::wht<> transform(n);
  auto x = numbers<T>(n);
  for (auto _ : state)
    if (transform.apply(rows_view<T>{x.data(), 1, n}) != qwha::status::ok) state.SkipWithError("apply");
  state.SetLabel(transform.name());
  set_bytes<T>(state, n);
}

template <class T>
void plain_row(benchmark::State& state) {
  const auto n = static_cast<std::size_t>(state.range(0));
  auto x = numbers<T>(n);
  for (auto _ : state) {
    plain_loop(x.data(), n);
    benchmark::ClobberMemory();
  }
  set_bytes<T>(state, n);
}

constexpr std::size_t batch_bytes = std::size_t{1} << 28;

template <class T>
void wht_batch(benchmark::State& state) {
  const auto n = static_cast<std::size_t>(state.range(0));
  const std::size_t rows = batch_bytes / sizeof(T) / n;
  const qwha::wht<> transform(n);
  auto x = numbers<T>(rows * n);
  for (auto _ : state)
    if (transform.apply(rows_view<T>{x.data(), rows, n}, qwha::scaling::orthonormal, qwha::executor::serial()) !=
        qwha::status::ok)
      state.SkipWithError("apply");
  state.SetLabel(transform.name());
  set_bytes<T>(state, rows * n);
}

template <class T>
void scale_batch(benchmark::State& state) {
  const std::size_t count = batch_bytes / sizeof(T);
  auto x = numbers<T>(count);
  for (auto _ : state) {
    for (T& v : x) v *= static_cast<T>(-1);
    benchmark::ClobberMemory();
  }
  set_bytes<T>(state, count);
}

void powers(benchmark::internal::Benchmark* b) {
  for (int n = 64; n <= 65536; n *= 2) b->Arg(n);
}
void model_orders(benchmark::internal::Benchmark* b) {
  for (const int n : {640, 768, 1536, 2560, 3072, 3584, 4864, 7168, 11008, 14336, 18944}) b->Arg(n);
}

}  // namespace

BENCHMARK_TEMPLATE(wht_row, float)->Apply(powers)->Apply(model_orders);
BENCHMARK_TEMPLATE(plain_row, float)->Apply(powers);
BENCHMARK_TEMPLATE(wht_row, double)->RangeMultiplier(4)->Range(64, 65536);
BENCHMARK_TEMPLATE(wht_row, qwha::half)->RangeMultiplier(4)->Range(64, 65536);
BENCHMARK_TEMPLATE(wht_row, qwha::bfloat16)->RangeMultiplier(4)->Range(64, 65536);
BENCHMARK_TEMPLATE(scale_batch, float)->Unit(benchmark::kMillisecond);
BENCHMARK_TEMPLATE(wht_batch, float)->Apply(powers)->Arg(3584)->Arg(14336)->Unit(benchmark::kMillisecond);
BENCHMARK_TEMPLATE(wht_batch, qwha::half)->Arg(1024)->Arg(4096)->Unit(benchmark::kMillisecond);

BENCHMARK_MAIN();
