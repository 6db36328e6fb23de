// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// MXFP4: E2M1 elements with a power-of-two scale for 32 of them. Source: OCP Microscaling Formats (MX) 1.0.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include <qwha/base/config.hpp>
#include <qwha/base/rows_view.hpp>
#include <qwha/quant/best_group.hpp>
#include <qwha/quant/bytes.hpp>
#include <qwha/quant/codebook.hpp>
#include <qwha/quant/minifloat.hpp>
#include <qwha/quant/quantizer.hpp>

namespace qwha {

/// What the codes of an MXFP4 block are relative to.
struct mxfp4_group {
  std::uint8_t exponent = 127;  ///< E8M0
  float scale = 1;              ///< 2^(exponent - 127)
};

}  // namespace qwha

namespace qwha::inline QWHA_ISA::detail {

/// Exponents that keep 6 * scale finite.
inline mxfp4_group mxfp4_scale(int exponent) noexcept {
  const auto e = static_cast<std::uint8_t>(std::clamp(exponent, 0, 252));
  return {e, e8m0_value(e)};
}

template <class Q>
mxfp4_group fit_mxfp4(const group_data& data, grid_search search) noexcept {
  int k = 0;  // largest = fraction 2^k, 1/2 <= fraction < 1
  const float fraction = std::frexp(largest_magnitude(data.weights), &k);
  if (fraction == 0) return mxfp4_scale(0);
  const int exponent = 127 + k - (fraction <= 0.875f ? 3 : 2);  // largest <= 7 scale
  if (search == grid_search::min_max) return mxfp4_scale(exponent);
  best_group<Q> best(data, mxfp4_scale(exponent));
  for (const int step : {-1, 1, -2, -3}) best.offer(mxfp4_scale(exponent + step));
  return best.get();
}

}  // namespace qwha::inline QWHA_ISA::detail

namespace qwha {

/// MXFP4: weight = E2M1[code] * 2^(exponent - 127). Codes: two per byte, the even element in the low nibble;
/// parameters: the exponent, one byte (E8M0), as in Hugging Face files (GGUF orders nibbles otherwise).
///
/// grid_search::min_max takes the smallest scale with no weight beyond 7 scales, so that each is within half a step of
/// a level; the rule of the OCP appendix, floor(log2(largest)) - 2, would clip up to 8 scales.
struct mxfp4 {
  using matrix_parameters = no_parameters;
  using group = mxfp4_group;
  static constexpr std::size_t block_size = 32;
  static constexpr std::size_t levels = 16;
  static constexpr std::size_t code_bytes = 16;
  static constexpr std::size_t parameter_bytes = 1;

  static std::string name() { return "mxfp4"; }

  QWHA_ALWAYS_INLINE static void decode(const std::byte* codes, const std::byte* parameters, const no_parameters&,
                                        float* QWHA_RESTRICT out) noexcept {
    const float scale = e8m0_value(std::to_integer<std::uint8_t>(*parameters));
    detail::level_table(e2m1_values, 0, scale).decode<4, block_size>(codes, out);
  }

  static no_parameters prepare(rows_view<const float>) noexcept { return {}; }

  /// @pre  weights are finite; fewer than 32 at the end of a row
  QWHA_ALWAYS_INLINE static group fit_group(std::span<const float> weights, const no_parameters&,
                                            grid_search search) noexcept {
    return detail::fit_mxfp4<mxfp4>({weights, {}}, search);
  }
  QWHA_ALWAYS_INLINE static group fit_group(std::span<const float> weights, std::span<const float> importance,
                                            const no_parameters&, grid_search search) noexcept {
    return detail::fit_mxfp4<mxfp4>({weights, importance}, search);
  }

  /// The power of two that is nearest in ratio.
  QWHA_ALWAYS_INLINE static group rescaled(const group& g, float t, const no_parameters&) noexcept {
    const bool usable = t > 0 && t < 0x1p100f;
    return usable ? detail::mxfp4_scale(g.exponent + static_cast<int>(std::lround(std::log2(t)))) : g;
  }

  QWHA_ALWAYS_INLINE static std::uint8_t code(const group& g, float w) noexcept { return e2m1_code(w / g.scale); }
  QWHA_ALWAYS_INLINE static float value(const group& g, std::uint8_t c) noexcept { return e2m1_values[c] * g.scale; }

  QWHA_ALWAYS_INLINE static void pack(const group& g, const std::uint8_t* codes, std::byte* code_plane,
                                      std::byte* parameter_plane) noexcept {
    detail::pack_nibbles<block_size, detail::nibble_order::low_first>(codes, code_plane);
    *parameter_plane = static_cast<std::byte>(g.exponent);
  }

  QWHA_ALWAYS_INLINE static group unpack(const std::byte* code_plane, const std::byte* parameter_plane,
                                         const no_parameters&, std::uint8_t* codes) noexcept {
    detail::unpack_nibbles<block_size, detail::nibble_order::low_first>(code_plane, codes);
    const auto exponent = std::to_integer<std::uint8_t>(*parameter_plane);
    return {exponent, e8m0_value(exponent)};
  }
};

static_assert(weighted_group_quantizer<mxfp4> && scale_quantizer<mxfp4>);

}  // namespace qwha
