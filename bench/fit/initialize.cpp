// SPDX-License-Identifier: MIT
// Seconds of initialisation by size and method, beside one dense product E S in the same process: the only step of
// order n³ that fitting should pay for. Counters: products = seconds over those of the product.
#include <chrono>
#include <cmath>
#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>
#include <qwha/fit/initialize.hpp>
#include <qwha/quant/affine.hpp>
#include <qwha/quant/quantize.hpp>

namespace {

using base_matrix = qwha::quantized_matrix<qwha::affine<2, 64>>;

struct layer {
  std::size_t out, in;
  std::vector<float> w;
  base_matrix base;
  qwha::second_moment moment;
  double product_seconds;  // of E S in float, this many threads
};

std::vector<float> numbers(std::size_t count, std::uint64_t seed) {
  const qwha::counter_random random(seed);
  std::vector<float> x(count);
  for (std::size_t i = 0; i < count; ++i) {  // four uniforms: close to normal
    double sum = -2;
    for (std::size_t k = 0; k < 4; ++k) sum += random.uniform(4 * i + k);
    x[i] = static_cast<float>(sum);
  }
  return x;
}

double seconds_of_product(std::size_t out, std::size_t in) {
  using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const auto rows = static_cast<Eigen::Index>(out), cols = static_cast<Eigen::Index>(in);
  const matrix e = matrix::Constant(rows, cols, 0.5f), s = matrix::Constant(cols, cols, 0.25f);
  matrix product(rows, cols);
  double best = 1e30;
  for (int i = 0; i < 3; ++i) {
    const auto start = std::chrono::steady_clock::now();
    product.noalias() = e * s;
    benchmark::DoNotOptimize(product.data());
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

const layer& layer_of(std::size_t out, std::size_t in) {
  static std::map<std::pair<std::size_t, std::size_t>, std::unique_ptr<layer>> layers;
  auto& l = layers[{out, in}];
  if (!l) {
    std::vector<float> w = numbers(out * in, 1);
    auto base = qwha::quantize<qwha::affine<2, 64>>(qwha::rows_view<const float>(w.data(), out, in));
    qwha::second_moment moment(in);
    const std::size_t tokens = 512;
    for (std::size_t batch = 0; batch * tokens < 2 * in; ++batch) {  // neighbours share causes
      std::vector<float> x = numbers(tokens * in, 2 + batch);
      for (std::size_t i = 0; i + 8 < x.size(); ++i) x[i] += x[i + 8] + 0.5f * x[i + 1];
      moment.accumulate({x.data(), tokens, in});
    }
    l = std::make_unique<layer>(
        layer{out, in, std::move(w), std::move(base), std::move(moment), seconds_of_product(out, in)});
  }
  return *l;
}

void initialize(benchmark::State& state, std::size_t out, std::size_t in, std::size_t rank, qwha::fit_options options) {
  const layer& l = layer_of(out, in);
  options.parameters = rank * (out + in);
  double seconds = 0, ratio = 0;
  for (auto _ : state) {
    const auto start = std::chrono::steady_clock::now();
    const auto result = qwha::initialize({l.w.data(), out, in}, l.base, l.moment, options);
    seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    ratio = result.error_after / result.error_before;
  }
  state.counters["products"] = seconds / static_cast<double>(state.iterations()) / l.product_seconds;
  state.counters["error"] = ratio;
}

void accumulate(benchmark::State& state, std::size_t in) {
  const std::size_t tokens = 2048;
  const std::vector<float> x = numbers(tokens * in, 9);
  qwha::second_moment s(in);
  for (auto _ : state) s.accumulate({x.data(), tokens, in});
  state.counters["tokens/s"] = benchmark::Counter(
      static_cast<double>(tokens * static_cast<std::size_t>(state.iterations())), benchmark::Counter::kIsRate);
}

}  // namespace

int main(int argc, char** argv) {
  struct shape {
    std::size_t out, in, rank;
  };
  struct method {
    const char* name;
    qwha::fit_options options;
  };
  qwha::fit_options forward_only{};
  forward_only.exchange_rounds = 0;
  for (const shape& s :
       {shape{256, 640, 16}, shape{640, 2048, 16}, shape{1024, 1024, 64}, shape{2048, 2048, 64}, shape{4096, 4096, 64}})
    for (const method& m : {method{"paper", qwha::paper_fit_options(0)}, method{"ols", forward_only},
                            method{"pursuit", qwha::fit_options{}}}) {
      const std::string name = std::string("initialize/") + m.name + "/" + std::to_string(s.out) + "x" +
                               std::to_string(s.in) + "/rank" + std::to_string(s.rank);
      benchmark::RegisterBenchmark(name.c_str(), initialize, s.out, s.in, s.rank, m.options)
          ->Unit(benchmark::kMillisecond)
          ->UseRealTime();
    }
  for (const std::size_t in : {640u, 2048u, 4096u})
    benchmark::RegisterBenchmark(("second_moment/" + std::to_string(in)).c_str(), accumulate, in)
        ->Unit(benchmark::kMillisecond)
        ->UseRealTime();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
}
