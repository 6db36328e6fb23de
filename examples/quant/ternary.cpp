// SPDX-License-Identifier: MIT
/// A weight format of one's own: write what a block is, and `quantize` and `quantized_matrix` work with it.

#include <cmath>
#include <cstdio>
#include <cstring>
#include <vector>

#include <qwha/base/random.hpp>
#include <qwha/quant/quantize.hpp>

/// -s, 0 or s in blocks of 64: two-bit codes and a float.
struct ternary {
  using matrix_parameters = qwha::no_parameters;
  using group = float;  // s
  static constexpr std::size_t block_size = 64, levels = 3, code_bytes = 16, parameter_bytes = 4;
  static std::string name() { return "ternary"; }
  static qwha::no_parameters prepare(qwha::rows_view<const float>) noexcept { return {}; }
  static float fit_group(std::span<const float> w, const qwha::no_parameters&, qwha::grid_search) noexcept {
    float sum = 0;
    for (const float x : w) sum += std::abs(x);
    return 1.5f * sum / static_cast<float>(w.size());
  }
  static std::uint8_t code(float s, float w) noexcept {
    return static_cast<std::uint8_t>(1 + (2 * w > s) - (2 * w < -s));
  }
  static float value(float s, std::uint8_t c) noexcept { return (static_cast<float>(c) - 1) * s; }
  static void pack(float s, const std::uint8_t* codes, std::byte* code_plane, std::byte* parameter_plane) noexcept {
    for (int i = 0; i < 16; ++i, codes += 4)
      code_plane[i] = static_cast<std::byte>(codes[0] | codes[1] << 2 | codes[2] << 4 | codes[3] << 6);
    std::memcpy(parameter_plane, &s, sizeof(s));
  }
  static float unpack(const std::byte* c, const std::byte* p, const qwha::no_parameters&,
                      std::uint8_t* codes) noexcept {
    for (std::size_t i = 0; i < 64; ++i) codes[i] = std::to_integer<std::uint8_t>(c[i / 4] >> 2 * (i % 4)) & 3;
    float s = 0;
    std::memcpy(&s, p, sizeof(s));
    return s;
  }
  static void decode(const std::byte* c, const std::byte* p, const qwha::no_parameters& m, float* out) noexcept {
    std::uint8_t codes[64];
    const float s = unpack(c, p, m, codes);
    for (std::size_t i = 0; i < 64; ++i) out[i] = value(s, codes[i]);
  }
};

int main() {
  constexpr std::size_t rows = 64, cols = 256;
  const qwha::counter_random random(1);
  std::vector<float> w(rows * cols), wq(rows * cols);
  for (std::size_t i = 0; i < w.size(); ++i)
    w[i] = static_cast<float>(random.uniform(2 * i) - random.uniform(2 * i + 1));
  const auto m = qwha::quantize<ternary>(qwha::rows_view<const float>(w.data(), rows, cols));
  m.dequantize(qwha::rows_view<float>(wq.data(), rows, cols));
  double error = 0, norm = 0;
  for (std::size_t i = 0; i < w.size(); ++i) error += std::pow(w[i] - wq[i], 2), norm += std::pow(w[i], 2);
  std::printf("%s: %.2f bits per weight, relative error %.1f %% of the weights' norm\n", ternary::name().c_str(),
              8.0 * static_cast<double>(m.size_bytes()) / static_cast<double>(w.size()), 100 * std::sqrt(error / norm));
}
