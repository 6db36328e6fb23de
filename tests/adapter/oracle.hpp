// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// The adapter by its definition, in double: dense Hadamard matrices from their formulas, dense products.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <qwha/adapter/sparse_spectrum.hpp>
#include <qwha/base/executor.hpp>
#include <qwha/base/random.hpp>
#include <qwha/base/rows_view.hpp>
#include <qwha/quant/quantized_matrix.hpp>

namespace oracle {

/// Dense [rows, cols] in double.
struct matrix {
  std::size_t rows = 0, cols = 0;
  std::vector<double> at;
  matrix() = default;
  matrix(std::size_t r, std::size_t c) : rows(r), cols(c), at(r * c, 0.0) {}
  double& operator()(std::size_t r, std::size_t c) { return at[r * cols + c]; }
  double operator()(std::size_t r, std::size_t c) const { return at[r * cols + c]; }
};

inline matrix kronecker(const matrix& a, const matrix& b) {
  matrix k(a.rows * b.rows, a.cols * b.cols);
  for (std::size_t i = 0; i < k.rows; ++i)
    for (std::size_t j = 0; j < k.cols; ++j) k(i, j) = a(i / b.rows, j / b.cols) * b(i % b.rows, j % b.cols);
  return k;
}

/// Legendre symbol by listing the squares.
inline int legendre(long a, long q) {
  a = ((a % q) + q) % q;
  if (a == 0) return 0;
  for (long s = 1; s < q; ++s)
    if (s * s % q == a) return 1;
  return -1;
}

/// Paley's first construction, order q + 1.
inline matrix paley_one(long q) {
  matrix h(static_cast<std::size_t>(q) + 1, static_cast<std::size_t>(q) + 1);
  for (std::size_t i = 0; i < h.rows; ++i)
    for (std::size_t j = 0; j < h.cols; ++j)
      h(i, j) = j == 0 || i == j ? 1 : i == 0 ? -1 : legendre(static_cast<long>(i) - static_cast<long>(j), q);
  return h;
}

/// Paley's second construction, order 2 (q + 1).
inline matrix paley_two(long q) {
  const std::size_t n = static_cast<std::size_t>(q) + 1;
  matrix h(2 * n, 2 * n);
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j < n; ++j) {
      const double c = i == 0 && j == 0   ? 0
                       : i == 0 || j == 0 ? 1
                                          : legendre(static_cast<long>(i) - static_cast<long>(j), q);
      const double one = i == j ? 1 : 0;
      h(i, j) = c + one;
      h(i, j + n) = h(i + n, j) = c - one;
      h(i + n, j + n) = -c - one;
    }
  return h;
}

inline matrix sylvester(std::size_t n) {
  matrix two(2, 2), h(1, 1);
  two(0, 0) = two(0, 1) = two(1, 0) = 1;
  two(1, 1) = -1;
  h(0, 0) = 1;
  while (h.rows < n) h = kronecker(h, two);
  return h;
}

/// T = H / sqrt(n) for n = 2^k, 12·2^k, 28·2^k and 40·2^k, the leading factor on the slow index.
inline matrix transform(std::size_t n) {
  matrix lead(1, 1);
  lead(0, 0) = 1;
  if (n % 40 == 0)
    lead = kronecker(sylvester(2), paley_one(19));
  else if (n % 28 == 0)
    lead = paley_two(13);
  else if (n % 12 == 0)
    lead = paley_one(11);
  const std::size_t rest = n / lead.rows;
  if ((rest & (rest - 1)) != 0) throw std::logic_error("oracle::transform: an order that it does not build");
  matrix t = kronecker(lead, sylvester(rest));
  for (double& v : t.at) v /= std::sqrt(static_cast<double>(n));
  return t;
}

template <class T>
double number(T v) {
  return static_cast<double>(static_cast<qwha::arithmetic_t<T>>(v));
}

/// F T. @param f  entries by row and column
template <class T>
matrix delta(const qwha::sparse_spectrum<T>& f, const matrix& t) {
  matrix d(f.rows(), f.cols());
  for (std::size_t r = 0; r < f.rows(); ++r)
    for (std::size_t k = 0; k < f.columns(r).size(); ++k)
      for (std::size_t c = 0; c < f.cols(); ++c) d(r, c) += number(f.values(r)[k]) * t(f.columns(r)[k], c);
  return d;
}

/// x wᵀ
inline matrix product_transposed(const matrix& x, const matrix& w) {
  matrix y(x.rows, w.rows);
  for (std::size_t t = 0; t < x.rows; ++t)
    for (std::size_t r = 0; r < w.rows; ++r) {
      double sum = 0;
      for (std::size_t c = 0; c < x.cols; ++c) sum += x(t, c) * w(r, c);
      y(t, r) = sum;
    }
  return y;
}

inline matrix product(const matrix& a, const matrix& b) {
  matrix y(a.rows, b.cols);
  for (std::size_t i = 0; i < a.rows; ++i)
    for (std::size_t k = 0; k < a.cols; ++k)
      for (std::size_t j = 0; j < b.cols; ++j) y(i, j) += a(i, k) * b(k, j);
  return y;
}

inline matrix sum(matrix a, const matrix& b) {
  for (std::size_t i = 0; i < a.at.size(); ++i) a.at[i] += b.at[i];
  return a;
}

inline matrix magnitudes(matrix a) {
  for (double& v : a.at) v = std::fabs(v);
  return a;
}

template <class Q>
matrix dense(const qwha::quantized_matrix<Q>& m) {
  std::vector<float> w(m.rows() * m.cols());
  m.dequantize(qwha::rows_view<float>(w.data(), m.rows(), m.cols()));
  matrix d(m.rows(), m.cols());
  for (std::size_t i = 0; i < w.size(); ++i) d.at[i] = static_cast<double>(w[i]);
  return d;
}

inline matrix dense(qwha::rows_view<const float> v) {
  matrix d(v.rows, v.cols);
  for (std::size_t r = 0; r < v.rows; ++r)
    for (std::size_t c = 0; c < v.cols; ++c) d(r, c) = static_cast<double>(v(r, c));
  return d;
}

// --- inputs ---------------------------------------------------------------------------------------------------------

/// [rows, cols] in (-1, 1) at a stride of its own, the gaps filled with NaN so that nobody reads them unnoticed.
struct strided {
  strided(std::size_t rows_, std::size_t cols_, std::size_t gap, std::uint64_t seed = 0)
      : memory(rows_ * (cols_ + gap) + 1, std::numeric_limits<float>::quiet_NaN()),
        rows(rows_),
        cols(cols_),
        stride(cols_ + gap) {
    const qwha::counter_random random(seed, 7);
    if (seed != 0)
      for (std::size_t r = 0; r < rows; ++r)
        for (std::size_t c = 0; c < cols; ++c) view()(r, c) = static_cast<float>(2 * random.uniform(r * cols + c) - 1);
  }
  // One float off the start: no alignment beyond that of a float.
  qwha::rows_view<float> view() { return {memory.data() + 1, rows, cols, stride}; }
  qwha::rows_view<const float> view() const { return {memory.data() + 1, rows, cols, stride}; }

  std::vector<float> memory;
  std::size_t rows, cols, stride;
};

/// About `per_row` coefficients in each row, every fifth row empty; `per_row` >= cols: dense.
template <class T>
qwha::sparse_spectrum<T> random_spectrum(std::size_t rows, std::size_t cols, std::size_t per_row, std::uint64_t seed) {
  const qwha::counter_random random(seed, 3);
  std::vector<qwha::spectrum_entry<T>> entries;
  for (std::size_t r = 0; r < rows; ++r) {
    if (per_row < cols && r % 5 == 3) continue;
    for (std::size_t c = 0; c < cols; ++c) {
      const std::size_t at = r * cols + c;
      if (random.uniform(2 * at) * static_cast<double>(cols) < static_cast<double>(per_row))
        entries.push_back({r, c, static_cast<T>(static_cast<qwha::arithmetic_t<T>>(random.uniform(2 * at + 1) - 0.5))});
    }
  }
  return qwha::spectrum_from_entries(rows, cols, std::move(entries));
}

// --- comparison -----------------------------------------------------------------------------------------------------

/// Rounding of y = x (WQ + F T)ᵀ in float, per element. n additions with independent rounding errors stay within
/// 2 sqrt(n) eps of the sum of magnitudes (Higham and Mary 2019, confidence factor 2); a transform within
/// (log2 n + the leading factor's additions, at most 12 more levels) eps of the 2-norm. Eight more roundings for what
/// is done once: scale, merge, last additions.
template <class T>
matrix forward_bound(const matrix& x, const matrix& wq, const qwha::sparse_spectrum<T>& f) {
  const double eps = std::numeric_limits<float>::epsilon(), in = static_cast<double>(x.cols);
  matrix bound = product_transposed(magnitudes(x), magnitudes(wq));
  for (std::size_t t = 0; t < x.rows; ++t) {
    double norm = 0;
    for (std::size_t c = 0; c < x.cols; ++c) norm += x(t, c) * x(t, c);
    norm = std::sqrt(norm);
    for (std::size_t r = 0; r < f.rows(); ++r) {
      double coefficients = 0;
      for (const T v : f.values(r)) coefficients += std::fabs(number(v));
      const double count = static_cast<double>(f.values(r).size());
      bound(t, r) = eps * ((2 * std::sqrt(in) + 8) * bound(t, r) +
                           (2 * std::sqrt(count) + std::log2(in) + 12 + 8) * coefficients * norm);
    }
  }
  return bound;
}

/// The first element of `got` that is further than `bound` from `exact`, in words; empty when there is none.
inline std::string first_difference(qwha::rows_view<const float> got, const matrix& exact, const matrix& bound) {
  for (std::size_t r = 0; r < exact.rows; ++r)
    for (std::size_t c = 0; c < exact.cols; ++c) {
      const double error = std::fabs(static_cast<double>(got(r, c)) - exact(r, c));
      if (!(error <= bound(r, c))) {
        std::ostringstream text;
        text << "(" << r << ", " << c << "): " << got(r, c) << " instead of " << exact(r, c) << ", error "
             << error / bound(r, c) << " times the bound";
        return text.str();
      }
    }
  return {};
}

inline bool same_bits(qwha::rows_view<const float> a, qwha::rows_view<const float> b) {
  for (std::size_t r = 0; r < a.rows; ++r)
    if (std::memcmp(a.row(r), b.row(r), a.cols * sizeof(float)) != 0) return false;
  return true;
}

/// True when `f` throws an error whose message holds `text`.
template <class F>
bool refuses(const F& f, const std::string& text) {
  try {
    f();
  } catch (const qwha::error& e) {
    return std::string(e.what()).find(text) != std::string::npos;
  }
  return false;
}

// --- executors ------------------------------------------------------------------------------------------------------

/// Chunks on so many threads, the last chunk first.
struct team {
  explicit team(std::size_t threads_) : threads(threads_) {}
  std::size_t threads;
  qwha::executor executor() {
    return {this, [](void* self, std::size_t chunks, qwha::executor::body_function body, void* context) {
              const std::size_t n = static_cast<team*>(self)->threads;
              std::vector<std::thread> pool;
              for (std::size_t t = 0; t < n; ++t)
                pool.emplace_back([=] {
                  for (std::size_t c = chunks; c-- > 0;)
                    if (c % n == t) body(context, c);
                });
              for (std::thread& worker : pool) worker.join();
            }};
  }
};

}  // namespace oracle
