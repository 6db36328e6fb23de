// SPDX-License-Identifier: MIT
// blegal/fwht_simd: AVX2 intrinsics, float, N = 8 … 256, not scaled. It is a header of templates, so QWHA_BENCH_FWHT_SIMD
// is an object or library of yours that defines the function declared below with the header's fwht_avx2<N>; it returns
// 0 for orders that the header lacks.
#include "entrants.hpp"

extern "C" int qwha_bench_fwht_simd(float* x, std::size_t rows, std::size_t n);

namespace {

void enter(bench::contest& c, float* x, std::size_t rows, std::size_t n) {
  if (qwha_bench_fwht_simd(x, 0, n) == 0) return;
  const auto work = [=] { qwha_bench_fwht_simd(x, rows, n); };
  c.add("fwht_simd", work, bench::bytes_moved<float>(rows, n));
}

const bool registered =
    (bench::peers().push_back({"fwht_simd", enter, nullptr, bench::result::hadamard, bench::scope::everywhere}), true);

}  // namespace
