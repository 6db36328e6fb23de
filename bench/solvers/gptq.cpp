// SPDX-License-Identifier: MIT
/// GPTQ of a square layer, beside one Cholesky factorisation of its order in double and one dense product of its shape in
/// float: the only steps of order n³ that it should pay for.

#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include <qwha/base/random.hpp>
#include <qwha/fit/eigen.hpp>
#include <qwha/fit/gptq.hpp>
#include <qwha/quant/affine.hpp>
#include <qwha/quant/quantize.hpp>

#include "measure.hpp"

namespace {

/// Neighbours correlated, channels of unlike size: positive definite by construction.
qwha::second_moment moment_of(std::size_t n) {
  std::vector<double> s(n * n);
  const auto size = [](std::size_t i) {
    return 1 + 3 * std::cos(static_cast<double>(i)) * std::cos(static_cast<double>(i));
  };
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j < n; ++j)
      s[i * n + j] = size(i) * size(j) * std::pow(0.9, static_cast<double>(i > j ? i - j : j - i));
  return {std::move(s), 2 * n};
}

std::vector<float> weights(std::size_t count) {
  const qwha::counter_random random(1);
  std::vector<float> w(count);
  for (std::size_t i = 0; i < count; ++i)
    w[i] = static_cast<float>(random.uniform(3 * i) + random.uniform(3 * i + 1) + random.uniform(3 * i + 2) - 1.5);
  return w;
}

void cholesky(const qwha::second_moment& s) {
  const auto n = static_cast<Eigen::Index>(s.in());
  Eigen::MatrixXd a = Eigen::Map<const Eigen::MatrixXd>(s.values().data, n, n);
  const Eigen::LLT<Eigen::Ref<Eigen::MatrixXd>> factor(a);
  bench::computed(factor);
}

void product(const std::vector<float>& w, std::size_t n) {
  using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const auto size = static_cast<Eigen::Index>(n);
  const Eigen::Map<const matrix> a(w.data(), size, size);
  matrix y(size, size);
  y.noalias() = a * a;
  bench::computed(y);
}

}  // namespace

int main(int argc, char** argv) {
  bench::session session("solvers", argc, argv);
  for (const std::size_t n : {1024u, 4096u}) {
    bench::contest c{.name = "gptq", .parameter = "out = in", .value = static_cast<double>(n)};
    c.reference = "Cholesky and product";
    c.least_rounds = n > 2048 ? 2 : 5;
    if (!session.wanted(c.name)) continue;
    const qwha::second_moment s = moment_of(n);
    const std::vector<float> w = weights(n * n);
    const qwha::rows_view<const float> view(w.data(), n, n);
    const auto gptq = [&](qwha::gptq how) {
      how.moment = &s;
      bench::computed(qwha::quantize<qwha::affine<4, 64>>(view, how));
    };
    const double square = double(n) * double(n), bytes = (4 + 8 + 0.5) * square;  // weights, S, codes
    c.add("Cholesky and product", [&] { cholesky(s), product(w, n); }, 20 * square);
    c.add("Cholesky", [&] { cholesky(s); }, 12 * square);
    c.add("qwha", [&] { gptq({}); }, bytes);
    c.add("qwha, min-max", [&] { gptq({.search = qwha::grid_search::min_max}); }, bytes);
    session.run(c);
  }
  return session.finish();
}
