// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// The simple GGUF blocks: 32 uniform codes with a half-precision scale, and perhaps a minimum, in front of them.
/// Source: ggml-org/ggml, src/ggml-common.h and src/ggml-quants.c (layout and arithmetic).

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include <qwha/base/config.hpp>
#include <qwha/base/float16.hpp>
#include <qwha/base/rows_view.hpp>
#include <qwha/quant/best_group.hpp>
#include <qwha/quant/byte_lanes.hpp>
#include <qwha/quant/bytes.hpp>
#include <qwha/quant/quantizer.hpp>

namespace qwha {

/// What the codes of a simple GGUF block are relative to: weight = (code - 2^(bits - 1)) * scale, or
/// code * scale + minimum. The scale of the first kind may be negative.
struct gguf_group {
  float scale = 1;
  float minimum = 0;
};

}  // namespace qwha

namespace qwha::inline QWHA_ISA::detail {

/// Nearest half that is finite and, for a scale, not zero.
inline float finite_half(float x) noexcept { return static_cast<float>(half(std::clamp(x, -65504.0f, 65504.0f))); }
inline float half_scale(float x) noexcept {
  const float s = finite_half(x);
  return s == 0 ? (x < 0 ? -0x1p-24f : 0x1p-24f) : s;
}

/// Chooses scale and minimum of one simple GGUF block.
template <class Q>
class gguf_search {
 public:
  explicit gguf_search(const group_data& data) noexcept : data_(data) {
    for (const float w : data.weights) {
      low_ = std::min(low_, w);
      high_ = std::max(high_, w);
    }
    if constexpr (Q::has_minimum)
      if (!data.weights.empty()) low_ = *std::min_element(data.weights.begin(), data.weights.end());
  }

  /// The grid that holds the range of the block, shrunk by `factor` (towards zero, or towards the middle).
  gguf_group min_max(float factor = 1) const noexcept {
    if constexpr (Q::has_minimum) {
      const float cut = (high_ / 2 - low_ / 2) * (1 - factor);
      const float minimum = finite_half(low_ + cut);
      return {half_scale((high_ - cut) / top - minimum / top), minimum};
    } else if constexpr (Q::bits == 8) {
      return {half_scale(factor * std::max(-low_, high_) / 127), 0};
    } else {  // the larger side gets the code of larger magnitude
      return {half_scale(factor * (-low_ >= high_ ? low_ : high_) / -static_cast<float>(Q::centre)), 0};
    }
  }

  gguf_group least_squares() const noexcept {
    best_group<Q> best(data_, min_max());
    constexpr int steps = 30;  // factors 0.98 … 0.40
    for (int i = 1; i <= steps; ++i) {
      const gguf_group g = min_max(1.0f - 0.02f * static_cast<float>(i));
      best.offer(g);
      if constexpr (!Q::has_minimum) best.offer({-g.scale, 0});
    }
    if constexpr (!Q::has_minimum) {
      bool better = true;
      for (int round = 0; better && round < 10; ++round)
        better = best.offer({half_scale(best.get().scale * least_squares_factor<Q>(best.get(), data_)), 0});
    }
    return best.get();
  }

 private:
  static constexpr float top = static_cast<float>(Q::levels - 1);
  group_data data_;
  float low_ = 0;
  float high_ = 0;
};

template <class Q>
gguf_group fit_gguf(const group_data& data, grid_search search) noexcept {
  const gguf_search<Q> s(data);
  return search == grid_search::mse ? s.least_squares() : s.min_max();
}

}  // namespace qwha::inline QWHA_ISA::detail

namespace qwha {

/// Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0: blocks of 32 as they stand in a GGUF file, so the plane of parameters is empty.
/// A block is a half scale, a half minimum (`Minimum`), the fifth bits (one 32-bit word, bit j for element j), then the
/// low four bits with element j in the low and j + 16 in the high nibble of byte j; eight bits are stored signed.
/// @par Numerics  bit for bit what ggml computes: code times scale is exact in float, so there is one rounding at most
template <int Bits, bool Minimum>
struct gguf_uniform {
  static_assert(Bits == 4 || Bits == 5 || (Bits == 8 && !Minimum),
                "qwha::gguf_uniform<Bits, Minimum>: Bits must be 4 or 5, or 8 without a minimum");

  using matrix_parameters = no_parameters;
  using group = gguf_group;
  static constexpr int bits = Bits;
  static constexpr bool has_minimum = Minimum;
  static constexpr std::size_t block_size = 32;
  static constexpr std::size_t levels = std::size_t{1} << Bits;
  static constexpr int centre = 1 << (Bits - 1);
  static constexpr std::size_t code_bytes = (Minimum ? 4 : 2) + 4 * static_cast<std::size_t>(Bits);
  static constexpr std::size_t parameter_bytes = 0;

  static std::string name() {
    if constexpr (Bits == 8) return "q8_0";
    if constexpr (Bits == 5) return Minimum ? "q5_1" : "q5_0";
    return Minimum ? "q4_1" : "q4_0";
  }

  QWHA_ALWAYS_INLINE static void decode(const std::byte* block, const std::byte*, const no_parameters&,
                                        float* QWHA_RESTRICT out) noexcept {
    const group g = load_group(block);
    if constexpr (Bits == 8) {
      for (std::size_t j = 0; j < 32; ++j)
        out[j] = static_cast<float>(static_cast<std::int8_t>(block[header + j])) * g.scale;
    } else {
      const detail::byte_lanes bytes = detail::byte_lanes::load(block + header);
      detail::byte_lanes low = bytes.field(0, 15), high = bytes.field(4, 15);
      if constexpr (Bits == 5) {
        const std::uint32_t fifth = load_fifth(block);
        low = low | detail::byte_lanes::spread(fifth & 0xffffu, 16);
        high = high | detail::byte_lanes::spread(fifth >> 16, 16);
      }
      low.write([&](auto c) { return level(g, c); }, out);
      high.write([&](auto c) { return level(g, c); }, out + 16);
    }
  }

  static no_parameters prepare(rows_view<const float>) noexcept { return {}; }

  /// @pre  weights are finite; fewer than 32 at the end of a row
  QWHA_ALWAYS_INLINE static group fit_group(std::span<const float> weights, const no_parameters&,
                                            grid_search search) noexcept {
    return detail::fit_gguf<gguf_uniform>({weights, {}}, search);
  }
  QWHA_ALWAYS_INLINE static group fit_group(std::span<const float> weights, std::span<const float> importance,
                                            const no_parameters&, grid_search search) noexcept {
    return detail::fit_gguf<gguf_uniform>({weights, importance}, search);
  }

  QWHA_ALWAYS_INLINE static group rescaled(const group& g, float t, const no_parameters&) noexcept {
    return {detail::half_scale(g.scale * t), detail::finite_half(g.minimum * t)};
  }

  QWHA_ALWAYS_INLINE static std::uint8_t code(const group& g, float w) noexcept {
    return static_cast<std::uint8_t>(nearest_code(g, w));
  }
  /// value(g, code(g, w))
  QWHA_ALWAYS_INLINE static float nearest(const group& g, float w) noexcept {
    return level(g, static_cast<float>(nearest_code(g, w)));
  }

  QWHA_ALWAYS_INLINE static float value(const group& g, std::uint8_t c) noexcept {
    return level(g, static_cast<float>(c));
  }

  QWHA_ALWAYS_INLINE static void pack(const group& g, const std::uint8_t* codes, std::byte* block,
                                      std::byte*) noexcept {
    detail::store_scalar<half>(block, g.scale);
    if constexpr (Minimum) detail::store_scalar<half>(block + 2, g.minimum);
    if constexpr (Bits == 8) {
      for (std::size_t j = 0; j < 32; ++j) block[header + j] = static_cast<std::byte>(codes[j] - centre);
    } else {
      for (std::size_t j = 0; j < 16; ++j)
        block[header + j] = static_cast<std::byte>((codes[j] & 15) | ((codes[j + 16] & 15) << 4));
    }
    if constexpr (Bits == 5) {
      std::uint32_t fifth = 0;
      for (std::uint32_t j = 0; j < 32; ++j) fifth |= static_cast<std::uint32_t>(codes[j] >> 4) << j;
      detail::store_bytes<4>(block + header - 4, fifth);
    }
  }

  QWHA_ALWAYS_INLINE static group unpack(const std::byte* block, const std::byte*, const no_parameters&,
                                         std::uint8_t* codes) noexcept {
    if constexpr (Bits == 8) {
      for (std::size_t j = 0; j < 32; ++j)
        codes[j] = static_cast<std::uint8_t>(std::to_integer<unsigned>(block[header + j]) ^ 0x80u);
    } else {
      const std::uint32_t fifth = load_fifth(block);
      for (std::uint32_t j = 0; j < 16; ++j) {
        codes[j] = static_cast<std::uint8_t>(low_code(block, fifth, j));
        codes[j + 16] = static_cast<std::uint8_t>(high_code(block, fifth, j));
      }
    }
    return load_group(block);
  }

 private:
  QWHA_ALWAYS_INLINE static std::int32_t nearest_code(const group& g, float w) noexcept {
    const float t = Minimum ? (w - g.minimum) / g.scale : w / g.scale + static_cast<float>(centre);
    return detail::round_to_code(t, static_cast<float>(levels - 1));
  }

  static constexpr std::size_t header = (Minimum ? 4 : 2) + (Bits == 5 ? 4 : 0);  // bytes before the low bits

  QWHA_ALWAYS_INLINE static group load_group(const std::byte* block) noexcept {
    return {detail::load_scalar<half>(block), Minimum ? detail::load_scalar<half>(block + 2) : 0.0f};
  }
  QWHA_ALWAYS_INLINE static std::uint32_t load_fifth(const std::byte* block) noexcept {
    return Bits == 5 ? detail::load_bytes<4>(block + header - 4) : 0;
  }
  QWHA_ALWAYS_INLINE static std::uint32_t low_code(const std::byte* block, std::uint32_t fifth,
                                                   std::uint32_t j) noexcept {
    return (std::to_integer<std::uint32_t>(block[header + j]) & 15u) | ((fifth >> j & 1u) << 4);
  }
  QWHA_ALWAYS_INLINE static std::uint32_t high_code(const std::byte* block, std::uint32_t fifth,
                                                    std::uint32_t j) noexcept {
    return (std::to_integer<std::uint32_t>(block[header + j]) >> 4) | ((fifth >> (j + 16) & 1u) << 4);
  }
  /// @tparam T  float, or a vector of floats
  template <class T>
  QWHA_ALWAYS_INLINE static auto level(const group& g, T c) noexcept {
    if constexpr (Minimum) return c * g.scale + g.minimum;
    return (c - static_cast<float>(centre)) * g.scale;
  }
};

using q4_0 = gguf_uniform<4, false>;
using q4_1 = gguf_uniform<4, true>;
using q5_0 = gguf_uniform<5, false>;
using q5_1 = gguf_uniform<5, true>;
using q8_0 = gguf_uniform<8, false>;

static_assert(scale_quantizer<q4_0> && weighted_group_quantizer<q4_0> && weighted_group_quantizer<q4_1> &&
              weighted_group_quantizer<q8_0>);
static_assert(q4_0::code_bytes == 18 && q4_1::code_bytes == 20 && q5_0::code_bytes == 22 && q5_1::code_bytes == 24 &&
              q8_0::code_bytes == 34);

}  // namespace qwha
