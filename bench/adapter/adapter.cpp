// SPDX-License-Identifier: MIT
// What an adapter adds to its base: forward passes by either path against the base alone and against LoRA of equal
// parameters, and a training step of both. Serial executor: one core. Counter `p`: coefficients; `adds`: time over that
// of the base alone, in percent, measured in the same process just before.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <map>
#include <span>
#include <vector>

#include <qwha/adapter/low_rank_adapter.hpp>
#include <qwha/adapter/sparse_spectral_adapter.hpp>
#include <qwha/base/random.hpp>
#include <qwha/quant/affine.hpp>
#include <qwha/quant/quantize.hpp>

namespace {

using base_format = qwha::affine<4, 64>;
using adapter_type = qwha::sparse_spectral_adapter<float, base_format>;

std::vector<float> random_values(std::size_t count, std::uint64_t seed) {
  const qwha::counter_random random(seed);
  std::vector<float> v(count);
  for (std::size_t i = 0; i < count; ++i) v[i] = static_cast<float>(random.uniform(i) - 0.5);
  return v;
}

/// One layer with a spectrum of the parameters of rank `rank`, spread evenly.
struct layer {
  layer(std::size_t out, std::size_t in, std::size_t rank)
      : base(qwha::quantize<base_format>(qwha::rows_view<const float>(random_values(out * in, 1).data(), out, in))),
        spectral(base, spectrum(out, in, rank * (out + in) / out)),
        low_rank(base, rank, random_values(rank * (out + in), 2)),
        none(base, spectrum(out, in, 0)) {}

  static qwha::sparse_spectrum<float> spectrum(std::size_t out, std::size_t in, std::size_t per_row) {
    const qwha::counter_random random(3);
    std::vector<std::size_t> offsets{0};
    std::vector<std::uint32_t> columns;
    for (std::size_t r = 0; r < out; ++r) {
      for (std::size_t c = 0, left = per_row; c < in; ++c)  // each subset of this size as likely as any other
        if (random.uniform(r * in + c) * static_cast<double>(in - c) < static_cast<double>(left)) {
          columns.push_back(static_cast<std::uint32_t>(c));
          --left;
        }
      offsets.push_back(columns.size());
    }
    auto values = random_values(columns.size(), 4);
    return {out, in, std::move(offsets), std::move(columns), std::move(values)};
  }

  qwha::quantized_matrix<base_format> base;
  adapter_type spectral;
  qwha::low_rank_adapter<base_format> low_rank;
  adapter_type none;
};

/// Made when first asked for: quantizing takes longer than measuring.
const layer& layer_of(std::size_t out, std::size_t in, std::size_t rank) {
  static std::map<std::array<std::size_t, 3>, layer> made;
  return made.try_emplace({out, in, rank}, out, in, rank).first->second;
}

struct batch {
  batch(const layer& l, std::size_t tokens)
      : x_(random_values(tokens * l.base.cols(), 5)),
        dy_(random_values(tokens * l.base.rows(), 6)),
        y_(tokens * l.base.rows()),
        dx_(tokens * l.base.cols()),
        gradient_(std::max(l.spectral.spectrum().size(), l.low_rank.size())),
        memory_(std::max(l.spectral.workspace_bytes(tokens, {.path = qwha::adapter_path::weights}),
                         std::max(l.spectral.workspace_bytes(tokens, {.path = qwha::adapter_path::activations}),
                                  l.spectral.backward_workspace_bytes(tokens)))),
        x(x_.data(), tokens, l.base.cols()),
        dy(dy_.data(), tokens, l.base.rows()),
        y(y_.data(), tokens, l.base.rows()),
        dx(dx_.data(), tokens, l.base.cols()) {}
  std::vector<float> x_, dy_, y_, dx_, gradient_;
  std::vector<std::byte> memory_;
  qwha::rows_view<const float> x, dy;
  qwha::rows_view<float> y, dx;
};

template <class F>
double seconds_of(const F& f) {
  double best = 1e9;
  for (int i = 0; i < 5; ++i) {
    const auto start = std::chrono::steady_clock::now();
    f();
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

void check(qwha::status s, benchmark::State& state) {
  if (s != qwha::status::ok) state.SkipWithError(qwha::describe(s));
}

enum kind { base_alone, by_activations, by_weights, automatic, lora };

void forward(benchmark::State& state, kind what) {
  const auto out = static_cast<std::size_t>(state.range(0)), in = static_cast<std::size_t>(state.range(1));
  const layer& l = layer_of(out, in, static_cast<std::size_t>(state.range(2)));
  batch b(l, static_cast<std::size_t>(state.range(3)));
  const auto serial = qwha::executor::serial();
  const qwha::adapter_path path = what == by_activations ? qwha::adapter_path::activations
                                  : what == by_weights   ? qwha::adapter_path::weights
                                                         : qwha::adapter_path::automatic;
  const auto base = [&] {
    check(l.none.forward(b.x, b.y, {.path = qwha::adapter_path::activations, .workspace = b.memory_}, serial), state);
  };
  const auto run = [&] {
    if (what == base_alone)
      base();
    else if (what == lora)
      check(l.low_rank.forward(b.x, b.y, serial), state);
    else
      check(l.spectral.forward(b.x, b.y, {.path = path, .workspace = b.memory_}, serial), state);
  };
  const double alone = seconds_of(base), whole = seconds_of(run);
  for (auto _ : state) run();
  state.counters["adds"] = 100 * (whole / alone - 1);
  state.counters["p"] = what == base_alone ? 0.0 : static_cast<double>(l.spectral.spectrum().size());
}

void training_step(benchmark::State& state, kind what) {
  const auto out = static_cast<std::size_t>(state.range(0)), in = static_cast<std::size_t>(state.range(1));
  const layer& l = layer_of(out, in, static_cast<std::size_t>(state.range(2)));
  batch b(l, static_cast<std::size_t>(state.range(3)));
  const auto serial = qwha::executor::serial();
  const auto step = [&](kind k) {
    if (k == lora) {
      check(l.low_rank.forward(b.x, b.y, serial), state);
      check(l.low_rank.backward(b.x, b.dy, b.dx, std::span(b.gradient_).first(l.low_rank.size()), serial), state);
    } else {
      check(l.spectral.forward(b.x, b.y, {.workspace = b.memory_}, serial), state);
      check(l.spectral.backward(b.x, b.dy, b.dx, std::span(b.gradient_).first(l.spectral.spectrum().size()),
                                {.workspace = b.memory_}, serial),
            state);
    }
  };
  const double reference = seconds_of([&] { step(lora); }), whole = seconds_of([&] { step(what); });
  for (auto _ : state) step(what);
  state.counters["over_lora"] = whole / reference;
}

void shapes(benchmark::internal::Benchmark* b) {
  for (const long tokens : {1, 8, 64, 512})
    for (const auto& s : {std::vector<long>{4096, 4096, 16}, {4096, 4096, 64}, {2048, 640, 16}})
      b->Args({s[0], s[1], s[2], tokens});
  b->ArgNames({"out", "in", "rank", "tokens"})->Unit(benchmark::kMicrosecond);
}
void training_shapes(benchmark::internal::Benchmark* b) {
  for (const long tokens : {16, 512})
    for (const auto& s : {std::vector<long>{4096, 4096, 16}, {2048, 640, 16}}) b->Args({s[0], s[1], s[2], tokens});
  b->ArgNames({"out", "in", "rank", "tokens"})->Unit(benchmark::kMicrosecond);
}

BENCHMARK_CAPTURE(forward, base_alone, base_alone)->Apply(shapes);
BENCHMARK_CAPTURE(forward, activations, by_activations)->Apply(shapes);
BENCHMARK_CAPTURE(forward, weights, by_weights)->Apply(shapes);
BENCHMARK_CAPTURE(forward, automatic, automatic)->Apply(shapes);
BENCHMARK_CAPTURE(forward, lora, lora)->Apply(shapes);
BENCHMARK_CAPTURE(training_step, qwha, automatic)->Apply(training_shapes);
BENCHMARK_CAPTURE(training_step, lora, lora)->Apply(training_shapes);

}  // namespace

BENCHMARK_MAIN();
