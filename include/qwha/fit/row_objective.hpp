// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// The squared error of one output channel as a quadratic of its coefficients.

#include <cstddef>
#include <cstdint>
#include <span>

#include <qwha/base/config.hpp>
#include <qwha/base/rows_view.hpp>

namespace qwha {

/// ‖(e - f T) X‖² = energy - 2 f bᵀ + f G fᵀ for one row e of E (method: b = e S Tᵀ, G = T S Tᵀ), and the same with S
/// damped, S + λ I, which adds λ c to b and λ I to G. Refers to memory of the problem.
struct row_objective {
  double energy;                    ///< e S eᵀ
  std::span<const double> product;  ///< b [in]
  std::span<const float> spectrum;  ///< c = e Tᵀ [in]
  rows_view<const double> gram;     ///< G [in, in], symmetric
  double damping;                   ///< λ, absolute

  QWHA_ALWAYS_INLINE std::size_t in() const noexcept { return product.size(); }
  QWHA_ALWAYS_INLINE double damped_product(std::size_t j) const noexcept {
    return product[j] + damping * static_cast<double>(spectrum[j]);
  }
  QWHA_ALWAYS_INLINE double damped_gram(std::size_t j) const noexcept { return gram(j, j) + damping; }
};

}  // namespace qwha
