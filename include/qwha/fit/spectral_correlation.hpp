// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// The damped G = T S Tᵀ scaled to a unit diagonal, in float: what pursuit reads column after column.

#include <cmath>
#include <cstddef>
#include <vector>

#include <qwha/base/aligned_buffer.hpp>
#include <qwha/base/config.hpp>
#include <qwha/base/executor.hpp>
#include <qwha/base/rows_view.hpp>

namespace qwha::inline QWHA_ISA {

/// Correlations of the transformed activations: (G + λ I)_ij / sqrt((G + λ I)_ii (G + λ I)_jj). Made once for all rows of
/// a layer; 4 in² bytes. A row and a column whose diagonal is below 1e-10 of the mean, no activity, are zero.
class spectral_correlation {
 public:
  /// Rows begin at multiples of this many elements, and what lies between is zero.
  static constexpr std::size_t chunk = 64;

  /// @param gram     G [in, in], symmetric
  /// @param damping  λ, absolute
  spectral_correlation(rows_view<const double> gram, double damping, const executor& where)
      : in_(gram.rows),
        padded_((gram.rows + chunk - 1) / chunk * chunk),
        scale_(gram.rows),
        values_(gram.rows * padded_) {
    double mean = damping;
    for (std::size_t j = 0; j < in_; ++j) mean += gram(j, j) / static_cast<double>(in_);
    for (std::size_t j = 0; j < in_; ++j) {
      const double g = gram(j, j) + damping;
      scale_[j] = g > 1e-10 * mean ? 1 / std::sqrt(g) : 0;
    }
    parallel_for(where, in_, 16, [&](std::size_t begin, std::size_t end) {
      for (std::size_t i = begin; i < end; ++i) {
        float* to = values_.data() + i * padded_;
        for (std::size_t j = 0; j < in_; ++j) to[j] = static_cast<float>(gram(i, j) * (scale_[i] * scale_[j]));
        for (std::size_t j = in_; j < padded_; ++j) to[j] = 0;
        to[i] = active(i) ? 1.0f : 0.0f;
      }
    });
  }

  std::size_t in() const noexcept { return in_; }
  std::size_t padded() const noexcept { return padded_; }
  /// Row i, which is column i: padded() values.
  const float* row(std::size_t i) const noexcept { return values_.data() + i * padded_; }
  /// 1 / sqrt((G + λ I)_jj), or 0.
  double scale(std::size_t j) const noexcept { return scale_[j]; }
  bool active(std::size_t j) const noexcept { return scale_[j] > 0; }

 private:
  std::size_t in_, padded_;
  std::vector<double> scale_;
  aligned_buffer<float> values_;
};

}  // namespace qwha::inline QWHA_ISA
