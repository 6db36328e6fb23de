// SPDX-License-Identifier: MIT
// One linear layer, quantized to 3 bits and repaired with a sparse Walsh-Hadamard adapter, with the core alone: nothing
// is fitted to data here (that is qwha::initialize), so that every step shows.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <utility>
#include <vector>

#include <qwha/adapter/adamw.hpp>
#include <qwha/adapter/sparse_spectral_adapter.hpp>
#include <qwha/base/random.hpp>
#include <qwha/quant/affine.hpp>
#include <qwha/quant/quantize.hpp>
#include <qwha/transform/wht.hpp>

namespace {

constexpr std::size_t out = 256, in = 640, tokens = 64, per_row = 48;

/// Weights with structure: a few channels are louder, as in trained layers.
std::vector<float> make_weight() {
  const qwha::counter_random random(1);
  std::vector<float> w(out * in);
  for (std::size_t i = 0; i < w.size(); ++i) {
    const double bell = random.uniform(3 * i) + random.uniform(3 * i + 1) + random.uniform(3 * i + 2) - 1.5;
    w[i] = static_cast<float>(0.05 * bell * (i % in % 37 == 0 ? 4 : 1));
  }
  return w;
}

double norm(qwha::rows_view<const float> a) {
  double sum = 0;
  for (std::size_t r = 0; r < a.rows; ++r)
    for (std::size_t c = 0; c < a.cols; ++c) sum += static_cast<double>(a(r, c)) * static_cast<double>(a(r, c));
  return std::sqrt(sum);
}

double distance(qwha::rows_view<const float> a, qwha::rows_view<const float> b) {
  std::vector<float> d(a.rows * a.cols);
  for (std::size_t r = 0; r < a.rows; ++r)
    for (std::size_t c = 0; c < a.cols; ++c) d[r * a.cols + c] = a(r, c) - b(r, c);
  return norm({d.data(), a.rows, a.cols});
}

/// The `per_row` largest entries of each row of E Tᵀ: the best F without regard to the activations.
qwha::sparse_spectrum<float> largest_of(qwha::rows_view<float> error) {
  if (qwha::wht<>(in).apply(error) != qwha::status::ok) std::exit(1);  // rows e <- T e, that is E Tᵀ
  std::vector<qwha::spectrum_entry<float>> entries;
  for (std::size_t r = 0; r < out; ++r) {
    std::vector<std::size_t> order(in);
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::nth_element(order.begin(), order.begin() + per_row, order.end(),
                     [&](std::size_t a, std::size_t b) { return std::fabs(error(r, a)) > std::fabs(error(r, b)); });
    for (std::size_t k = 0; k < per_row; ++k) entries.push_back({r, order[k], error(r, order[k])});
  }
  return qwha::spectrum_from_entries(out, in, std::move(entries));
}

}  // namespace

int main() {
  using format = qwha::affine<3, 64>;
  const std::vector<float> weight = make_weight();
  const qwha::rows_view<const float> w(weight.data(), out, in);

  const auto base = qwha::quantize<format>(w);
  std::vector<float> dense(out * in), merged(out * in);
  base.dequantize({dense.data(), out, in});
  std::printf("layer [%zu, %zu] in %s: %zu bytes instead of %zu, weight error %.1f %%\n", out, in,
              format::name().c_str(), base.size_bytes(), weight.size() * sizeof(float),
              100 * distance(w, {dense.data(), out, in}) / norm(w));

  std::vector<float> error(out * in);
  for (std::size_t i = 0; i < error.size(); ++i) error[i] = weight[i] - dense[i];
  qwha::sparse_spectral_adapter<float, format> adapter(base, largest_of({error.data(), out, in}));
  adapter.merge({merged.data(), out, in});
  std::printf("adapter of %zu coefficients (%.1f %% of the weights) on %s: weight error %.1f %%\n",
              adapter.spectrum().size(),
              100.0 * static_cast<double>(adapter.spectrum().size()) / static_cast<double>(out * in),
              qwha::order_name(in).c_str(), 100 * distance(w, {merged.data(), out, in}) / norm(w));

  // The same layer three ways: activations transformed, weights transformed, merged and multiplied.
  std::vector<float> x(tokens * in), y1(tokens * out), y2(tokens * out), y3(tokens * out), target(tokens * out);
  const qwha::counter_random random(2);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(random.uniform(i) - 0.5);
  const qwha::rows_view<const float> xs(x.data(), tokens, in);
  const qwha::rows_view<float> a(y1.data(), tokens, out), b(y2.data(), tokens, out), c(y3.data(), tokens, out);
  if (adapter.forward(xs, a, {.path = qwha::adapter_path::activations}) != qwha::status::ok ||
      adapter.forward(xs, b, {.path = qwha::adapter_path::weights}) != qwha::status::ok)
    return 1;
  qwha::tile_product{}({merged.data(), out, in}, xs, c);
  std::printf("forward, relative difference to the product with the merged weight: activations %.1e, weights %.1e\n",
              distance(a, c) / norm(c), distance(b, c) / norm(c));
  std::printf("for %zu tokens the cost model takes the %s\n", tokens,
              adapter.path(tokens) == qwha::adapter_path::activations ? "activations" : "weights");

  // Training: make the adapted layer answer as the original does on these tokens.
  const qwha::rows_view<float> wanted(target.data(), tokens, out);
  qwha::tile_product{}(w, xs, wanted);
  qwha::adamw optimiser(adapter.spectrum().size(), {.learning_rate = 2e-3, .weight_decay = 0});
  std::vector<float> gradient(adapter.spectrum().size());
  for (int step = 0; step <= 100; ++step) {
    if (adapter.forward(xs, a) != qwha::status::ok) return 1;
    if (step % 50 == 0)
      std::printf("training step %3d: output error %.2f %%\n", step, 100 * distance(a, wanted) / norm(wanted));
    for (std::size_t i = 0; i < y1.size(); ++i) y1[i] -= target[i];  // the gradient of half the squared error
    std::fill(gradient.begin(), gradient.end(), 0.0f);
    if (adapter.backward(xs, a, {}, gradient) != qwha::status::ok ||
        optimiser.step(adapter.values(), gradient) != qwha::status::ok)
      return 1;
  }
}
