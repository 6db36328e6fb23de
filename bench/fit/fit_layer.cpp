// SPDX-License-Identifier: MIT
// One fit of a layer from files: what reference.py runs beside the reference's steps, on the same numbers.
//   bench_fit_layer out in rank w.f32 wq.f32 s.f64
// Prints one line of JSON. Threads: OMP_NUM_THREADS.
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include <qwha/fit/initialize.hpp>

namespace {

template <class T>
std::vector<T> read(const char* path, std::size_t count) {
  std::vector<T> values(count);
  std::ifstream file(path, std::ios::binary);
  if (!file.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(count * sizeof(T)))) {
    std::fprintf(stderr, "%s: fewer than %zu numbers\n", path, count);
    std::exit(1);
  }
  return values;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 7) {
    std::fprintf(stderr, "usage: %s out in rank w.f32 wq.f32 s.f64\n", argv[0]);
    return 2;
  }
  const std::size_t out = std::stoul(argv[1]), in = std::stoul(argv[2]), rank = std::stoul(argv[3]);
  const std::vector<float> w = read<float>(argv[4], out * in), wq = read<float>(argv[5], out * in);
  const qwha::second_moment moment(read<double>(argv[6], in * in), 1);
  const qwha::rows_view<const float> weight(w.data(), out, in), base(wq.data(), out, in);

  const auto timed = [&](const qwha::fit_options& options, double& error) {
    const auto start = std::chrono::steady_clock::now();
    const qwha::spectral_moment<> spectral(moment);
    const qwha::spectral_problem<> problem(weight, base, spectral);
    const auto result = qwha::fit(problem, options);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    error = result.error_after / result.error_before;
    return seconds;
  };
  double paper_error = 0, pursuit_error = 0;
  qwha::fit_options paper = qwha::paper_fit_options(rank * (out + in)), pursuit{.parameters = paper.parameters};
  paper.selection = qwha::selection::reference;  // by its code, not by its text
  const double paper_seconds = timed(paper, paper_error), pursuit_seconds = timed(pursuit, pursuit_error);
  std::printf("{\"paper\": {\"seconds\": %.4f, \"error\": %.7f}, \"pursuit\": {\"seconds\": %.4f, \"error\": %.7f}}\n",
              paper_seconds, paper_error, pursuit_seconds, pursuit_error);
}
