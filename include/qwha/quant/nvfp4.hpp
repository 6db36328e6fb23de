// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// NVFP4: E2M1 elements with an E4M3 scale for 16 of them and one float scale for the matrix.

#include <algorithm>
#include <array>
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
#include <qwha/quant/minifloat.hpp>
#include <qwha/quant/quantizer.hpp>

namespace qwha {

/// How block scales meet the scale of their matrix.
enum class nvfp4_convention {
  multiplier,  ///< block scale * matrix scale: ModelOpt
  divisor      ///< block scale / matrix scale: compressed-tensors
};

/// The scale of an NVFP4 matrix.
struct nvfp4_parameters {
  float scale = 1;  ///< finite, above zero
  nvfp4_convention convention = nvfp4_convention::multiplier;

  /// What codes of a block are multiplied with; rounded once.
  QWHA_ALWAYS_INLINE float times(float block_scale) const noexcept {
    return convention == nvfp4_convention::multiplier ? block_scale * scale : block_scale / scale;
  }
  bool operator==(const nvfp4_parameters&) const = default;
};

/// What the codes of an NVFP4 block are relative to.
struct nvfp4_group {
  std::uint8_t block_scale = 0x38;  ///< E4M3
  float scale = 1;                  ///< block scale with that of the matrix, in float
};

}  // namespace qwha

namespace qwha::inline QWHA_ISA::detail {

/// E4M3 by code, for the hot path.
inline constexpr auto e4m3_values = [] {
  std::array<float, 256> values{};
  for (std::size_t c = 0; c < 256; ++c) values[c] = e4m3_value(static_cast<std::uint8_t>(c));
  return values;
}();

inline constexpr float e2m1_largest = 6;
inline constexpr float e4m3_largest = 448;

/// The matrix scale at which the block of the largest weight has the largest block scale; kept where products with the
/// smallest and the largest block scales are normal numbers.
inline nvfp4_parameters prepare_nvfp4(rows_view<const float> weights) noexcept {
  float largest = 0;
  for (std::size_t r = 0; r < weights.rows; ++r)
    largest = std::max(largest, largest_magnitude({weights.row(r), weights.cols}));
  if (largest == 0) return {};
  return {std::clamp(largest / (e2m1_largest * e4m3_largest), 0x1p-110f, FLT_MAX / 4096)};
}

template <class Q>
nvfp4_group fit_nvfp4(const group_data& data, const nvfp4_parameters& matrix, grid_search search) noexcept {
  const auto with_code = [&](int code) -> nvfp4_group {
    const auto c = static_cast<std::uint8_t>(std::clamp(code, 1, 0x7e));
    return {c, matrix.times(e4m3_value(c))};
  };
  const float wanted = largest_magnitude(data.weights) / e2m1_largest;
  const bool multiplied = matrix.convention == nvfp4_convention::multiplier;
  const int nearest = e4m3_code(multiplied ? wanted / matrix.scale : wanted * matrix.scale);
  if (search == grid_search::min_max) return with_code(nearest);
  best_group<Q> best(data, with_code(nearest));
  for (int step = 1; step <= 16; ++step) best.offer(with_code(nearest - step));
  for (int step = 1; step <= 4; ++step) best.offer(with_code(nearest + step));
  return best.get();
}

}  // namespace qwha::inline QWHA_ISA::detail

namespace qwha {

/// NVFP4: weight = E2M1[code] * (block scale * matrix scale), or of the quotient of the two where the matrix parameters
/// say so. Codes: two per byte, the even element in the low nibble; parameters: the block scale, one byte (E4M3,
/// positive); matrix parameters: a float and its convention, of which `prepare` takes the multiplier.
struct nvfp4 {
  using matrix_parameters = nvfp4_parameters;
  using group = nvfp4_group;
  static constexpr std::size_t block_size = 16;
  static constexpr std::size_t levels = 16;
  static constexpr std::size_t code_bytes = 8;
  static constexpr std::size_t parameter_bytes = 1;

  static std::string name() { return "nvfp4"; }

  QWHA_ALWAYS_INLINE static void decode(const std::byte* codes, const std::byte* parameters,
                                        const nvfp4_parameters& matrix, float* QWHA_RESTRICT out) noexcept {
    const float scale = matrix.times(detail::e4m3_values[std::to_integer<std::uint8_t>(*parameters)]);
    detail::level_table(e2m1_values, 0, scale).decode<4, block_size>(codes, out);
  }

  QWHA_ALWAYS_INLINE static nvfp4_parameters prepare(rows_view<const float> weights) noexcept {
    return detail::prepare_nvfp4(weights);
  }

  /// @pre  weights are finite; fewer than 16 at the end of a row
  QWHA_ALWAYS_INLINE static group fit_group(std::span<const float> weights, const nvfp4_parameters& matrix,
                                            grid_search search) noexcept {
    return detail::fit_nvfp4<nvfp4>({weights, {}}, matrix, search);
  }
  QWHA_ALWAYS_INLINE static group fit_group(std::span<const float> weights, std::span<const float> importance,
                                            const nvfp4_parameters& matrix, grid_search search) noexcept {
    return detail::fit_nvfp4<nvfp4>({weights, importance}, matrix, search);
  }

  QWHA_ALWAYS_INLINE static group rescaled(const group& g, float t, const nvfp4_parameters& matrix) noexcept {
    const auto c = std::clamp<std::uint8_t>(e4m3_code(e4m3_value(g.block_scale) * t), 1, 0x7e);
    return {c, matrix.times(e4m3_value(c))};
  }

  QWHA_ALWAYS_INLINE static std::uint8_t code(const group& g, float w) noexcept { return e2m1_code(w / g.scale); }
  QWHA_ALWAYS_INLINE static float value(const group& g, std::uint8_t c) noexcept { return e2m1_values[c] * g.scale; }

  QWHA_ALWAYS_INLINE static void pack(const group& g, const std::uint8_t* codes, std::byte* code_plane,
                                      std::byte* parameter_plane) noexcept {
    detail::pack_nibbles<block_size, detail::nibble_order::low_first>(codes, code_plane);
    *parameter_plane = static_cast<std::byte>(g.block_scale);
  }

  QWHA_ALWAYS_INLINE static group unpack(const std::byte* code_plane, const std::byte* parameter_plane,
                                         const nvfp4_parameters& matrix, std::uint8_t* codes) noexcept {
    detail::unpack_nibbles<block_size, detail::nibble_order::low_first>(code_plane, codes);
    const auto block_scale = std::to_integer<std::uint8_t>(*parameter_plane);
    return {block_scale, matrix.times(e4m3_value(block_scale))};
  }
};

static_assert(weighted_group_quantizer<nvfp4> && scale_quantizer<nvfp4>);

}  // namespace qwha
