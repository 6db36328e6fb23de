// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Uniform integer codes of 2, 3, 4 or 8 bits with a scale, and perhaps a zero point, per group of input channels.

#include <algorithm>
#include <cfloat>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>

#include <qwha/base/config.hpp>
#include <qwha/base/float16.hpp>
#include <qwha/base/rows_view.hpp>
#include <qwha/quant/bytes.hpp>
#include <qwha/quant/quantizer.hpp>

namespace qwha {

/// Where the code of weight zero lies.
enum class zero_point {
  symmetric,  ///< at 2^(bits - 1), not stored
  asymmetric  ///< anywhere in 0 … 2^bits - 1, one byte per group
};

/// What the codes of an affine group are relative to: weight = (code - zero) * scale.
struct affine_group {
  float scale = 1;  ///< as stored: rounded, finite, above zero
  float zero = 0;   ///< a whole number
};

}  // namespace qwha

namespace qwha::inline QWHA_ISA::detail {

/// Chooses the grid of one affine group.
/// @tparam Limit  smallest and largest scale that may be stored are Limit::lowest() and Limit::highest(), and
///                Limit::round(s) is the stored neighbour of s
template <int Bits, bool Symmetric, class Limit>
class affine_search {
 public:
  static constexpr float top = static_cast<float>((1 << Bits) - 1);
  static constexpr float centre = static_cast<float>(1 << (Bits - 1));

  /// @param importance  weight of each squared error, or empty for ones
  affine_search(std::span<const float> weights, std::span<const float> importance) noexcept
      : weights_(weights), importance_(importance) {
    for (const float w : weights) {
      lowest_ = std::min(lowest_, w);
      highest_ = std::max(highest_, w);
    }
  }

  /// The grid that holds the group's range, widened to include zero, shrunk by `factor`.
  affine_group min_max(float factor = 1) const noexcept {
    if constexpr (Symmetric) {
      return {stored(factor * 2 * (std::max(-lowest_, highest_) / top)), centre};
    } else {
      const float scale = stored(factor * (highest_ / top - lowest_ / top));
      return {scale, nearest(-lowest_ * factor / scale)};
    }
  }

  /// The best of the shrunk grids, then of least-squares scales around it. Never worse than min_max().
  affine_group least_squares() const noexcept {
    const affine_group start = min_max();
    affine_group best = start;
    float least = error(best);
    const auto offer = [&](const affine_group& g) {
      const float e = error(g);
      if (!(e < least)) return false;
      least = e;
      best = g;
      return true;
    };
    constexpr int steps = 80;  // factors 0.99 … 0.20
    for (int i = 1; i <= steps; ++i) offer(min_max(1.0f - 0.01f * static_cast<float>(i)));
    for (int round = 0; round < 4; ++round) {
      bool better = offer(refit(best));
      if constexpr (!Symmetric) {
        const affine_group here = best;
        if (here.zero > 0) better |= offer(refit({here.scale, here.zero - 1}));
        if (here.zero < top) better |= offer(refit({here.scale, here.zero + 1}));
      }
      if (!better) break;
    }
    return exact_error(best) < exact_error(start) ? best : start;  // float sums cannot tell near equals apart
  }

  static float nearest(float code) noexcept {
    return static_cast<float>(round_to_unsigned(std::min(std::max(code, 0.0f), top)));
  }

 private:
  static constexpr std::size_t lanes = 16;  // partial sums: the order of additions does not depend on the machine

  static float stored(float scale) noexcept {
    return Limit::round(std::min(std::max(scale, Limit::lowest()), Limit::highest()));
  }

  /// Calls add(lane, weight, importance, code - zero) for every weight of the group.
  template <class Add>
  void for_each(const affine_group& g, Add&& add) const noexcept {
    const float inverse = 1.0f / g.scale;
    const float* w = weights_.data();
    const float* h = importance_.data();
    const auto visit = [&](std::size_t lane, std::size_t i, float weight) {
      const float t = std::min(std::max(w[i] * inverse + g.zero, 0.0f), top);
      add(lane, w[i], weight, static_cast<float>(static_cast<std::int32_t>(round_to_unsigned(t))) - g.zero);
    };
    std::size_t i = 0;
    for (; i + lanes <= weights_.size(); i += lanes) {
      if (importance_.empty())
        for (std::size_t l = 0; l < lanes; ++l) visit(l, i + l, 1.0f);
      else
        for (std::size_t l = 0; l < lanes; ++l) visit(l, i + l, h[i + l]);
    }
    for (; i < weights_.size(); ++i) visit(0, i, importance_.empty() ? 1.0f : h[i]);
  }

  static float sum(const float (&partial)[lanes]) noexcept {
    float total = 0;
    for (const float p : partial) total += p;
    return total;
  }

  float error(const affine_group& g) const noexcept {
    float partial[lanes] = {};
    for_each(g, [&](std::size_t lane, float w, float h, float step) {
      const float d = w - step * g.scale;
      partial[lane] += h * d * d;
    });
    return sum(partial);
  }

  double exact_error(const affine_group& g) const noexcept {
    double total = 0;
    for (std::size_t i = 0; i < weights_.size(); ++i) {
      const double d = static_cast<double>(weights_[i]) -
                       static_cast<double>((nearest(weights_[i] / g.scale + g.zero) - g.zero) * g.scale);
      total += (importance_.empty() ? 1.0 : static_cast<double>(importance_[i])) * d * d;
    }
    return total;
  }

  /// The scale of least squared error for the codes that `g` gives.
  affine_group refit(const affine_group& g) const noexcept {
    float product[lanes] = {};
    float square[lanes] = {};
    for_each(g, [&](std::size_t lane, float w, float h, float step) {
      product[lane] += h * w * step;
      square[lane] += h * step * step;
    });
    const float denominator = sum(square);
    const float scale = sum(product) / denominator;
    return denominator > 0 && scale > 0 ? affine_group{stored(scale), g.zero} : g;
  }

  std::span<const float> weights_;
  std::span<const float> importance_;
  float lowest_ = 0;
  float highest_ = 0;
};

/// Scales that T can hold with finite (code - zero) * scale.
template <class T, int Bits>
struct scale_limit {
  static float lowest() noexcept { return std::is_same_v<T, half> ? 0x1p-24f : FLT_MIN; }
  static float highest() noexcept {
    return std::is_same_v<T, half> ? 65504.0f : FLT_MAX / static_cast<float>(2 << Bits);
  }
  static float round(float s) noexcept { return static_cast<float>(T(s)); }
};

template <class Q>
inline affine_group fit_affine(std::span<const float> weights, std::span<const float> importance,
                               grid_search search) noexcept {
  const affine_search<Q::bits, Q::symmetric, scale_limit<typename Q::scale_type, Q::bits>> s(weights, importance);
  return search == grid_search::mse ? s.least_squares() : s.min_max();
}

/// Eight codes of `Bits` bits from Bits bytes of a little-endian bit stream: the shift and mask of each lane are
/// constants, so a compiler makes vectors of it.
template <int Bits>
QWHA_ALWAYS_INLINE void decode_eight(const std::byte* codes, float scale, float zero, float* out) noexcept {
  if constexpr (Bits == 8) {
    for (int j = 0; j < 8; ++j) out[j] = (static_cast<float>(std::to_integer<std::int32_t>(codes[j])) - zero) * scale;
  } else {
    const std::uint32_t x = load_bytes<static_cast<std::size_t>(Bits)>(codes);
    for (int j = 0; j < 8; ++j)
      out[j] = (static_cast<float>(static_cast<std::int32_t>((x >> (Bits * j)) & ((1u << Bits) - 1u))) - zero) * scale;
  }
}

}  // namespace qwha::inline QWHA_ISA::detail

namespace qwha {

/// Uniform codes: weight = (code - zero) * scale, in float, with one rounding.
///
/// Codes of a group are a little-endian bit stream along `in` (3 bits straddle bytes), as the columns of a GPTQ
/// checkpoint. Parameters: the scale as `Scale`, then the zero point as one byte where it is asymmetric. Scales are
/// clamped to what `Scale` holds, so that nothing becomes infinite; a group of zeros decodes to zeros.
/// @tparam Bits   2, 3, 4 or 8
/// @tparam Group  weights along `in` that share a scale; a whole number of bytes
/// @tparam Scale  half, bfloat16 or float
template <int Bits, std::size_t Group, zero_point Z = zero_point::asymmetric, class Scale = half>
struct affine {
  static_assert(Bits == 2 || Bits == 3 || Bits == 4 || Bits == 8,
                "qwha::affine<Bits, Group>: Bits must be 2, 3, 4 or 8");
  static_assert(Group > 0 && Group * static_cast<std::size_t>(Bits) % 8 == 0,
                "qwha::affine<Bits, Group>: Group codes must fill whole bytes");
  static_assert(std::is_same_v<Scale, half> || std::is_same_v<Scale, bfloat16> || std::is_same_v<Scale, float>,
                "qwha::affine<Bits, Group, Z, Scale>: Scale must be qwha::half, qwha::bfloat16 or float");

  using matrix_parameters = no_parameters;
  using group = affine_group;
  using scale_type = Scale;
  static constexpr int bits = Bits;
  static constexpr bool symmetric = Z == zero_point::symmetric;
  static constexpr std::size_t block_size = Group;
  static constexpr std::size_t levels = std::size_t{1} << Bits;
  static constexpr std::size_t code_bytes = Group * static_cast<std::size_t>(Bits) / 8;
  static constexpr std::size_t parameter_bytes = sizeof(Scale) + (symmetric ? 0 : 1);

  static std::string name() {
    return "int" + std::to_string(Bits) + " g" + std::to_string(Group) + (symmetric ? " symmetric" : "") +
           (std::is_same_v<Scale, float>      ? " f32"
            : std::is_same_v<Scale, bfloat16> ? " bf16"
                                              : "");
  }

  QWHA_ALWAYS_INLINE static void decode(const std::byte* codes, const std::byte* parameters, const no_parameters&,
                                        float* QWHA_RESTRICT out) noexcept {
    const group g = load_group(parameters);
    std::size_t i = 0;
    for (; i + 8 <= Group; i += 8) {
      detail::decode_eight<Bits>(codes, g.scale, g.zero, out + i);
      codes += Bits;
    }
    if constexpr (Group % 8 != 0)
      for (std::size_t j = 0; i < Group; ++i, ++j) out[i] = value(g, code_at(codes, j));
  }

  static no_parameters prepare(rows_view<const float>) noexcept { return {}; }

  /// @param weights  the group; fewer than Group at the end of a row. @pre finite
  QWHA_ALWAYS_INLINE static group fit_group(std::span<const float> weights, const no_parameters&,
                                            grid_search search) noexcept {
    return detail::fit_affine<affine>(weights, {}, search);
  }
  /// Squared errors count `importance` times (the diagonal of a second moment, say); it matters to grid_search::mse
  /// only.
  /// @pre  as many importances as weights; finite, not negative
  QWHA_ALWAYS_INLINE static group fit_group(std::span<const float> weights, std::span<const float> importance,
                                            const no_parameters&, grid_search search) noexcept {
    return detail::fit_affine<affine>(weights, importance, search);
  }

  /// The nearest level (ties to even). @pre w is finite
  QWHA_ALWAYS_INLINE static std::uint8_t code(const group& g, float w) noexcept {
    constexpr float top = static_cast<float>(levels - 1);
    const float t = std::min(std::max(w / g.scale + g.zero, 0.0f), top);
    return static_cast<std::uint8_t>(detail::round_to_unsigned(t));
  }

  QWHA_ALWAYS_INLINE static float value(const group& g, std::uint8_t c) noexcept {
    return (static_cast<float>(c) - g.zero) * g.scale;
  }

  QWHA_ALWAYS_INLINE static void pack(const group& g, const std::uint8_t* codes, std::byte* code_plane,
                                      std::byte* parameter_plane) noexcept {
    std::uint32_t pending = 0;
    int filled = 0;
    for (std::size_t i = 0; i < Group; ++i) {
      pending |= static_cast<std::uint32_t>(codes[i]) << filled;
      for (filled += Bits; filled >= 8; filled -= 8) {
        *code_plane++ = static_cast<std::byte>(pending);
        pending >>= 8;
      }
    }
    detail::store_scalar<Scale>(parameter_plane, g.scale);
    if constexpr (!symmetric) parameter_plane[sizeof(Scale)] = static_cast<std::byte>(g.zero);
  }

  QWHA_ALWAYS_INLINE static group unpack(const std::byte* code_plane, const std::byte* parameter_plane,
                                         const no_parameters&, std::uint8_t* codes) noexcept {
    for (std::size_t i = 0; i < Group; ++i) codes[i] = code_at(code_plane, i);
    return load_group(parameter_plane);
  }

 private:
  QWHA_ALWAYS_INLINE static group load_group(const std::byte* parameters) noexcept {
    const float scale = detail::load_scalar<Scale>(parameters);
    if constexpr (symmetric)
      return {scale, static_cast<float>(levels / 2)};
    else
      return {scale, static_cast<float>(std::to_integer<std::uint8_t>(parameters[sizeof(Scale)]))};
  }

  QWHA_ALWAYS_INLINE static std::uint8_t code_at(const std::byte* codes, std::size_t i) noexcept {
    const std::size_t bit = i * static_cast<std::size_t>(Bits);
    const std::size_t shift = bit % 8;
    std::uint32_t x = std::to_integer<std::uint32_t>(codes[bit / 8]) >> shift;
    if (shift + static_cast<std::size_t>(Bits) > 8)
      x |= std::to_integer<std::uint32_t>(codes[bit / 8 + 1]) << (8 - shift);
    return static_cast<std::uint8_t>(x & (levels - 1));
  }
};

static_assert(group_quantizer<affine<4, 64>> && group_quantizer<affine<3, 64, zero_point::symmetric, float>>);

}  // namespace qwha
