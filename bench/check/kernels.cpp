// SPDX-License-Identifier: MIT
// The hot kernels on fixed inputs, for callgrind to count: run it under valgrind with collection off at the start
// (bench/run --check does). Each case runs once to make its tables, then once more counted; what callgrind is told at
// the end of a case is its name and the number of elements that it stands for.
//
// Compiled for AVX2 on every machine: valgrind 3.19 knows no AVX-512, and counts should not depend on the host.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <vector>

#include <valgrind/callgrind.h>

#include <qwha/adapter/sparse_spectral_adapter.hpp>
#include <qwha/base/aligned_buffer.hpp>
#include <qwha/base/random.hpp>
#include <qwha/fit/initialize.hpp>
#include <qwha/quant/affine.hpp>
#include <qwha/quant/gguf_blocks.hpp>
#include <qwha/quant/mxfp4.hpp>
#include <qwha/quant/nf4.hpp>
#include <qwha/quant/quantize.hpp>
#include <qwha/transform/wht.hpp>

namespace {

const auto serial = qwha::executor::serial();
std::string only;   // part of a name; empty: all
std::string twice;  // name of a case that does its work twice: a slower kernel, to see the check go red

/// @param beyond  a case that does part of the same work: only what goes beyond it is this one's
template <class F>
void count(const std::string& name, std::size_t elements, F work, const std::string& beyond = {}) {
  if (name.find(only) == std::string::npos) return;
  work();
  CALLGRIND_ZERO_STATS;
  CALLGRIND_START_INSTRUMENTATION;
  CALLGRIND_TOGGLE_COLLECT;
  work();
  if (name == twice) work();
  CALLGRIND_TOGGLE_COLLECT;
  CALLGRIND_STOP_INSTRUMENTATION;
  const std::string label = name + (beyond.empty() ? "" : " minus " + beyond) + " @ " + std::to_string(elements);
  CALLGRIND_DUMP_STATS_AT(label.c_str());
}

void require(qwha::status s) {
  if (s == qwha::status::ok) return;
  std::fprintf(stderr, "%s\n", qwha::describe(s));
  std::exit(1);
}

qwha::aligned_buffer<float> numbers(std::size_t size, std::uint64_t seed) {
  const qwha::counter_random random(seed);
  qwha::aligned_buffer<float> x(size);
  for (std::size_t i = 0; i < size; ++i) x[i] = static_cast<float>(random.uniform(i) - 0.5);
  return x;
}

template <class T>
void transform(const std::string& type, std::size_t n, std::size_t rows) {
  qwha::aligned_buffer<T> x(rows * n);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = T(static_cast<float>(i % 7) - 3.0f);
  const qwha::wht<> h(n);
  count("wht " + type + " " + std::to_string(rows) + " x " + std::to_string(n), rows * n,
        [&] { require(h.apply(qwha::rows_view<T>(x.data(), rows, n), qwha::scaling::orthonormal, serial)); });
}

void transforms() {
  for (const std::size_t n : {64u, 128u, 256u, 512u, 1024u, 2048u, 4096u, 8192u, 16384u, 65536u})
    transform<float>("float", n, 1);
  for (const std::size_t n : {64u, 256u, 1024u}) transform<float>("float", n, 16);
  for (const std::size_t n : {256u, 1024u, 4096u, 16384u}) transform<double>("double", n, 1);
  for (const std::size_t n : {1024u, 4096u}) {
    transform<qwha::half>("half", n, 1);
    transform<qwha::bfloat16>("bfloat16", n, 1);
  }
  for (const std::size_t n : {640u, 768u, 896u, 3584u, 14336u, 11008u}) transform<float>("float", n, 1);
  for (const std::size_t n : {640u, 3584u}) transform<float>("float", n, 4);
}

template <class Q>
void dequantize() {
  constexpr std::size_t rows = 4, cols = 2048;
  constexpr std::size_t blocks = rows * cols / Q::block_size;
  const qwha::counter_random random(1);
  std::vector<std::byte> codes(blocks * Q::code_bytes), parameters(blocks * Q::parameter_bytes, std::byte{0x3c});
  for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::byte>(random.below(64, i));
  const auto m = qwha::quantized_matrix<Q>::refer(rows, cols, codes, parameters);
  qwha::aligned_buffer<float> out(rows * cols);
  count("dequantize " + Q::name(), rows * cols, [&] { m.dequantize(qwha::rows_view<float>(out.data(), rows, cols)); });
}

/// `per_row` coefficients in every row, spread evenly and turning from row to row.
qwha::sparse_spectrum<float> spectrum(std::size_t out, std::size_t in, std::size_t per_row) {
  std::vector<std::size_t> offsets{0};
  std::vector<std::uint32_t> columns;
  std::vector<float> values;
  for (std::size_t r = 0; r < out; ++r) {
    for (std::size_t k = 0; k < per_row; ++k) {
      columns.push_back(static_cast<std::uint32_t>(k * in / per_row + r % (in / per_row)));
      values.push_back(static_cast<float>(k % 5) - 2);
    }
    offsets.push_back(columns.size());
  }
  return {out, in, std::move(offsets), std::move(columns), std::move(values)};
}

/// The product with the base, and what an adapter adds to it: by activations a coefficient's share, by weights a weight's.
void adapters() {
  constexpr std::size_t out = 512, in = 1024, per_row = 32;
  using base_format = qwha::affine<4, 64>;
  using adapter = qwha::sparse_spectral_adapter<float, base_format>;
  const auto w = numbers(out * in, 2);
  const auto base =
      qwha::quantize<base_format>(qwha::rows_view<const float>(w.data(), out, in), qwha::round_to_nearest{}, serial);
  const adapter alone(base, spectrum(out, in, 0)), adapted(base, spectrum(out, in, per_row));
  for (const std::size_t tokens : {1u, 64u}) {
    const auto x = numbers(tokens * in, 3);
    qwha::aligned_buffer<float> y(tokens * out);
    const auto forward = [&](const std::string& what, const adapter& a, qwha::adapter_path path, std::size_t elements,
                             const std::string& beyond = {}) {
      std::vector<std::byte> workspace(a.workspace_bytes(tokens, {.path = path}));
      const auto work = [&] {
        require(a.forward(qwha::rows_view<const float>(x.data(), tokens, in),
                          qwha::rows_view<float>(y.data(), tokens, out), {.path = path, .workspace = workspace},
                          serial));
      };
      count(what + ", tokens: " + std::to_string(tokens), elements, work,
            beyond.empty() ? "" : beyond + ", tokens: " + std::to_string(tokens));
    };
    forward("base", alone, qwha::adapter_path::activations, tokens * out * in);
    forward("adapter by activations", adapted, qwha::adapter_path::activations, tokens * out * per_row, "base");
    forward("adapter by weights", adapted, qwha::adapter_path::weights, out * in, "base");
  }
}

void fits() {
  constexpr std::size_t out = 48, in = 256, tokens = 64;
  const auto w = numbers(out * in, 4);
  const qwha::rows_view<const float> weight(w.data(), out, in);
  const auto base = qwha::quantize<qwha::affine<2, 64>>(weight, qwha::round_to_nearest{}, serial);
  auto x = numbers(8 * tokens * in, 5);
  for (std::size_t i = 0; i + 8 < x.size(); ++i) x[i] += x[i + 8] + 0.5f * x[i + 1];  // neighbours share causes
  qwha::second_moment s(in);
  s.accumulate({x.data(), 8 * tokens, in}, serial);
  {
    qwha::second_moment other(in);
    count("second moment", tokens * in * in, [&] { other.accumulate({x.data(), tokens, in}, serial); });
  }
  count("fit, moment's spectrum", in * in, [&] { const qwha::spectral_moment<> counted(s, serial); });
  const qwha::spectral_moment<> moment(s, serial);
  count("fit, layer's spectrum", out * in,
        [&] { const qwha::spectral_problem<> counted(weight, base, moment, serial); });
  const qwha::spectral_problem<> problem(weight, base, moment, serial);
  const std::size_t parameters = out * 16;
  for (const bool paper : {true, false})
    count(paper ? "fit, paper's method" : "fit, pursuit", out * in, [&] {
      const auto options = paper ? qwha::paper_fit_options(parameters) : qwha::fit_options{.parameters = parameters};
      (void)qwha::fit<float>(problem, options, serial);
    });
}

}  // namespace

int main(int argc, char** argv) {
  for (int i = 1; i + 1 < argc; i += 2) (std::string(argv[i]) == "--twice" ? twice : only) = argv[i + 1];
  transforms();
  dequantize<qwha::affine<2, 64>>();
  dequantize<qwha::affine<4, 64>>();
  dequantize<qwha::nf4<>>();
  dequantize<qwha::mxfp4>();
  dequantize<qwha::q2_k>();
  dequantize<qwha::q4_k>();
  dequantize<qwha::q6_k>();
  adapters();
  fits();
}
