// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Search for the group parameters of least squared error: what grid_search::mse means for every format here.

#include <cstddef>
#include <span>

#include <qwha/base/config.hpp>
#include <qwha/quant/quantizer.hpp>

namespace qwha::inline QWHA_ISA::detail {

/// Weights of one group and how much the squared error of each counts (empty: all alike).
struct group_data {
  std::span<const float> weights;
  std::span<const float> importance;
};

/// Calls add(lane, weight, value, importance) for each weight with its nearest level. Sums go to `search_lanes` partial
/// sums, so that their order is the same on every machine and loops become vectors.
inline constexpr std::size_t search_lanes = 16;
template <class Q, class Add>
QWHA_ALWAYS_INLINE void for_each_level(const typename Q::group& g, const group_data& data, Add&& add) noexcept {
  const float* w = data.weights.data();
  const float* h = data.importance.data();
  const auto visit = [&](std::size_t lane, std::size_t i, float importance) {
    add(lane, static_cast<double>(w[i]), static_cast<double>(Q::value(g, Q::code(g, w[i]))),
        static_cast<double>(importance));
  };
  const std::size_t count = data.weights.size();
  const bool alike = data.importance.empty();
  std::size_t i = 0;
  for (; i + search_lanes <= count; i += search_lanes) {
    if (alike)
      for (std::size_t l = 0; l < search_lanes; ++l) visit(l, i + l, 1.0f);
    else
      for (std::size_t l = 0; l < search_lanes; ++l) visit(l, i + l, h[i + l]);
  }
  for (std::size_t l = 0; i < count; ++i, ++l) visit(l, i, alike ? 1.0f : h[i]);
}

inline double sum(const double (&partial)[search_lanes]) noexcept {
  double total = 0;
  for (const double p : partial) total += p;
  return total;
}

/// Sum of importance (weight - nearest level)², in double.
template <class Q>
double squared_error(const typename Q::group& g, const group_data& data) noexcept {
  double partial[search_lanes] = {};
  for_each_level<Q>(g, data, [&](std::size_t lane, double w, double value, double h) {
    partial[lane] += h * (w - value) * (w - value);
  });
  return sum(partial);
}

/// The factor on the scale that is best for the codes which `g` gives: sum h w v / sum h v², or 1 when all v are 0.
template <class Q>
float least_squares_factor(const typename Q::group& g, const group_data& data) noexcept {
  double product[search_lanes] = {};
  double square[search_lanes] = {};
  for_each_level<Q>(g, data, [&](std::size_t lane, double w, double value, double h) {
    product[lane] += h * w * value;
    square[lane] += h * value * value;
  });
  const double denominator = sum(square);
  return denominator > 0 ? static_cast<float>(sum(product) / denominator) : 1.0f;
}

/// Keeps the best of the groups that are offered; the first one wins ties.
template <class Q>
class best_group {
 public:
  using group = typename Q::group;

  best_group(const group_data& data, const group& first) noexcept
      : data_(data), best_(first), least_(squared_error<Q>(first, data)) {}

  /// True when `g` is better than all before.
  bool offer(const group& g) noexcept {
    const double e = squared_error<Q>(g, data_);
    if (!(e < least_)) return false;
    least_ = e;
    best_ = g;
    return true;
  }

  const group& get() const noexcept { return best_; }

 private:
  group_data data_;
  group best_;
  double least_;
};

}  // namespace qwha::inline QWHA_ISA::detail
