// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// FP4 of bitsandbytes: a sign and eight magnitudes of a small floating-point number, times the largest magnitude of a
/// block. Neither the levels nor the order of codes are those of E2M1. Source: bitsandbytes, functional.py.

#include <cstddef>
#include <cstdint>

#include <qwha/base/config.hpp>
#include <qwha/quant/absmax_codebook.hpp>
#include <qwha/quant/quantizer.hpp>

namespace qwha {

/// The levels of FP4 by bit pattern: twelfths, bit 3 the sign.
struct fp4_codebook {
  static constexpr const char* name = "fp4";
  static constexpr float levels[16] = {0.0f,          0.0625f / 12.0f,  8.0f / 12.0f,  12.0f / 12.0f,
                                       4.0f / 12.0f,  6.0f / 12.0f,     2.0f / 12.0f,  3.0f / 12.0f,
                                       0.0f,          -0.0625f / 12.0f, -8.0f / 12.0f, -12.0f / 12.0f,
                                       -4.0f / 12.0f, -6.0f / 12.0f,    -2.0f / 12.0f, -3.0f / 12.0f};

  /// Magnitudes ascend in the order of codes 0, 1, 6, 7, 4, 5, 2, 3; between two the lower wins a tie.
  QWHA_ALWAYS_INLINE static std::uint8_t code(float x) noexcept {
    constexpr float middles[7] = {0.03125f / 12, 1.03125f / 12, 2.5f / 12, 3.5f / 12, 5.0f / 12, 7.0f / 12, 10.0f / 12};
    constexpr std::uint32_t ascending = 0x32547610;  // nibble k: code of the k-th magnitude
    const float magnitude = x < 0 ? -x : x;
    std::uint32_t k = 0;
    for (const float middle : middles) k += magnitude > middle;
    return static_cast<std::uint8_t>((ascending >> 4 * k & 7u) + (x < 0 ? 8u : 0u));
  }
};

/// FP4; see absmax_codebook for bytes.
template <std::size_t Block = 64>
struct fp4 : absmax_codebook<fp4_codebook, Block> {};

static_assert(weighted_group_quantizer<fp4<>> && scale_quantizer<fp4<>>);

}  // namespace qwha
