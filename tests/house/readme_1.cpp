// SPDX-License-Identifier: MIT
#include <cstdio>
#include <vector>

#include <qwha/io.hpp>
#include <qwha/qwha.hpp>

int main() {
  // A weight [out, in] and activations [tokens, in] of one layer; here random, else your engine's.
  constexpr std::size_t out = 96, in = 160, tokens = 512;
  std::vector<float> weight(out * in), activations(tokens * in), y(tokens * out);
  const qwha::counter_random random(1);
  for (std::size_t i = 0; i < weight.size(); ++i) weight[i] = static_cast<float>(random.uniform(i)) - 0.5f;
  for (std::size_t i = 0; i < activations.size(); ++i)
    activations[i] = static_cast<float>(random.uniform(weight.size() + i)) - 0.5f;
  const qwha::rows_view<const float> w(weight.data(), out, in), x(activations.data(), tokens, in);

  qwha::second_moment moment(in);  // calibrate: S = X Xᵀ
  moment.accumulate(x);
  const auto base = qwha::quantize<qwha::affine<2, 32>>(w, qwha::gptq{.moment = &moment});
  const auto fit = qwha::initialize(w, base, moment, qwha::fit_options{.parameters = 16 * (out + in)});
  std::printf("error of the layer's output: %.3f quantized, %.3f adapted\n", fit.error_before, fit.error_after);

  // y = x (WQ + F T)ᵀ, and the file that keeps F.
  const qwha::sparse_spectral_adapter<float, qwha::affine<2, 32>> layer(base, fit.spectrum);
  if (layer.forward(x, qwha::rows_view<float>(y.data(), tokens, out)) != qwha::status::ok) return 1;
  qwha::io::save_adapter("layer.safetensors", {.modules = {{"layer", fit.spectrum, qwha::order_name(in)}}});
}
