// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Signed bytes with one float scale for each output channel, as int8 checkpoints store them.

#include <algorithm>
#include <cfloat>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <qwha/base/config.hpp>
#include <qwha/base/rows_view.hpp>
#include <qwha/quant/bytes.hpp>
#include <qwha/quant/codebook.hpp>
#include <qwha/quant/quantizer.hpp>

namespace qwha {

/// One scale for each row of a matrix; above zero where a solver made them.
struct row_scales {
  std::vector<float> scales;
  std::size_t size_bytes() const noexcept { return scales.size() * sizeof(float); }
  bool operator==(const row_scales&) const = default;
};

/// weight = (code - 128) * scale of the row; codes are stored as signed bytes, -128 … 127, of which a new scale uses
/// -127 … 127. Scales stand in the matrix parameters: they come from the whole row, whatever the search, and a solver
/// chooses codes only. Rows are padded to whole blocks of 32 bytes.
struct int8_per_channel {
  using matrix_parameters = row_scales;
  using group = float;  // the scale
  static constexpr std::size_t block_size = 32;
  static constexpr std::size_t levels = 256;
  static constexpr std::size_t code_bytes = 32;
  static constexpr std::size_t parameter_bytes = 0;

  static std::string name() { return "int8 per channel"; }

  /// @pre  the matrix has a scale for every row
  QWHA_ALWAYS_INLINE static float local(const row_scales& matrix, block_position where) noexcept {
    return matrix.scales[where.row];
  }

  QWHA_ALWAYS_INLINE static void decode(const std::byte* codes, const std::byte*, float scale,
                                        float* QWHA_RESTRICT out) noexcept {
    for (std::size_t i = 0; i < block_size; ++i)
      out[i] = static_cast<float>(static_cast<std::int8_t>(codes[i])) * scale;
  }

  static row_scales prepare(rows_view<const float> weights) {
    row_scales matrix{std::vector<float>(weights.rows)};
    for (std::size_t r = 0; r < weights.rows; ++r)
      matrix.scales[r] =
          std::clamp(detail::largest_magnitude({weights.row(r), weights.cols}) / 127, FLT_MIN, FLT_MAX / 256);
    return matrix;
  }

  QWHA_ALWAYS_INLINE static float fit_group(std::span<const float>, float scale, grid_search) noexcept { return scale; }

  /// The nearest level, ties to the even code. @pre w is finite
  QWHA_ALWAYS_INLINE static std::uint8_t code(float scale, float w) noexcept {
    return static_cast<std::uint8_t>(detail::round_to_code(w / scale + 128, 255));
  }
  QWHA_ALWAYS_INLINE static float value(float scale, std::uint8_t c) noexcept {
    return (static_cast<float>(c) - 128) * scale;
  }

  QWHA_ALWAYS_INLINE static void pack(float, const std::uint8_t* codes, std::byte* code_plane, std::byte*) noexcept {
    for (std::size_t i = 0; i < block_size; ++i) code_plane[i] = static_cast<std::byte>(codes[i] ^ 0x80u);
  }
  QWHA_ALWAYS_INLINE static float unpack(const std::byte* code_plane, const std::byte*, float scale,
                                         std::uint8_t* codes) noexcept {
    for (std::size_t i = 0; i < block_size; ++i) codes[i] = std::to_integer<std::uint8_t>(code_plane[i]) ^ 0x80u;
    return scale;
  }
};

static_assert(group_quantizer<int8_per_channel>);

}  // namespace qwha
