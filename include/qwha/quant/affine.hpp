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
#include <qwha/quant/best_group.hpp>
#include <qwha/quant/bytes.hpp>
#include <qwha/quant/codebook.hpp>
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

/// Scales that T can hold with finite (code - zero) * scale.
template <class T>
struct scale_limit {
  static constexpr float lowest = std::is_same_v<T, half> ? 0x1p-24f : FLT_MIN;
  static constexpr float highest = std::is_same_v<T, half> ? 65504.0f : FLT_MAX / 512;
};

/// The scale as T keeps it.
template <class T>
float stored_scale(float scale) noexcept {
  return static_cast<float>(T(std::min(std::max(scale, scale_limit<T>::lowest), scale_limit<T>::highest)));
}
template <class T>
affine_group rescaled_affine(const affine_group& g, float t) noexcept {
  return {stored_scale<T>(g.scale * t), g.zero};
}

/// Chooses the grid of one group of an affine format.
template <class Q>
class affine_search {
 public:
  explicit affine_search(const group_data& data) noexcept : data_(data) {
    for (const float w : data.weights) {
      low_ = std::min(low_, w);
      high_ = std::max(high_, w);
    }
  }

  /// The grid that holds the range of the group, widened to include zero and then shrunk by `factor`.
  affine_group min_max(float factor = 1) const noexcept {
    if constexpr (Q::symmetric) {
      return {stored(factor * 2 * (std::max(-low_, high_) / top)), top / 2 + 0.5f};
    } else {
      const float scale = stored(factor * (high_ / top - low_ / top));
      return {scale, static_cast<float>(round_to_code(-low_ * factor / scale, top))};
    }
  }

  /// The best of the shrunk grids and of the least-squares scales around it, at neighbouring zero points too.
  affine_group least_squares() const noexcept {
    best_group<Q> best(data_, min_max());
    constexpr int steps = 40;  // factors 0.98 … 0.20
    for (int i = 1; i <= steps; ++i) best.offer(min_max(1.0f - 0.02f * static_cast<float>(i)));
    bool better = true;
    for (int round = 0; better && round < 10; ++round) {
      better = best.offer(refit(best.get()));
      if constexpr (!Q::symmetric) {
        const affine_group here = best.get();
        if (here.zero > 0) better |= best.offer(refit({here.scale, here.zero - 1}));
        if (here.zero < top) better |= best.offer(refit({here.scale, here.zero + 1}));
      }
    }
    return best.get();
  }

 private:
  static constexpr float top = static_cast<float>(Q::levels - 1);

  static float stored(float scale) noexcept { return stored_scale<typename Q::scale_type>(scale); }
  affine_group refit(const affine_group& g) const noexcept {
    return {stored(g.scale * least_squares_factor<Q>(g, data_)), g.zero};
  }

  group_data data_;
  float low_ = 0;
  float high_ = 0;
};

/// 0 … 2^Bits - 1, over and over.
template <int Bits>
inline constexpr float whole_numbers[16] = {0 % (1 << Bits),  1 % (1 << Bits),  2 % (1 << Bits),  3 % (1 << Bits),
                                            4 % (1 << Bits),  5 % (1 << Bits),  6 % (1 << Bits),  7 % (1 << Bits),
                                            8 % (1 << Bits),  9 % (1 << Bits),  10 % (1 << Bits), 11 % (1 << Bits),
                                            12 % (1 << Bits), 13 % (1 << Bits), 14 % (1 << Bits), 15 % (1 << Bits)};

template <class Q>
affine_group fit_affine(const group_data& data, grid_search search) noexcept {
  const affine_search<Q> s(data);
  return search == grid_search::mse ? s.least_squares() : s.min_max();
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
    if constexpr (Bits == 8) {
      for (std::size_t i = 0; i < Group; ++i) out[i] = level(g, std::to_integer<std::int32_t>(codes[i]));
    } else {
      detail::level_table(detail::whole_numbers<Bits>, g.zero, g.scale).template decode<Bits, Group>(codes, out);
    }
  }

  static no_parameters prepare(rows_view<const float>) noexcept { return {}; }

  /// @param weights  the group; fewer than Group at the end of a row. @pre finite
  QWHA_ALWAYS_INLINE static group fit_group(std::span<const float> weights, const no_parameters&,
                                            grid_search search) noexcept {
    return detail::fit_affine<affine>({weights, {}}, search);
  }
  /// Squared errors count `importance` times (the diagonal of a second moment, say); it matters to grid_search::mse
  /// only.
  /// @pre  as many importances as weights; finite, not negative
  QWHA_ALWAYS_INLINE static group fit_group(std::span<const float> weights, std::span<const float> importance,
                                            const no_parameters&, grid_search search) noexcept {
    return detail::fit_affine<affine>({weights, importance}, search);
  }

  QWHA_ALWAYS_INLINE static group rescaled(const group& g, float t, const no_parameters&) noexcept {
    return detail::rescaled_affine<Scale>(g, t);
  }

  /// The nearest level, ties to the even code. @pre w is finite
  QWHA_ALWAYS_INLINE static std::uint8_t code(const group& g, float w) noexcept {
    return static_cast<std::uint8_t>(nearest_code(g, w));
  }
  /// value(g, code(g, w))
  QWHA_ALWAYS_INLINE static float nearest(const group& g, float w) noexcept { return level(g, nearest_code(g, w)); }

  QWHA_ALWAYS_INLINE static float value(const group& g, std::uint8_t c) noexcept { return level(g, c); }

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
  QWHA_ALWAYS_INLINE static std::int32_t nearest_code(const group& g, float w) noexcept {
    return detail::round_to_code(w / g.scale + g.zero, static_cast<float>(levels - 1));
  }
  QWHA_ALWAYS_INLINE static float level(const group& g, std::int32_t c) noexcept {
    return (static_cast<float>(c) - g.zero) * g.scale;
  }

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

static_assert(weighted_group_quantizer<affine<4, 64>> && scale_quantizer<affine<4, 64>> &&
              weighted_group_quantizer<affine<3, 64, zero_point::symmetric, float>>);

}  // namespace qwha
