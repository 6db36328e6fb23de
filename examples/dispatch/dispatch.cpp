// SPDX-License-Identifier: MIT
// One binary for every x86-64 machine: the same adapted layer compiled for SSE, AVX2 and AVX-512, chosen at run time.
// usage: dispatch [sse|avx2|avx512]      (default: the best that this processor has)

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include <qwha/base/error.hpp>
#include <qwha/base/random.hpp>
#include <qwha/quant/quantize.hpp>

#include "linear.hpp"

namespace {

constexpr std::size_t out = 1024, in = 640, per_row = 24, tokens = 4;

struct choice {
  const dispatch::kernels* kernels;
  bool runs_here;
};

/// Best first. The questions are those that the levels x86-64-v3 and x86-64-v4 answer with yes, as far as qwha uses them.
std::vector<choice> choices() {
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
                  __builtin_cpu_supports("bmi2");
  const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512vl");
  return {{&dispatch_kernels_avx512, v4}, {&dispatch_kernels_avx2, v3}, {&dispatch_kernels_sse, true}};
}

std::vector<float> numbers(std::size_t count, std::uint64_t seed) {
  const qwha::counter_random random(seed);
  std::vector<float> x(count);
  for (std::size_t i = 0; i < count; ++i) x[i] = static_cast<float>(random.uniform(i) - 0.5);
  return x;
}

qwha::sparse_spectrum<float> coefficients(std::size_t rows, std::size_t cols) {
  const qwha::counter_random random(3);
  std::vector<qwha::spectrum_entry<float>> entries;
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t k = 0; k < per_row; ++k)
      entries.push_back({r, (k * 25 + r) % cols, static_cast<float>(random.uniform(r * per_row + k) - 0.5) / 8});
  return qwha::spectrum_from_entries(rows, cols, std::move(entries));
}

/// Microseconds of one call: the fastest of a hundred.
double microseconds(const dispatch::linear& layer, qwha::rows_view<const float> x, qwha::rows_view<float> y) {
  double best = HUGE_VAL;
  for (int repetition = 0; repetition < 100; ++repetition) {
    const auto start = std::chrono::steady_clock::now();
    if (layer.forward(x, y) != qwha::status::ok) return HUGE_VAL;
    best = std::min(best, std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

int compare(const char* wanted) {
  const std::vector<float> weight = numbers(out * in, 1), input = numbers(tokens * in, 2);
  const auto base = qwha::quantize<dispatch::format>(qwha::rows_view<const float>(weight.data(), out, in));
  const auto spectrum = coefficients(out, in);
  const qwha::rows_view<const float> x(input.data(), tokens, in);

  // An exception of isolated kernels is caught by its type like any other.
  try {
    dispatch_kernels_sse.make_linear(base, coefficients(out, in / 2));
    std::fprintf(stderr, "a spectrum of another shape was taken\n");
    return 1;
  } catch (const qwha::shape_error&) {
  }

  const dispatch::kernels* used = nullptr;
  std::vector<float> reference(tokens * out);
  if (dispatch_kernels_sse.make_linear(base, spectrum)->forward(x, {reference.data(), tokens, out}) != qwha::status::ok)
    return 1;
  std::printf("layer [%zu, %zu], 4 bits, %zu coefficients a row, %zu tokens\n", out, in, per_row, tokens);
  for (const auto& [kernels, runs_here] : choices()) {
    if (!runs_here) {
      std::printf("  %-7s not on this processor\n", kernels->name);
      continue;
    }
    const bool chosen = used == nullptr && (wanted == nullptr || std::strcmp(wanted, kernels->name) == 0);
    if (chosen) used = kernels;
    const std::unique_ptr<dispatch::linear> layer = kernels->make_linear(base, spectrum);
    std::vector<float> y(tokens * out);
    const double time = microseconds(*layer, x, {y.data(), tokens, out});
    double difference = 0, largest = 0;
    for (std::size_t i = 0; i < y.size(); ++i) {
      difference = std::max(difference, std::fabs(static_cast<double>(y[i]) - static_cast<double>(reference[i])));
      largest = std::max(largest, std::fabs(static_cast<double>(reference[i])));
    }
    std::printf("  %-7s %8.1f us, largest difference to sse %.1e of the largest output%s\n", kernels->name, time,
                difference / largest, chosen ? "   <- chosen" : "");
    if (!(difference <= 1e-5 * largest)) return 1;
  }
  if (used == nullptr) {
    std::fprintf(stderr, "%s: not an instruction set of this program and processor\n", wanted);
    return 1;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return compare(argc > 1 ? argv[1] : nullptr);
  } catch (const qwha::error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
