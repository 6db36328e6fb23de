// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Which of the two ways through a sparse spectral adapter is cheaper: a model of their cost, as data.

#include <bit>
#include <cstddef>

#include <qwha/base/config.hpp>

namespace qwha {

/// How y = x (WQ + F T)ᵀ is computed.
enum class adapter_path {
  automatic,    ///< the cheaper one by the cost model
  activations,  ///< x̂ = T x once per token, then y += F x̂ with F sparse
  weights       ///< rows of WQ + F T, one transform per output row, then a dense product
};

/// Cost of what the two paths do beyond the product with WQ that both share. Only ratios matter; the defaults are
/// nanoseconds of one core (AVX-512, bench/adapter). An aggregate, so that an engine can state its own machine's.
struct adapter_cost_model {
  double butterfly = 0.010;   ///< one element through one of the log2(in) levels of a transform
  double interleave = 0.25;   ///< one element of x̂ brought into panel order (two tokens and more)
  double coefficient = 0.50;  ///< one coefficient times a panel of `panel` tokens
  double lone = 0.30;         ///< one coefficient times a single token
  double weight = 0.12;       ///< one weight of a row that has coefficients: clear, scatter, add to WQ
  std::size_t panel = 16;     ///< tokens that one coefficient meets at once

  bool operator==(const adapter_cost_model&) const = default;

  /// Cost of T x and F x̂.
  constexpr double activations(std::size_t in, std::size_t coefficients, std::size_t tokens) const noexcept {
    const double transforms = as(tokens) * as(in) * (levels(in) * butterfly + (tokens > 1 ? interleave : 0.0));
    const double products = tokens < 2 ? as(tokens) * lone : as((tokens + panel - 1) / panel) * coefficient;
    return transforms + as(coefficients) * products;
  }
  /// Cost of F T, all rows, whatever the number of tokens.
  constexpr double weights(std::size_t out, std::size_t in) const noexcept {
    return as(out) * as(in) * (levels(in) * butterfly + weight);
  }
  /// Never `automatic`.
  constexpr adapter_path choose(std::size_t out, std::size_t in, std::size_t coefficients,
                                std::size_t tokens) const noexcept {
    return activations(in, coefficients, tokens) <= weights(out, in) ? adapter_path::activations
                                                                     : adapter_path::weights;
  }

 private:
  static constexpr double as(std::size_t n) noexcept { return static_cast<double>(n); }
  static constexpr double levels(std::size_t in) noexcept { return in < 2 ? 0.0 : as(std::bit_width(in - 1)); }
};

}  // namespace qwha
