// SPDX-License-Identifier: MIT
// ik_llama.cpp (ikawrakow/ik_llama.cpp): fast_ht of iqk_cpu_ops.cpp, float, scaled by 1 / sqrt(N). It is a local function
// there, so QWHA_BENCH_IK_LLAMA is an object or library of yours that defines the function declared below with it; it
// returns 0 for orders that it lacks.
#include "entrants.hpp"

extern "C" int qwha_bench_ik_llama(float* x, std::size_t rows, std::size_t n);

namespace {

void enter(bench::contest& c, float* x, std::size_t rows, std::size_t n) {
  if (qwha_bench_ik_llama(x, 0, n) == 0) return;
  const auto work = [=] { qwha_bench_ik_llama(x, rows, n); };
  c.add("ik_llama.cpp", work, bench::bytes_moved<float>(rows, n));
}

const bool registered =
    (bench::peers().push_back({"ik_llama.cpp", enter, nullptr, bench::result::hadamard, bench::scope::in_cache}), true);

}  // namespace
