// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Q4_K, the K block that is also written: 256 weights of 4 bits in eight sub-blocks with six-bit scales and minima.
/// Source of the layout: ggml-org/ggml, src/ggml-common.h; the search for scales is ours.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include <qwha/base/config.hpp>
#include <qwha/base/float16.hpp>
#include <qwha/base/rows_view.hpp>
#include <qwha/quant/best_group.hpp>
#include <qwha/quant/bytes.hpp>
#include <qwha/quant/gguf_super_blocks.hpp>
#include <qwha/quant/gguf_uniform.hpp>
#include <qwha/quant/quantizer.hpp>

namespace qwha {

/// What the codes of 32 weights are relative to: weight = scale * code - offset.
struct q4_k_part {
  float scale = 1;
  float offset = 0;  ///< not negative
};

/// What the codes of a block are relative to. Part j has scale * scale_codes[j] and minimum * minimum_codes[j].
struct q4_k_group {
  float scale = 0, minimum = 0;  ///< halves
  std::array<std::uint8_t, 8> scale_codes{}, minimum_codes{};
  std::array<q4_k_part, 8> parts{};
};

}  // namespace qwha

namespace qwha::inline QWHA_ISA::detail {

/// A part of a block as a grid of its own: what best_group searches.
struct q4_k_grid {
  using group = q4_k_part;
  static constexpr float top = 15;
  static std::int32_t nearest_code(const group& g, float w) noexcept {
    return round_to_code((w + g.offset) / g.scale, top);
  }
  static float nearest(const group& g, float w) noexcept {
    return g.scale * static_cast<float>(nearest_code(g, w)) - g.offset;
  }
};

/// Sums of the weighted least squares w ≈ x a - y b; empty until something is added.
class two_unknowns {
 public:
  void add(double h, double w, double a, double b) noexcept {
    aa_ += h * a * a, ab_ += h * a * b, bb_ += h * b * b, wa_ += h * w * a, wb_ += h * w * b;
  }
  /// Best x and y with y not negative. False where they are not determined.
  bool solve(double& x, double& y) const noexcept {
    const double determinant = aa_ * bb_ - ab_ * ab_;
    if (!(aa_ > 0)) return false;
    y = determinant > 1e-9 * aa_ * bb_ ? (wa_ * ab_ - wb_ * aa_) / determinant : 0;
    y = std::max(y, 0.0);
    x = (wa_ + y * ab_) / aa_;
    return x > 0;
  }

 private:
  double aa_ = 0, ab_ = 0, bb_ = 0, wa_ = 0, wb_ = 0;
};

/// Chooses the parameters of one block.
class q4_k_search {
 public:
  explicit q4_k_search(const group_data& data) noexcept : data_(data) {}

  /// Parts that hold their ranges, then the six-bit scales nearest to them.
  q4_k_group min_max() const noexcept {
    std::array<q4_k_part, 8> wanted{};
    for (std::size_t j = 0; j < parts(); ++j) wanted[j] = range(part(j), 1);
    return rounded(wanted);
  }

  /// The best parts, rounded together; then six-bit scales and the two halves in turn while the error falls.
  q4_k_group least_squares() const noexcept {
    std::array<q4_k_part, 8> wanted{};
    for (std::size_t j = 0; j < parts(); ++j) wanted[j] = best_part(part(j));
    q4_k_group best = min_max();
    double least = error(best);
    q4_k_group next = refined(rounded(wanted));
    for (int round = 0; round < 4; ++round) {
      const double e = error(next);
      if (!(e < least)) break;
      least = e;
      best = next;
      next = refined(with_best_halves(best));
    }
    return best;
  }

  static q4_k_group with_codes(float scale, float minimum, const std::array<std::uint8_t, 8>& scale_codes,
                               const std::array<std::uint8_t, 8>& minimum_codes) noexcept {
    q4_k_group g{scale, minimum, scale_codes, minimum_codes, {}};
    for (std::size_t j = 0; j < 8; ++j)
      g.parts[j] = {scale * to_float(scale_codes[j]), minimum * to_float(minimum_codes[j])};
    return g;
  }

 private:
  std::size_t parts() const noexcept { return (data_.weights.size() + 31) / 32; }
  group_data part(std::size_t j) const noexcept {
    const std::size_t first = 32 * j, count = std::min<std::size_t>(32, data_.weights.size() - first);
    return {data_.weights.subspan(first, count),
            data_.importance.empty() ? data_.importance : data_.importance.subspan(first, count)};
  }

  /// The grid from the least weight (or zero) to the largest, shrunk towards its middle.
  static q4_k_part range(const group_data& data, float factor) noexcept {
    const float low = std::min(0.0f, *std::min_element(data.weights.begin(), data.weights.end()));
    const float high = std::max(low, *std::max_element(data.weights.begin(), data.weights.end()));
    const float cut = (high / 2 - low / 2) * (1 - factor);
    const float offset = std::max(-(low + cut), 0.0f);
    return {std::max((high - cut) / q4_k_grid::top + offset / q4_k_grid::top, 0.0f), offset};
  }

  static q4_k_part best_part(const group_data& data) noexcept {
    best_group<q4_k_grid> best(data, range(data, 1));
    constexpr int steps = 20;  // factors 0.98 … 0.60
    for (int i = 1; i <= steps; ++i) best.offer(range(data, 1.0f - 0.02f * static_cast<float>(i)));
    bool better = true;
    for (int round = 0; better && round < 6; ++round) {
      two_unknowns sums;
      for_each_code(data, best.get(), [&](double h, double w, double c) { sums.add(h, w, c, 1); });
      double scale = 0, offset = 0;
      better = sums.solve(scale, offset) && best.offer({static_cast<float>(scale), static_cast<float>(offset)});
    }
    return best.get();
  }

  template <class Visit>
  static void for_each_code(const group_data& data, const q4_k_part& g, Visit&& visit) noexcept {
    for (std::size_t i = 0; i < data.weights.size(); ++i)
      visit(data.importance.empty() ? 1.0 : static_cast<double>(data.importance[i]),
            static_cast<double>(data.weights[i]), static_cast<double>(q4_k_grid::nearest_code(g, data.weights[i])));
  }

  static std::uint8_t six_bits(float x, float unit) noexcept {
    return unit > 0 ? static_cast<std::uint8_t>(round_to_code(x / unit, 63)) : std::uint8_t{0};
  }

  static q4_k_group rounded(const std::array<q4_k_part, 8>& wanted) noexcept {
    float scale = 0, offset = 0;
    for (const q4_k_part& p : wanted) scale = std::max(scale, p.scale), offset = std::max(offset, p.offset);
    const float unit = half_scale(scale / 63), minimum = finite_half(offset / 63);
    std::array<std::uint8_t, 8> scale_codes{}, minimum_codes{};
    for (std::size_t j = 0; j < 8; ++j) {
      scale_codes[j] = six_bits(wanted[j].scale, unit);
      minimum_codes[j] = six_bits(wanted[j].offset, minimum);
    }
    return with_codes(unit, minimum, scale_codes, minimum_codes);
  }

  /// Each part with the best of the six-bit pairs around its own.
  q4_k_group refined(q4_k_group g) const noexcept {
    for (std::size_t j = 0; j < parts(); ++j) {
      const int scale = g.scale_codes[j], minimum = g.minimum_codes[j];
      const group_data data = part(j);
      double least = squared_error<q4_k_grid>(g.parts[j], data);
      for (int s = std::max(scale - 1, 0); s <= std::min(scale + 1, 63); ++s)
        for (int m = std::max(minimum - 1, 0); m <= std::min(minimum + 1, 63); ++m) {
          const q4_k_part p{g.scale * static_cast<float>(s), g.minimum * static_cast<float>(m)};
          const double e = squared_error<q4_k_grid>(p, data);
          if (!(e < least)) continue;
          least = e;
          g.parts[j] = p;
          g.scale_codes[j] = static_cast<std::uint8_t>(s);
          g.minimum_codes[j] = static_cast<std::uint8_t>(m);
        }
    }
    return g;
  }

  q4_k_group with_best_halves(const q4_k_group& g) const noexcept {
    two_unknowns sums;
    for (std::size_t j = 0; j < parts(); ++j)
      for_each_code(part(j), g.parts[j], [&](double h, double w, double c) {
        sums.add(h, w, c * static_cast<double>(g.scale_codes[j]), static_cast<double>(g.minimum_codes[j]));
      });
    double scale = 0, minimum = 0;
    if (!sums.solve(scale, minimum)) return g;
    return with_codes(half_scale(static_cast<float>(scale)), finite_half(static_cast<float>(minimum)), g.scale_codes,
                      g.minimum_codes);
  }

  double error(const q4_k_group& g) const noexcept {
    double sum = 0;
    for (std::size_t j = 0; j < parts(); ++j) sum += squared_error<q4_k_grid>(g.parts[j], part(j));
    return sum;
  }

  group_data data_;
};

inline q4_k_group fit_q4_k(const group_data& data, grid_search search) noexcept {
  const q4_k_search s(data);
  return search == grid_search::mse ? s.least_squares() : s.min_max();
}

/// @param block  half scale, half minimum, twelve bytes of six-bit codes, then a nibble per weight
inline void pack_q4_k(const q4_k_group& g, const std::uint8_t* codes, std::byte* block) noexcept {
  store_scalar<half>(block, g.scale);
  store_scalar<half>(block + 2, g.minimum);
  for (std::size_t j = 0; j < 4; ++j) {
    const unsigned s = g.scale_codes[j + 4], m = g.minimum_codes[j + 4];
    block[4 + j] = static_cast<std::byte>(g.scale_codes[j] | s >> 4 << 6);
    block[8 + j] = static_cast<std::byte>(g.minimum_codes[j] | m >> 4 << 6);
    block[12 + j] = static_cast<std::byte>((s & 15u) | (m & 15u) << 4);
  }
  for (std::size_t i = 0; i < 128; ++i) {
    const std::uint8_t* low = codes + 64 * (i / 32) + i % 32;
    block[16 + i] = static_cast<std::byte>(low[0] | low[32] << 4);
  }
}

inline q4_k_group unpack_q4_k(const std::byte* block, std::uint8_t* codes) noexcept {
  for (std::size_t i = 0; i < 128; ++i) {
    std::uint8_t* low = codes + 64 * (i / 32) + i % 32;
    low[0] = static_cast<std::uint8_t>(byte_at(block + 16, i) & 15u);
    low[32] = static_cast<std::uint8_t>(byte_at(block + 16, i) >> 4);
  }
  std::array<std::uint8_t, 8> scales{}, minima{};
  for (std::size_t j = 0; j < 8; ++j) {
    const scale_and_minimum s = six_bit_pair(block + 4, j);
    scales[j] = static_cast<std::uint8_t>(s.scale);
    minima[j] = static_cast<std::uint8_t>(s.minimum);
  }
  return q4_k_search::with_codes(load_scalar<half>(block), load_scalar<half>(block + 2), scales, minima);
}

}  // namespace qwha::inline QWHA_ISA::detail

namespace qwha {

/// 4 bits with six-bit scales and minima per 32: weight = (scale * six bits) * code - minimum * six bits. Bytes: half
/// scale, half minimum, six-bit codes[12], codes[128]; the plane of parameters is empty.
struct q4_k {
  using matrix_parameters = no_parameters;
  using group = q4_k_group;
  static constexpr std::size_t block_size = 256, levels = 16, code_bytes = 144, parameter_bytes = 0;

  static std::string name() { return "q4_k"; }

  QWHA_ALWAYS_INLINE static void decode(const std::byte* block, const std::byte*, const no_parameters&,
                                        float* out) noexcept {
    detail::decode_q4_k(block, out);
  }

  static no_parameters prepare(rows_view<const float>) noexcept { return {}; }

  /// @pre  weights are finite, at least one; fewer than 256 at the end of a row
  QWHA_ALWAYS_INLINE static group fit_group(std::span<const float> weights, const no_parameters&,
                                            grid_search search) noexcept {
    return detail::fit_q4_k({weights, {}}, search);
  }
  QWHA_ALWAYS_INLINE static group fit_group(std::span<const float> weights, std::span<const float> importance,
                                            const no_parameters&, grid_search search) noexcept {
    return detail::fit_q4_k({weights, importance}, search);
  }
  QWHA_ALWAYS_INLINE static group rescaled(const group& g, float t, const no_parameters&) noexcept {
    return detail::q4_k_search::with_codes(detail::half_scale(g.scale * t), detail::finite_half(g.minimum * t),
                                           g.scale_codes, g.minimum_codes);
  }

  QWHA_ALWAYS_INLINE static const q4_k_part& part(const group& g, std::size_t i) noexcept { return g.parts[i / 32]; }
  QWHA_ALWAYS_INLINE static std::uint8_t code(const q4_k_part& g, float w) noexcept {
    return static_cast<std::uint8_t>(detail::q4_k_grid::nearest_code(g, w));
  }
  QWHA_ALWAYS_INLINE static float value(const q4_k_part& g, std::uint8_t c) noexcept {
    return g.scale * static_cast<float>(c) - g.offset;
  }

  QWHA_ALWAYS_INLINE static void pack(const group& g, const std::uint8_t* codes, std::byte* block,
                                      std::byte*) noexcept {
    detail::pack_q4_k(g, codes, block);
  }
  QWHA_ALWAYS_INLINE static group unpack(const std::byte* block, const std::byte*, const no_parameters&,
                                         std::uint8_t* codes) noexcept {
    return detail::unpack_q4_k(block, codes);
  }
};

static_assert(weighted_group_quantizer<q4_k> && scale_quantizer<q4_k>);

}  // namespace qwha
