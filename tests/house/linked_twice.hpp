// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// What both files of `linked_twice` define for themselves: all headers, and calls through the layers.
/// With QWHA_CORE_ONLY the two files are built for different instruction sets: qwha's own code keeps them apart, which
/// Eigen's does not.

#if defined(QWHA_CORE_ONLY)
#include <qwha/core.hpp>
#else
#include "every_header.hpp"
#endif

#include <vector>

namespace {

/// One quantized layer, transformed and adapted: a number that must not depend on the file that computes it.
float adapted_sum() {
  constexpr std::size_t out = 32, in = 24, tokens = 4;
  using quantizer = qwha::affine<2, 8>;
  std::vector<float> w(out * in), x(tokens * in), y(tokens * out);
  const qwha::counter_random random(3);
  for (std::size_t i = 0; i < w.size(); ++i) w[i] = static_cast<float>(random.uniform(i)) - 0.5f;
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(random.uniform(i + w.size())) - 0.5f;
  const qwha::rows_view<const float> weight{w.data(), out, in}, activations{x.data(), tokens, in};
  const auto base = qwha::quantize<quantizer>(weight);
#if defined(QWHA_CORE_ONLY)
  std::vector<float> coefficients(out * in);
  for (std::size_t i = 0; i < coefficients.size(); i += 7) coefficients[i] = w[i];
  const auto spectrum = qwha::spectrum_from_dense(qwha::rows_view<const float>{coefficients.data(), out, in});
#else
  qwha::second_moment s(in);
  s.accumulate(activations);
  const auto spectrum = qwha::initialize(weight, base, s, qwha::fit_options{.parameters = 64}).spectrum;
#endif
  const qwha::sparse_spectral_adapter<float, quantizer> adapter(base, spectrum);
  if (adapter.forward(activations, qwha::rows_view<float>{y.data(), tokens, out}) != qwha::status::ok) return 0;
  float sum = 0;
  for (const float v : y) sum += v < 0 ? -v : v;
  return sum;
}

}  // namespace
