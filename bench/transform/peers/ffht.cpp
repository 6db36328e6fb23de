// SPDX-License-Identifier: MIT
// FFHT (FALCONN-LIB/FFHT): AVX assembly for every power of two, float and double, not scaled. QWHA_BENCH_FFHT is what its
// own build leaves, "fht.o;fast_copy.o" with their paths.
#include <bit>

#include "entrants.hpp"

extern "C" {
int fht_float(float* x, int log2_n);
int fht_double(double* x, int log2_n);
}

namespace {

template <class T, int (*Transform)(T*, int)>
void enter(bench::contest& c, T* x, std::size_t rows, std::size_t n) {
  if (!std::has_single_bit(n)) return;
  const auto work = [=, log2_n = std::countr_zero(n)] {
    for (std::size_t r = 0; r < rows; ++r) Transform(x + r * n, log2_n);
  };
  c.add("FFHT", work, bench::bytes_moved<T>(rows, n));
}

const bool registered = (bench::peers().push_back({"FFHT", enter<float, fht_float>, enter<double, fht_double>}), true);

}  // namespace
