// SPDX-License-Identifier: MIT
// A consumer of all three umbrellas: quantize a layer, fit an adapter to calibration data, save it, load it.

#include <cstdio>
#include <filesystem>
#include <vector>

#include <qwha/io.hpp>
#include <qwha/qwha.hpp>

int main() {
  constexpr std::size_t out = 48, in = 64, tokens = 96;
  std::vector<float> weight(out * in), x(tokens * in);
  const qwha::counter_random random(1);
  for (std::size_t i = 0; i < weight.size(); ++i) weight[i] = static_cast<float>(random.uniform(i) - 0.5);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(random.uniform(weight.size() + i) - 0.5);
  const qwha::rows_view<const float> w{weight.data(), out, in};

  qwha::second_moment moment(in);
  moment.accumulate(qwha::rows_view<const float>{x.data(), tokens, in});
  const auto base = qwha::quantize<qwha::affine<2, 32>>(w);
  const auto fit = qwha::initialize(w, base, moment, qwha::fit_options{.parameters = 512});
  std::printf("layer error %.4f -> %.4f with %zu parameters\n", fit.error_before, fit.error_after, fit.spectrum.size());

  const auto file = std::filesystem::temp_directory_path() / "qwha-consumer-adapter.safetensors";
  qwha::io::save_adapter(
      file, {.modules = {{.name = "layer", .spectrum = fit.spectrum, .order_name = qwha::order_name(in)}}});
  const auto loaded = qwha::io::load_adapter(file);
  std::filesystem::remove(file);
  return fit.error_after < fit.error_before && loaded.modules.at(0).spectrum.size() == fit.spectrum.size() ? 0 : 1;
}
