// SPDX-License-Identifier: MIT
// The two baselines that need nobody else: the textbook's loop, and scaling in place, which is the least that any
// transform in place can cost out of cache.
#include "entrants.hpp"

namespace {

/// The textbook's three loops, as the compiler vectorizes them. Not scaled.
template <class T>
void butterflies(T* x, std::size_t n) {
  for (std::size_t h = 1; h < n; h *= 2)
    for (std::size_t i = 0; i < n; i += 2 * h)
      for (std::size_t j = i; j < i + h; ++j) {
        const T a = x[j], b = x[j + h];
        x[j] = a + b;
        x[j + h] = a - b;
      }
}

template <class T>
void enter_loop(bench::contest& c, T* x, std::size_t rows, std::size_t n) {
  if ((n & (n - 1)) != 0) return;
  const auto work = [=] {
    for (std::size_t r = 0; r < rows; ++r) butterflies(x + r * n, n);
  };
  c.add("plain loop", work, bench::bytes_moved<T>(rows, n));
}

template <class T>
void enter_scaling(bench::contest& c, T* x, std::size_t rows, std::size_t n) {
  const auto work = [x, count = rows * n] {
    for (std::size_t i = 0; i < count; ++i) x[i] *= T(-1);
  };
  c.add("x *= c", work, bench::bytes_moved<T>(rows, n));
}

const bool registered = (bench::peers().push_back({"plain loop", enter_loop<float>, enter_loop<double>,
                                                   bench::result::hadamard, bench::scope::in_cache}),
                         bench::peers().push_back({"x *= c", enter_scaling<float>, enter_scaling<double>,
                                                   bench::result::other, bench::scope::everywhere}),
                         true);

}  // namespace
