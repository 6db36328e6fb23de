// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Formats of sixteen levels times the largest magnitude of a block, as in bitsandbytes: what NF4 and FP4 share.

#include <algorithm>
#include <cfloat>
#include <concepts>
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

/// What the codes of a block are relative to: weight = level[code] * absmax.
struct absmax_group {
  float absmax = 1;  ///< as stored
};

}  // namespace qwha

namespace qwha::inline QWHA_ISA::detail {

/// Chooses absmax of a block. @param stored  a wanted absmax as the group that the format can keep
template <class Q, class Stored>
typename Q::group fit_absmax(const group_data& data, grid_search search, const Stored& stored) noexcept {
  const float largest = std::max(largest_magnitude(data.weights), FLT_MIN);
  if (search == grid_search::min_max) return stored(largest);
  best_group<Q> best(data, stored(largest));
  constexpr int steps = 25;  // factors 0.98 … 0.50
  for (int i = 1; i <= steps; ++i) best.offer(stored(largest * (1.0f - 0.02f * static_cast<float>(i))));
  bool better = true;
  for (int round = 0; better && round < 10; ++round)
    better = best.offer(stored(best.get().absmax * least_squares_factor<Q>(best.get(), data)));
  return best.get();
}

}  // namespace qwha::inline QWHA_ISA::detail

namespace qwha {

/// Sixteen levels in -1 … 1, each of its code; `code(x)` is the code of the level nearest to x.
template <class C>
concept codebook = requires(float x) {
  { C::name } -> std::convertible_to<std::string>;
  { C::levels[15] } -> std::convertible_to<float>;
  { C::code(x) } noexcept -> std::same_as<std::uint8_t>;
};

/// weight = level[code] * absmax. Codes: two per byte, the even element in the high nibble, as bitsandbytes packs them;
/// parameters: absmax as float. Blocks follow rows here, so bytes equal those of bitsandbytes, which cuts the flattened
/// matrix, where `in` is a multiple of Block.
template <codebook Codebook, std::size_t Block>
struct absmax_codebook {
  static_assert(Block > 0 && Block % 2 == 0, "qwha::absmax_codebook<Codebook, Block>: Block must be even");

  using matrix_parameters = no_parameters;
  using group = absmax_group;
  static constexpr std::size_t block_size = Block;
  static constexpr std::size_t levels = 16;
  static constexpr std::size_t code_bytes = Block / 2;
  static constexpr std::size_t parameter_bytes = sizeof(float);

  static std::string name() { return std::string(Codebook::name) + (Block == 64 ? "" : " g" + std::to_string(Block)); }

  /// Weights of one block, given its absmax.
  QWHA_ALWAYS_INLINE static void decode_scaled(const std::byte* codes, float absmax,
                                               float* QWHA_RESTRICT out) noexcept {
    detail::level_table(Codebook::levels, 0, absmax)
        .template decode<4, Block, detail::nibble_order::high_first>(codes, out);
  }
  QWHA_ALWAYS_INLINE static void decode(const std::byte* codes, const std::byte* parameters, const no_parameters&,
                                        float* QWHA_RESTRICT out) noexcept {
    decode_scaled(codes, detail::load_scalar<float>(parameters), out);
  }

  static no_parameters prepare(rows_view<const float>) noexcept { return {}; }

  /// @pre  weights are finite; fewer than Block at the end of a row
  QWHA_ALWAYS_INLINE static group fit_group(std::span<const float> weights, const no_parameters&,
                                            grid_search search) noexcept {
    return detail::fit_absmax<absmax_codebook>({weights, {}}, search, stored);
  }
  QWHA_ALWAYS_INLINE static group fit_group(std::span<const float> weights, std::span<const float> importance,
                                            const no_parameters&, grid_search search) noexcept {
    return detail::fit_absmax<absmax_codebook>({weights, importance}, search, stored);
  }
  QWHA_ALWAYS_INLINE static group rescaled(const group& g, float t, const no_parameters&) noexcept {
    return stored(g.absmax * t);
  }

  QWHA_ALWAYS_INLINE static std::uint8_t code(const absmax_group& g, float w) noexcept {
    return Codebook::code(w / g.absmax);
  }
  QWHA_ALWAYS_INLINE static float value(const absmax_group& g, std::uint8_t c) noexcept {
    return Codebook::levels[c] * g.absmax;
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

 private:
  QWHA_ALWAYS_INLINE static group stored(float absmax) noexcept { return {std::clamp(absmax, FLT_MIN, FLT_MAX)}; }
};

}  // namespace qwha
