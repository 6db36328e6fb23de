// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// NF4: sixteen levels at quantiles of a normal distribution, times the largest magnitude of a block.
/// Source: Dettmers et al. 2023 (QLoRA), levels and thresholds as in bitsandbytes.

#include <algorithm>
#include <cfloat>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include <qwha/base/config.hpp>
#include <qwha/base/rows_view.hpp>
#include <qwha/quant/best_group.hpp>
#include <qwha/quant/bytes.hpp>
#include <qwha/quant/codebook.hpp>
#include <qwha/quant/quantizer.hpp>

namespace qwha {

/// What the codes of an NF4 block are relative to.
struct nf4_group {
  float absmax = 1;  ///< above zero
};

}  // namespace qwha

namespace qwha::inline QWHA_ISA::detail {

inline constexpr float nf4_levels[16] = {-1.0f,
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
inline constexpr float nf4_thresholds[15] = {
    -0.8480964004993439f,  -0.6106329262256622f,   -0.4599952697753906f, -0.33967943489551544f, -0.23460740596055984f,
    -0.13791173323988914f, -0.045525018125772476f, 0.03979014977812767f, 0.1202552504837513f,   0.2035212516784668f,
    0.2920137718319893f,   0.3893125355243683f,    0.5016634166240692f,  0.6427869200706482f,   0.8614784178118011f};

template <class Q>
nf4_group fit_nf4(const group_data& data, grid_search search) noexcept {
  const float largest = std::max(largest_magnitude(data.weights), FLT_MIN);
  if (search == grid_search::min_max) return {largest};
  best_group<Q> best(data, {largest});
  constexpr int steps = 25;  // factors 0.98 … 0.50
  for (int i = 1; i <= steps; ++i) best.offer({std::max(largest * (1.0f - 0.02f * static_cast<float>(i)), FLT_MIN)});
  bool better = true;
  for (int round = 0; better && round < 10; ++round) {
    const float absmax = best.get().absmax * least_squares_factor<Q>(best.get(), data);
    better = best.offer({std::clamp(absmax, FLT_MIN, FLT_MAX)});
  }
  return best.get();
}

}  // namespace qwha::inline QWHA_ISA::detail

namespace qwha {

/// NF4: weight = level[code] * absmax. Codes: two per byte, the even element in the high nibble, as bitsandbytes packs
/// them; parameters: absmax as float. Blocks follow rows here, so bytes equal those of bitsandbytes, which cuts the
/// flattened matrix, where `in` is a multiple of Block.
template <std::size_t Block = 64>
struct nf4 {
  static_assert(Block > 0 && Block % 2 == 0, "qwha::nf4<Block>: Block must be even");

  using matrix_parameters = no_parameters;
  using group = nf4_group;
  static constexpr std::size_t block_size = Block;
  static constexpr std::size_t levels = 16;
  static constexpr std::size_t code_bytes = Block / 2;
  static constexpr std::size_t parameter_bytes = sizeof(float);

  static std::string name() { return Block == 64 ? "nf4" : "nf4 g" + std::to_string(Block); }

  QWHA_ALWAYS_INLINE static void decode(const std::byte* codes, const std::byte* parameters, const no_parameters&,
                                        float* QWHA_RESTRICT out) noexcept {
    detail::level_table(detail::nf4_levels, 0, detail::load_scalar<float>(parameters))
        .template decode<4, Block, detail::nibble_order::high_first>(codes, out);
  }

  static no_parameters prepare(rows_view<const float>) noexcept { return {}; }

  /// @pre  weights are finite; fewer than Block at the end of a row
  QWHA_ALWAYS_INLINE static group fit_group(std::span<const float> weights, const no_parameters&,
                                            grid_search search) noexcept {
    return detail::fit_nf4<nf4>({weights, {}}, search);
  }
  QWHA_ALWAYS_INLINE static group fit_group(std::span<const float> weights, std::span<const float> importance,
                                            const no_parameters&, grid_search search) noexcept {
    return detail::fit_nf4<nf4>({weights, importance}, search);
  }

  QWHA_ALWAYS_INLINE static std::uint8_t code(const group& g, float w) noexcept {
    const float x = w / g.absmax;
    int c = 0;
    for (const float threshold : detail::nf4_thresholds) c += x > threshold;
    return static_cast<std::uint8_t>(c);
  }

  QWHA_ALWAYS_INLINE static float value(const group& g, std::uint8_t c) noexcept {
    return detail::nf4_levels[c] * g.absmax;
  }

  QWHA_ALWAYS_INLINE static void pack(const group& g, const std::uint8_t* codes, std::byte* code_plane,
                                      std::byte* parameter_plane) noexcept {
    detail::pack_nibbles<Block, detail::nibble_order::high_first>(codes, code_plane);
    detail::store_scalar<float>(parameter_plane, g.absmax);
  }

  QWHA_ALWAYS_INLINE static group unpack(const std::byte* code_plane, const std::byte* parameter_plane,
                                         const no_parameters&, std::uint8_t* codes) noexcept {
    detail::unpack_nibbles<Block, detail::nibble_order::high_first>(code_plane, codes);
    return {detail::load_scalar<float>(parameter_plane)};
  }
};

static_assert(weighted_group_quantizer<nf4<>>);

}  // namespace qwha
