// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Inner products in double whose sums have the same order wherever the vectors lie in memory.

#include <cstddef>

#include <qwha/base/backend.hpp>
#include <qwha/base/config.hpp>
#include <qwha/base/simd.hpp>

namespace qwha::inline QWHA_ISA::detail {

inline constexpr std::size_t double_lanes = lanes<native, double>;

inline double sum_of_lanes(vec<double, double_lanes> x) noexcept {
  double total = 0;
  for (std::size_t l = 0; l < double_lanes; ++l) total += x[l];
  return total;
}

/// sum of a_i b_i over i < n, in an order that depends on n only.
template <class Isa = isa>
double dot(const double* a, const double* b, std::size_t n) noexcept {
  using v = vec<double, double_lanes>;
  constexpr std::size_t parts = 4, step = parts * double_lanes;
  v sum[parts] = {v::splat(0), v::splat(0), v::splat(0), v::splat(0)};
  std::size_t i = 0;
  for (; i + step <= n; i += step)
    for (std::size_t p = 0; p < parts; ++p)
      sum[p] = fma(v::load(a + i + p * double_lanes), v::load(b + i + p * double_lanes), sum[p]);
  for (; i + double_lanes <= n; i += double_lanes) sum[0] = fma(v::load(a + i), v::load(b + i), sum[0]);
  double total = sum_of_lanes((sum[0] + sum[1]) + (sum[2] + sum[3]));
  for (; i < n; ++i) total += a[i] * b[i];
  return total;
}

}  // namespace qwha::inline QWHA_ISA::detail
