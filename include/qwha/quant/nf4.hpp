// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// NF4: sixteen levels at quantiles of a normal distribution, times the largest magnitude of a block.
/// Source: Dettmers et al. 2023 (QLoRA), levels and thresholds as in bitsandbytes.

#include <cstddef>
#include <cstdint>

#include <qwha/base/config.hpp>
#include <qwha/quant/absmax_codebook.hpp>
#include <qwha/quant/quantizer.hpp>

namespace qwha {

/// The levels of NF4, ascending.
struct nf4_codebook {
  static constexpr const char* name = "nf4";
  static constexpr float levels[16] = {-1.0f,
                                       -0.6961928009986877f,
                                       -0.5250730514526367f,
                                       -0.39491748809814453f,
                                       -0.28444138169288635f,
                                       -0.18477343022823334f,
                                       -0.09105003625154495f,
                                       0.0f,
                                       0.07958029955625534f,
                                       0.16093020141124725f,
                                       0.24611230194568634f,
                                       0.33791524171829224f,
                                       0.44070982933044434f,
                                       0.5626170039176941f,
                                       0.7229568362236023f,
                                       1.0f};
  /// Above threshold i the level is i + 1 or more.
  static constexpr float thresholds[15] = {
      -0.8480964004993439f,  -0.6106329262256622f,   -0.4599952697753906f, -0.33967943489551544f, -0.23460740596055984f,
      -0.13791173323988914f, -0.045525018125772476f, 0.03979014977812767f, 0.1202552504837513f,   0.2035212516784668f,
      0.2920137718319893f,   0.3893125355243683f,    0.5016634166240692f,  0.6427869200706482f,   0.8614784178118011f};

  QWHA_ALWAYS_INLINE static std::uint8_t code(float x) noexcept {
    int c = 0;
    for (const float threshold : thresholds) c += x > threshold;
    return static_cast<std::uint8_t>(c);
  }
};

/// NF4; see absmax_codebook for bytes.
template <std::size_t Block = 64>
struct nf4 : absmax_codebook<nf4_codebook, Block> {};

static_assert(weighted_group_quantizer<nf4<>> && scale_quantizer<nf4<>>);

}  // namespace qwha
