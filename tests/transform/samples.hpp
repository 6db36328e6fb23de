// SPDX-License-Identifier: MIT
#pragma once
/// Rows to transform and ways to compare them.

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

#include <qwha/base/float16.hpp>
#include <qwha/base/random.hpp>

namespace samples {

/// n numbers in (-1, 1) with an outlier, as T.
template <class T>
std::vector<T> row(std::size_t n, std::uint64_t seed) {
  const qwha::counter_random random(seed);
  std::vector<T> x(n);
  for (std::size_t i = 0; i < n; ++i) {
    const double v = 2 * random.uniform(i) - 1;
    x[i] = static_cast<T>(static_cast<qwha::arithmetic_t<T>>(v));
  }
  x[n / 3] = static_cast<T>(static_cast<qwha::arithmetic_t<T>>(20));
  return x;
}

template <class T>
double value(T x) {
  return static_cast<double>(static_cast<qwha::arithmetic_t<T>>(x));
}

template <class T>
std::vector<double> values(const std::vector<T>& x) {
  std::vector<double> y;
  for (const T& v : x) y.push_back(value(v));
  return y;
}

/// The bits of a number as an unsigned integer.
template <class T>
auto bits(T x) {
  if constexpr (sizeof(T) == 2)
    return x.bits;
  else
    return std::bit_cast<std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>>(x);
}
template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (bits(a[i]) != bits(b[i])) return false;
  return true;
}

/// ‖a - b‖ / ‖b‖.
inline double relative_error(const std::vector<double>& a, const std::vector<double>& b) {
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    norm += b[i] * b[i];
  }
  return norm == 0 ? std::sqrt(difference) : std::sqrt(difference / norm);
}

inline double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace samples
