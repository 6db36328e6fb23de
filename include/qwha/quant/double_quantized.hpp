// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Double quantization: the largest magnitudes of an NF4 or FP4 matrix as one byte each, as bitsandbytes nests them.
/// Source: Dettmers et al. 2023 (QLoRA); the 8-bit map is that of Dettmers 2015 as in bitsandbytes, functional.py.

#include <algorithm>
#include <array>
#include <cfloat>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <qwha/base/config.hpp>
#include <qwha/base/rows_view.hpp>
#include <qwha/quant/absmax_codebook.hpp>
#include <qwha/quant/bytes.hpp>
#include <qwha/quant/codebook.hpp>
#include <qwha/quant/quantizer.hpp>

namespace qwha {

/// The signed 8-bit dynamic map, ascending: seven decades, the one below 10^-k cut into 2^(6 - k) equal steps whose
/// middles are the levels, their negatives, zero and one.
inline constexpr std::array<float, 256> dynamic_map = [] {
  constexpr float decades[7] = {1e-6f, 1e-5f, 1e-4f, 1e-3f, 1e-2f, 1e-1f, 1.0f};
  std::array<float, 256> map{};
  std::size_t level = 128;
  for (std::size_t decade = 0; decade < 7; ++decade) {
    const std::size_t steps = std::size_t{1} << decade;
    const float step = (1.0f - 0.1f) / static_cast<float>(steps);
    const auto boundary = [&](std::size_t i) {  // from the nearer end
      return 2 * i < steps + 1 ? 0.1f + step * static_cast<float>(i) : 1.0f - step * static_cast<float>(steps - i);
    };
    for (std::size_t i = 0; i < steps; ++i, ++level) {
      map[level] = decades[decade] * ((boundary(i) + boundary(i + 1)) / 2);
      map[254 - level] = -map[level];
    }
  }
  map[255] = 1;
  return map;
}();

/// The nested values as one block sees them: absmax = map[byte] * scale + offset, each operation rounded to float.
struct nested_absmax_entry {
  const float* map = dynamic_map.data();
  float scale = 0;
  float offset = 0;

  QWHA_ALWAYS_INLINE float absmax(std::uint8_t byte) const noexcept {
    // The product is exact in double, so that it is rounded here and not fused with the sum.
    return static_cast<float>(static_cast<double>(map[byte]) * static_cast<double>(scale)) + offset;
  }
  /// The byte of the nearest absmax.
  QWHA_ALWAYS_INLINE std::uint8_t nearest(float wanted) const noexcept {
    const float x = scale > 0 ? (wanted - offset) / scale : 0;
    const float* above = std::lower_bound(map + 1, map + 255, x);
    return static_cast<std::uint8_t>(above - map - (x - above[-1] < *above - x ? 1 : 0));
  }
};

/// Matrix parameters of a double-quantized format. Blocks are counted row after row; 256 of them share a scale.
struct nested_absmax {
  static constexpr std::size_t blocks_per_scale = 256;
  std::array<float, 256> map = dynamic_map;  ///< ascending
  std::vector<float> scales;                 ///< one per 256 blocks, the last perhaps for fewer; not negative
  float offset = 0;

  std::size_t size_bytes() const noexcept { return sizeof(map) + scales.size() * sizeof(float) + sizeof(offset); }
  bool operator==(const nested_absmax&) const = default;
};

/// What the codes of a double-quantized block are relative to.
struct nested_absmax_group {
  float absmax = 1;
  std::uint8_t byte = 255;  ///< as stored
};

/// NF4 or FP4 with one byte per block in place of a float: 4.127 bits per weight at 64.
/// @tparam Format  nf4<Block> or fp4<Block>
template <class Format>
struct double_quantized {
  using matrix_parameters = nested_absmax;
  using group = nested_absmax_group;
  static constexpr std::size_t block_size = Format::block_size;
  static constexpr std::size_t levels = Format::levels;
  static constexpr std::size_t code_bytes = Format::code_bytes;
  static constexpr std::size_t parameter_bytes = 1;

  static std::string name() { return Format::name() + " double"; }

  /// @pre  the matrix has a scale for every 256 of its blocks
  QWHA_ALWAYS_INLINE static nested_absmax_entry local(const nested_absmax& matrix, block_position where) noexcept {
    const std::size_t index = where.index() / nested_absmax::blocks_per_scale;
    return {matrix.map.data(), matrix.scales[index], matrix.offset};
  }

  QWHA_ALWAYS_INLINE static void decode(const std::byte* codes, const std::byte* parameters,
                                        const nested_absmax_entry& matrix, float* QWHA_RESTRICT out) noexcept {
    Format::decode_scaled(codes, matrix.absmax(std::to_integer<std::uint8_t>(*parameters)), out);
  }

  /// The offset is the mean of all absmax values, a scale the largest distance from it.
  static nested_absmax prepare(rows_view<const float> weights) {
    const std::size_t per_row = (weights.cols + block_size - 1) / block_size;
    std::vector<float> absmax(weights.rows * per_row);
    double sum = 0;
    for (std::size_t r = 0; r < weights.rows; ++r)
      for (std::size_t b = 0; b < per_row; ++b) {
        const std::size_t count = std::min<std::size_t>(block_size, weights.cols - b * block_size);
        sum += absmax[r * per_row + b] = detail::largest_magnitude({weights.row(r) + b * block_size, count});
      }
    nested_absmax matrix;
    if (absmax.empty()) return matrix;
    matrix.offset = static_cast<float>(sum / static_cast<double>(absmax.size()));
    for (std::size_t b = 0; b < absmax.size(); b += nested_absmax::blocks_per_scale) {
      float largest = 0;
      for (std::size_t i = b; i < std::min(b + nested_absmax::blocks_per_scale, absmax.size()); ++i)
        largest = std::max(largest, std::abs(absmax[i] - matrix.offset));
      matrix.scales.push_back(std::min(largest, FLT_MAX - matrix.offset));
    }
    return matrix;
  }

  /// @pre  weights are finite; fewer than block_size at the end of a row
  QWHA_ALWAYS_INLINE static group fit_group(std::span<const float> weights, const nested_absmax_entry& matrix,
                                            grid_search search) noexcept {
    return fit_group(weights, {}, matrix, search);
  }
  QWHA_ALWAYS_INLINE static group fit_group(std::span<const float> weights, std::span<const float> importance,
                                            const nested_absmax_entry& matrix, grid_search search) noexcept {
    return detail::fit_absmax<double_quantized>({weights, importance}, search,
                                                [&](float absmax) { return stored(absmax, matrix); });
  }
  QWHA_ALWAYS_INLINE static group rescaled(const group& g, float t, const nested_absmax_entry& matrix) noexcept {
    return stored(g.absmax * t, matrix);
  }

  QWHA_ALWAYS_INLINE static std::uint8_t code(const group& g, float w) noexcept { return Format::code({g.absmax}, w); }
  QWHA_ALWAYS_INLINE static float value(const group& g, std::uint8_t c) noexcept {
    return Format::value({g.absmax}, c);
  }

  QWHA_ALWAYS_INLINE static void pack(const group& g, const std::uint8_t* codes, std::byte* code_plane,
                                      std::byte* parameter_plane) noexcept {
    detail::pack_nibbles<block_size, detail::nibble_order::high_first>(codes, code_plane);
    *parameter_plane = static_cast<std::byte>(g.byte);
  }
  QWHA_ALWAYS_INLINE static group unpack(const std::byte* code_plane, const std::byte* parameter_plane,
                                         const nested_absmax_entry& matrix, std::uint8_t* codes) noexcept {
    detail::unpack_nibbles<block_size, detail::nibble_order::high_first>(code_plane, codes);
    const auto byte = std::to_integer<std::uint8_t>(*parameter_plane);
    return {matrix.absmax(byte), byte};
  }

 private:
  QWHA_ALWAYS_INLINE static group stored(float absmax, const nested_absmax_entry& matrix) noexcept {
    const std::uint8_t byte = matrix.nearest(absmax);
    return {matrix.absmax(byte), byte};
  }
};

}  // namespace qwha
