// SPDX-License-Identifier: MIT
#pragma once
// Data and figures that the solver tests share: correlated inputs, and the error in plain double loops.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include <qwha/base/random.hpp>
#include <qwha/base/rows_view.hpp>
#include <qwha/fit/second_moment.hpp>
#include <qwha/quant/quantized_matrix.hpp>

namespace solvers_test {

struct matrix {
  std::size_t rows, cols;
  std::vector<float> values;
  qwha::rows_view<const float> view() const { return {values.data(), rows, cols}; }
  qwha::rows_view<float> view() { return {values.data(), rows, cols}; }
  float& operator()(std::size_t r, std::size_t c) { return values[r * cols + c]; }
  float operator()(std::size_t r, std::size_t c) const { return values[r * cols + c]; }
};

/// Roughly normal: sums of four uniforms, mean 0, variance 1/3.
inline matrix random_matrix(std::size_t rows, std::size_t cols, std::uint64_t seed) {
  const qwha::counter_random random(seed);
  matrix m{rows, cols, std::vector<float>(rows * cols)};
  for (std::size_t i = 0; i < m.values.size(); ++i) {
    double sum = -2;
    for (std::uint64_t k = 0; k < 4; ++k) sum += random.uniform(4 * i + k);
    m.values[i] = static_cast<float>(sum);
  }
  return m;
}

/// Tokens whose neighbouring channels are correlated and whose channels differ in size: x_j = size_j (z_j + 0.9
/// x_{j-1}).
inline matrix correlated_tokens(std::size_t tokens, std::size_t in, std::uint64_t seed) {
  matrix x = random_matrix(tokens, in, seed);
  for (std::size_t t = 0; t < tokens; ++t)
    for (std::size_t j = 1; j < in; ++j) x(t, j) += 0.9f * x(t, j - 1);
  for (std::size_t t = 0; t < tokens; ++t)
    for (std::size_t j = 0; j < in; ++j) x(t, j) *= j % 17 == 3 ? 4.0f : 1.0f;
  return x;
}

inline qwha::second_moment moment_of(const matrix& tokens) {
  qwha::second_moment s(tokens.cols);
  s.accumulate(tokens.view());
  return s;
}

template <class Q>
matrix dequantized(const qwha::quantized_matrix<Q>& q) {
  matrix m{q.rows(), q.cols(), std::vector<float>(q.rows() * q.cols())};
  q.dequantize(m.view());
  return m;
}

/// tr(E S Eᵀ), E = w - q, from the definition.
inline double loss(const matrix& w, const matrix& q, const qwha::second_moment& moment) {
  const auto s = moment.values();
  double total = 0;
  std::vector<double> e(w.cols);
  for (std::size_t r = 0; r < w.rows; ++r) {
    for (std::size_t j = 0; j < w.cols; ++j) e[j] = static_cast<double>(w(r, j)) - static_cast<double>(q(r, j));
    for (std::size_t j = 0; j < w.cols; ++j) {
      double sum = 0;
      for (std::size_t k = 0; k < w.cols; ++k) sum += e[k] * s(k, j);
      total += sum * e[j];
    }
  }
  return total;
}

/// All bytes of both planes.
template <class Q>
std::vector<std::byte> bytes_of(const qwha::quantized_matrix<Q>& q) {
  std::vector<std::byte> b;
  for (std::size_t r = 0; r < q.rows(); ++r) {
    b.insert(b.end(), q.codes(r), q.codes(r) + q.code_stride());
    b.insert(b.end(), q.parameters(r), q.parameters(r) + q.parameter_stride());
  }
  return b;
}

}  // namespace solvers_test
