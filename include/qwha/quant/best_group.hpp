// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Search for the group parameters of least squared error: what grid_search::mse means for every format here.

#include <algorithm>
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

/// The level nearest to w. @tparam Q  a group quantizer whose groups have no parts, or a part of one. Formats may offer it as `nearest`, without the detour through a byte that keeps loops
/// scalar.
template <class Q>
QWHA_ALWAYS_INLINE float nearest_level(const typename Q::group& g, float w) noexcept {
  if constexpr (requires { Q::nearest(g, w); })
    return Q::nearest(g, w);
  else
    return Q::value(g, Q::code(g, w));
}

/// Calls add(lane, weight, level, importance) for each weight with its nearest level. Sums go to `search_lanes` partial
/// sums, so that their order is the same on every machine and loops become vectors.
inline constexpr std::size_t search_lanes = 16;
template <class Q, class Add>
QWHA_ALWAYS_INLINE void for_each_level(const typename Q::group& g, const group_data& data, Add&& add) noexcept {
  const auto chunk = [&](const float* w, const float* h) {
    float level[search_lanes];
    for (std::size_t l = 0; l < search_lanes; ++l) level[l] = nearest_level<Q>(g, w[l]);
    for (std::size_t l = 0; l < search_lanes; ++l)
      add(l, static_cast<double>(w[l]), static_cast<double>(level[l]), static_cast<double>(h[l]));
  };
  float ones[search_lanes];
  std::fill_n(ones, search_lanes, 1.0f);
  const float* w = data.weights.data();
  const float* h = data.importance.empty() ? nullptr : data.importance.data();
  const std::size_t count = data.weights.size();
  std::size_t i = 0;
  for (; i + search_lanes <= count; i += search_lanes) chunk(w + i, h == nullptr ? ones : h + i);
  if (i < count) {  // absent weights count nothing
    float last[search_lanes] = {}, importance[search_lanes] = {};
    std::copy_n(w + i, count - i, last);
    std::copy_n(h == nullptr ? ones : h + i, count - i, importance);
    chunk(last, importance);
  }
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
