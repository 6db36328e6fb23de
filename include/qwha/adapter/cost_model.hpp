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
/// nanoseconds of one core (AVX-512), fitted to bench/adapter/paths.csv. An aggregate, so that an engine can state its
/// own machine's. Members are always inlined, since the type crosses files (config.hpp).
struct adapter_cost_model {
  double butterfly = 0.0115;  ///< one element through one of the log2(in) levels of a transform
  double interleave = 0.5;    ///< one element of x̂ brought into panel order, and of F x̂ back (two tokens and more)
  double coefficient = 0.5;   ///< one coefficient times a panel of `panel` tokens, x̂ in L2
  double lone = 0.35;         ///< one coefficient times a single token
  double weight = 0.065;      ///< one weight of a row that has coefficients: clear, scatter, add to WQ
  double unpacked = 0.25;     ///< one weight of WQ decoded for at most `packed` tokens instead of multiplied as packed
  std::size_t panel = 16;     ///< tokens that one coefficient meets at once
  std::size_t packed = 16;    ///< tokens that the activation path multiplies with packed rows

  bool operator==(const adapter_cost_model&) const = default;

  /// Cost of T x and F x̂.
  QWHA_ALWAYS_INLINE constexpr double activations(std::size_t in, std::size_t coefficients,
                                                  std::size_t tokens) const noexcept {
    const double transforms = as(tokens) * as(in) * (levels(in) * butterfly + (tokens > 1 ? interleave : 0.0));
    const double products = tokens < 2 ? as(tokens) * lone : as((tokens + panel - 1) / panel) * coefficient;
    return transforms + as(coefficients) * products;
  }
  /// Cost of F T, all rows, and of what the packed product would have saved.
  QWHA_ALWAYS_INLINE constexpr double weights(std::size_t out, std::size_t in, std::size_t tokens) const noexcept {
    return as(out) * as(in) * (levels(in) * butterfly + weight + (tokens <= packed ? unpacked : 0.0));
  }
  /// Never `automatic`.
  QWHA_ALWAYS_INLINE constexpr adapter_path choose(std::size_t out, std::size_t in, std::size_t coefficients,
                                                   std::size_t tokens) const noexcept {
    return activations(in, coefficients, tokens) <= weights(out, in, tokens) ? adapter_path::activations
                                                                             : adapter_path::weights;
  }

 private:
  QWHA_ALWAYS_INLINE static constexpr double as(std::size_t n) noexcept { return static_cast<double>(n); }
  /// Additions an element: one a level of the power of two, m / 4 + 3 for a leading factor m = 4 · odd (wht).
  QWHA_ALWAYS_INLINE static constexpr double levels(std::size_t in) noexcept {
    const int twos = in == 0 ? 0 : std::countr_zero(in);
    const std::size_t odd = in >> twos;
    return odd < 2 ? twos : twos - 2 + as(odd) + 3;
  }
};

}  // namespace qwha
