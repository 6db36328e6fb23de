// SPDX-License-Identifier: MIT
// The built-in dense products against sums in double, over every tail of their tiles.
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "catch.hpp"
#include "oracle.hpp"

#include <qwha/adapter/dense_product.hpp>

namespace {

/// 2 sqrt(k) eps of the sum of magnitudes, and two more roundings (oracle::forward_bound).
oracle::matrix bound_of(const oracle::matrix& sums, std::size_t k) {
  oracle::matrix b = sums;
  for (double& v : b.at) v *= std::numeric_limits<float>::epsilon() * (2 * std::sqrt(static_cast<double>(k)) + 4);
  return b;
}

}  // namespace

TEST_CASE("y = x wᵀ and dx += dy w", "[adapter]") {
  const qwha::tile_product product;
  for (const std::size_t tokens : {1, 2, 3, 4, 5, 7, 13, 67})
    for (const std::size_t rows : {1, 2, 3, 5, 6, 7, 23})
      for (const std::size_t cols : {1, 15, 16, 33, 131, 1100}) {
        INFO(tokens << " tokens, " << rows << " rows, " << cols << " columns");
        const oracle::strided w(rows, cols, 3, 5), x(tokens, cols, 1, 6), dy(tokens, rows, 2, 7);
        const oracle::matrix w_ = oracle::dense(w.view()), x_ = oracle::dense(x.view()), dy_ = oracle::dense(dy.view());
        oracle::strided y(tokens, rows, 4);
        product(w.view(), x.view(), y.view());
        CHECK(oracle::first_difference(
                  y.view(), oracle::product_transposed(x_, w_),
                  bound_of(oracle::product_transposed(oracle::magnitudes(x_), oracle::magnitudes(w_)), cols)) == "");
        oracle::strided dx(tokens, cols, 5, 8);
        const oracle::matrix start = oracle::dense(std::as_const(dx).view());
        product.add(w.view(), dy.view(), dx.view());
        CHECK(oracle::first_difference(
                  dx.view(), oracle::sum(start, oracle::product(dy_, w_)),
                  bound_of(oracle::sum(oracle::magnitudes(start),
                                       oracle::product(oracle::magnitudes(dy_), oracle::magnitudes(w_))),
                           rows)) == "");
      }
}

TEST_CASE("an element of y depends on its row of x and its row of w only", "[adapter]") {
  const oracle::strided w(31, 1100, 0, 5), x(37, 1100, 0, 6);
  oracle::strided all(37, 31, 0), one(1, 1, 0);
  qwha::tile_product{}(w.view(), x.view(), all.view());
  for (std::size_t t = 0; t < 37; t += 3)
    for (std::size_t r = 0; r < 31; ++r) {
      qwha::tile_product{}(w.view().rows_from(r, 1), x.view().rows_from(t, 1), one.view());
      CHECK(one.view()(0, 0) == all.view()(t, r));
    }
}

TEST_CASE("dot products in pieces", "[adapter]") {
  const oracle::strided a(1, 500, 0, 5), b(1, 500, 0, 6);
  for (const std::size_t n : {0, 1, 15, 16, 64, 100, 500})
    for (const std::size_t cut : {std::size_t{0}, n / 3, n}) {
      qwha::detail::dot_accumulator sum;
      sum.add(a.view().data, b.view().data, cut);
      sum.add(a.view().data + cut, b.view().data + cut, n - cut);
      double exact = 0, magnitude = 0;
      for (std::size_t i = 0; i < n; ++i) {
        const double term = static_cast<double>(a.view()(0, i)) * static_cast<double>(b.view()(0, i));
        exact += term;
        magnitude += std::fabs(term);
      }
      CHECK(std::fabs(static_cast<double>(sum.total()) - exact) <=
            std::numeric_limits<float>::epsilon() * (2 * std::sqrt(static_cast<double>(n)) + 4) * magnitude);
    }
}
