// SPDX-License-Identifier: MIT
// Why adapters and quantizers rotate activations: one large entry becomes many small ones, and nothing is lost.
// usage: outliers [n]      (default 640, the hidden size of Gemma 3 270M)

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include <qwha/base/error.hpp>
#include <qwha/base/random.hpp>
#include <qwha/transform/wht.hpp>

namespace {

float largest(const std::vector<float>& x) {
  float m = 0;
  for (const float v : x) m = std::max(m, std::abs(v));
  return m;
}
double norm(const std::vector<float>& x) {
  double sum = 0;
  for (const float v : x) sum += static_cast<double>(v) * v;
  return std::sqrt(sum);
}

int spread_outlier(std::size_t n) {
  const qwha::wht<> transform(n);
  const qwha::counter_random random(1);
  std::vector<float> x(n);
  for (std::size_t i = 0; i < n; ++i) x[i] = static_cast<float>(random.uniform(i) - 0.5);
  x[n / 3] = 50;
  const std::vector<float> original = x;
  const qwha::rows_view<float> row{x.data(), 1, n};

  std::printf("order %zu = %s\n", n, transform.name().c_str());
  std::printf("before  max |x| %8.3f   norm %8.3f\n", static_cast<double>(largest(x)), norm(x));
  if (transform.apply(row) != qwha::status::ok) return 1;
  std::printf("after   max |x| %8.3f   norm %8.3f   (the outlier is spread over all entries)\n",
              static_cast<double>(largest(x)), norm(x));
  if (transform.apply_transpose(row) != qwha::status::ok) return 1;
  float error = 0;
  for (std::size_t i = 0; i < n; ++i) error = std::max(error, std::abs(x[i] - original[i]));
  std::printf("undone  max |x - x0| %g   (float rounding only)\n", static_cast<double>(error));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return spread_outlier(argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 640);
  } catch (const qwha::error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
