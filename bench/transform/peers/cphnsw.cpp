// SPDX-License-Identifier: MIT
// CP-HNSW (indrajeetadityaroy9/sparse-text-kmeans): one sweep within AVX-512 registers, then one for each further
// stage; float, not scaled. Its differences within a register are second minus first, which turns signs of the result.
// It is a header, so QWHA_BENCH_CPHNSW is an object or library of yours that defines the
// function declared below with the header's cphnsw::fht; it returns 0 for orders that it lacks.
#include "entrants.hpp"

extern "C" int qwha_bench_cphnsw(float* x, std::size_t rows, std::size_t n);

namespace {

void enter(bench::contest& c, float* x, std::size_t rows, std::size_t n) {
  if (qwha_bench_cphnsw(x, 0, n) == 0) return;
  const auto work = [=] { qwha_bench_cphnsw(x, rows, n); };
  c.add("cphnsw", work, bench::bytes_moved<float>(rows, n));
}

const bool registered = (bench::peers().push_back(
                             {"cphnsw", enter, nullptr, bench::result::hadamard_up_to_signs, bench::scope::everywhere}),
                         true);

}  // namespace
