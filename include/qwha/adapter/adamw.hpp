// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// One step of AdamW over a vector of coefficients.

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <qwha/base/config.hpp>
#include <qwha/base/finite.hpp>
#include <qwha/base/float16.hpp>
#include <qwha/base/status.hpp>

namespace qwha {

/// Defaults: those of the paper's fine-tuning (learning rate, weight decay) and of Kingma and Ba (the rest).
struct adamw_options {
  double learning_rate = 5e-5;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0.01;

  bool operator==(const adamw_options&) const = default;
};

}  // namespace qwha

namespace qwha::inline QWHA_ISA {

/// AdamW (Loshchilov and Hutter 2019): with gradient g and step count t from 1,
///   m = β1 m + (1 - β1) g,  v = β2 v + (1 - β2) g²,  c -= η (m / (1 - β1^t) / (sqrt(v / (1 - β2^t)) + ε) + λ c).
/// Decay is decoupled: it does not pass through the moments.
///
/// Moments are float, 8 bytes a coefficient; each element is computed in double and rounded once, so the result is the
/// formula's to an ulp. 16-bit coefficients lose steps below half an ulp: train in float and convert.
class adamw {
 public:
  /// For `size` coefficients. @throws std::bad_alloc
  explicit adamw(std::size_t size, const adamw_options& options = {})
      : options_(options), first_(size, 0.0f), second_(size, 0.0f) {}

  const adamw_options& options() const noexcept { return options_; }
  std::uint64_t steps() const noexcept { return steps_; }

  /// One step at the learning rate of the options times `schedule` (warm-up, cosine).
  /// @param values     [size], changed
  /// @param gradients  [size]
  /// Errors: shape_mismatch; not_finite when a gradient is NaN or infinite: nothing is changed then, and the step is
  /// not counted.
  template <class T>
  status step(std::span<T> values, std::span<const float> gradients, double schedule = 1) noexcept {
    if (values.size() != first_.size() || gradients.size() != first_.size()) return status::shape_mismatch;
    if (!all_finite(gradients.data(), gradients.size()) || !is_finite(schedule)) return status::not_finite;
    ++steps_;
    const auto t = static_cast<double>(steps_);
    const double correct1 = 1 / (1 - std::pow(options_.beta1, t)), correct2 = 1 / (1 - std::pow(options_.beta2, t));
    const double rate = options_.learning_rate * schedule;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const double g = gradients[i], c = static_cast<arithmetic_t<T>>(values[i]);
      const double m = options_.beta1 * first_[i] + (1 - options_.beta1) * g;
      const double v = options_.beta2 * second_[i] + (1 - options_.beta2) * g * g;
      first_[i] = static_cast<float>(m);
      second_[i] = static_cast<float>(std::min<double>(v, FLT_MAX));  // a huge gradient must not freeze it at infinity
      const double direction = m * correct1 / (std::sqrt(v * correct2) + options_.epsilon);
      values[i] = static_cast<T>(static_cast<arithmetic_t<T>>(c - rate * (direction + options_.weight_decay * c)));
    }
    return status::ok;
  }

 private:
  adamw_options options_;
  std::uint64_t steps_ = 0;
  std::vector<float> first_, second_;
};

}  // namespace qwha::inline QWHA_ISA
