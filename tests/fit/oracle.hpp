// SPDX-License-Identifier: MIT
#pragma once
/// Oracle of the fit room: everything by definition, in double, with plain loops. Matrices are vectors, row after row.
/// Activations are small multiples of 1/8, so that the library's float products are exact and only fitting is compared.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <qwha/adapter/sparse_spectrum.hpp>
#include <qwha/base/random.hpp>
#include <qwha/base/rows_view.hpp>
#include <qwha/fit/second_moment.hpp>
#include <qwha/quant/affine.hpp>
#include <qwha/quant/quantize.hpp>

namespace oracle {

using matrix = std::vector<double>;

/// Paley's matrix of order 12: the Legendre symbol modulo 11.
inline int paley_12(std::size_t i, std::size_t j) {
  if (i == 0) return j == 0 ? 1 : -1;
  if (j == 0 || i == j) return 1;
  const std::size_t difference = (i + 11 - j) % 11;
  for (std::size_t x = 1; x < 11; ++x)
    if (x * x % 11 == difference) return 1;
  return -1;
}

/// T = H / sqrt(n) for n = 2^k (Sylvester) and n = 12 * 2^k (Paley on the slow index).
inline matrix transform(std::size_t n) {
  const std::size_t fast = std::has_single_bit(n) ? n : n / 12;
  matrix t(n * n);
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j < n; ++j) {
      const int sign =
          (std::popcount((i % fast) & (j % fast)) % 2 == 0 ? 1 : -1) * (fast == n ? 1 : paley_12(i / fast, j / fast));
      t[i * n + j] = sign / std::sqrt(static_cast<double>(n));
    }
  return t;
}

/// A layer and the text it is fitted to.
struct layer {
  std::size_t out, in, tokens;
  std::vector<float> w, x;  // [out, in], [tokens, in]
  qwha::quantized_matrix<qwha::affine<2, 16>> base;
  matrix e, t;  // W0 - WQ [out, in], T [in, in]

  qwha::rows_view<const float> weight() const { return {w.data(), out, in}; }
  qwha::second_moment moment() const { return moment_of(x, in); }

  static qwha::second_moment moment_of(const std::vector<float>& x, std::size_t in) {
    qwha::second_moment s(in);
    s.accumulate({x.data(), x.size() / in, in});
    return s;
  }
};

/// Correlated activations: `factors` hidden causes with decaying strength, a few loud channels, noise. The causes
/// depend on `problem`, the tokens on (problem, text).
inline std::vector<float> activations(std::uint64_t problem, std::uint64_t text, std::size_t tokens, std::size_t in) {
  const std::size_t factors = 6;
  const qwha::counter_random cause(problem, 1), draw(problem, 2 + text);
  std::vector<float> x(tokens * in);
  for (std::size_t t = 0; t < tokens; ++t)
    for (std::size_t j = 0; j < in; ++j) {
      double v = draw.uniform(t * (in + factors) + j) - 0.5;
      for (std::size_t k = 0; k < factors; ++k)
        v += 4 * (draw.uniform(t * (in + factors) + in + k) - 0.5) * (cause.uniform(j * factors + k) - 0.5) /
             static_cast<double>(k + 1);
      if (cause.below(16, 100000 + j) == 0) v *= 6;
      x[t * in + j] = static_cast<float>(std::round(8 * v) / 8);
    }
  return x;
}

inline layer make_layer(std::uint64_t problem, std::size_t out, std::size_t in, std::size_t tokens) {
  const qwha::counter_random random(problem, 0);
  std::vector<float> w(out * in);
  for (std::size_t i = 0; i < w.size(); ++i) {
    double sum = -6;  // twelve uniforms: close to normal
    for (std::size_t k = 0; k < 12; ++k) sum += random.uniform(12 * i + k);
    w[i] = static_cast<float>(sum * (i / in % 3 == 0 ? 0.1 : 0.02));
  }
  auto base = qwha::quantize<qwha::affine<2, 16>>(qwha::rows_view<const float>(w.data(), out, in));
  std::vector<float> dense(out * in);
  base.dequantize(qwha::rows_view<float>(dense.data(), out, in));
  matrix e(out * in);
  for (std::size_t i = 0; i < e.size(); ++i) e[i] = static_cast<double>(w[i]) - static_cast<double>(dense[i]);
  return {out,          in,           tokens, std::move(w), activations(problem, 0, tokens, in), std::move(base),
          std::move(e), transform(in)};
}

/// ‖(e - f T) X‖² + λ ‖e - f T‖² of one row; f given by columns and values.
template <class T>
double squared_error(const layer& l, std::size_t row, std::span<const std::uint32_t> columns, std::span<const T> values,
                     const std::vector<float>& x, double lambda = 0) {
  std::vector<double> d(l.e.begin() + static_cast<std::ptrdiff_t>(row * l.in),
                        l.e.begin() + static_cast<std::ptrdiff_t>((row + 1) * l.in));
  for (std::size_t k = 0; k < columns.size(); ++k)
    for (std::size_t j = 0; j < l.in; ++j) d[j] -= static_cast<double>(values[k]) * l.t[columns[k] * l.in + j];
  double sum = 0;
  for (std::size_t t = 0; t < x.size() / l.in; ++t) {
    double y = 0;
    for (std::size_t j = 0; j < l.in; ++j) y += d[j] * static_cast<double>(x[t * l.in + j]);
    sum += y * y;
  }
  for (const double v : d) sum += lambda * v * v;
  return sum;
}

/// ‖(E - F T) X‖.
template <class T>
double error(const layer& l, const qwha::sparse_spectrum<T>& f, const std::vector<float>& x) {
  double sum = 0;
  for (std::size_t i = 0; i < l.out; ++i) sum += squared_error<T>(l, i, f.columns(i), f.values(i), x);
  return std::sqrt(sum);
}

/// The least ‖(e - f T) X‖² + λ ‖e - f T‖² over f on the given columns: the residual of projecting the row onto the
/// columns' span (Gram-Schmidt, twice). No normal equations.
inline double least_squared_error(const layer& l, std::size_t row, std::span<const std::uint32_t> columns,
                                  double lambda = 0) {
  const std::size_t tokens = l.x.size() / l.in, length = tokens + l.in;
  const auto image = [&](const double* v) {  // [v X, sqrt(λ) v]
    std::vector<double> y(length, 0.0);
    for (std::size_t t = 0; t < tokens; ++t)
      for (std::size_t j = 0; j < l.in; ++j) y[t] += v[j] * static_cast<double>(l.x[t * l.in + j]);
    for (std::size_t j = 0; j < l.in; ++j) y[tokens + j] = std::sqrt(lambda) * v[j];
    return y;
  };
  const auto dot = [&](const std::vector<double>& a, const std::vector<double>& b) {
    double sum = 0;
    for (std::size_t i = 0; i < length; ++i) sum += a[i] * b[i];
    return sum;
  };
  std::vector<std::vector<double>> basis;
  const auto project_out = [&](std::vector<double>& v) {
    for (int pass = 0; pass < 2; ++pass)
      for (const auto& q : basis) {
        const double c = dot(q, v);
        for (std::size_t i = 0; i < length; ++i) v[i] -= c * q[i];
      }
  };
  for (const std::uint32_t column : columns) {
    std::vector<double> v = image(l.t.data() + column * l.in);
    const double before = dot(v, v);
    project_out(v);
    const double left = dot(v, v);
    if (left <= 1e-20 * before) continue;  // in the span already
    for (double& y : v) y /= std::sqrt(left);
    basis.push_back(std::move(v));
  }
  std::vector<double> residual = image(l.e.data() + row * l.in);
  project_out(residual);
  return dot(residual, residual);
}

/// mean(diag S) by definition.
inline double mean_square(const layer& l) {
  double sum = 0;
  for (const float v : l.x) sum += static_cast<double>(v) * static_cast<double>(v);
  return sum / static_cast<double>(l.in);
}

/// a [rows, n] times the transpose of b [cols, n].
inline matrix times_transposed(const matrix& a, const matrix& b, std::size_t n) {
  const std::size_t rows = a.size() / n, cols = b.size() / n;
  matrix c(rows * cols, 0.0);
  for (std::size_t i = 0; i < rows; ++i)
    for (std::size_t j = 0; j < cols; ++j)
      for (std::size_t k = 0; k < n; ++k) c[i * cols + j] += a[i * n + k] * b[j * n + k];
  return c;
}

}  // namespace oracle
