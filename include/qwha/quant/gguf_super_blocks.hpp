// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// The GGUF "K" blocks: 256 weights whose small groups have scales that are quantized themselves. For reading; Q4_K,
/// which is written too, has its own header.
/// Source: ggml-org/ggml, src/ggml-common.h and src/ggml-quants.c (layout and arithmetic).
///
/// Numerics of all of them: bit for bit what ggml computes. A half scale has 11 significant bits, a group's scale at
/// most 8 and a code at most 6, so every product is exact in float; the one rounding is that of the difference with the
/// minimum, and it does not matter whether a compiler fuses it.

#include <cstddef>
#include <cstdint>
#include <string>

#include <qwha/base/config.hpp>
#include <qwha/base/float16.hpp>
#include <qwha/quant/byte_lanes.hpp>
#include <qwha/quant/bytes.hpp>
#include <qwha/quant/quantizer.hpp>

namespace qwha::inline QWHA_ISA::detail {

QWHA_ALWAYS_INLINE std::uint32_t byte_at(const std::byte* p, std::size_t i) noexcept {
  return std::to_integer<std::uint32_t>(p[i]);
}
QWHA_ALWAYS_INLINE float to_float(std::uint32_t small) noexcept {
  return static_cast<float>(static_cast<std::int32_t>(small));
}

/// Six-bit scale and minimum of sub-block j (0 … 7) of Q4_K and Q5_K.
struct scale_and_minimum {
  float scale, minimum;
};
QWHA_ALWAYS_INLINE scale_and_minimum six_bit_pair(const std::byte* s, std::size_t j) noexcept {
  if (j < 4) return {to_float(byte_at(s, j) & 63u), to_float(byte_at(s, j + 4) & 63u)};
  return {to_float((byte_at(s, j + 4) & 15u) | (byte_at(s, j - 4) >> 6 << 4)),
          to_float((byte_at(s, j + 4) >> 4) | (byte_at(s, j) >> 6 << 4))};
}

inline void decode_q2_k(const std::byte* block, float* QWHA_RESTRICT out) noexcept {
  const std::byte* scales = block;
  const std::byte* codes = block + 16;
  const float d = load_scalar<half>(block + 80);
  const float minimum = load_scalar<half>(block + 82);
  for (std::size_t n = 0; n < 2; ++n)
    for (std::size_t j = 0; j < 4; ++j)
      for (std::size_t h = 0; h < 2; ++h) {
        const std::uint32_t s = byte_at(scales, 8 * n + 2 * j + h);
        const float scale = d * to_float(s & 15u);
        const float offset = minimum * to_float(s >> 4);
        const std::byte* q = codes + 32 * n + 16 * h;
        float* y = out + 128 * n + 32 * j + 16 * h;
        byte_lanes::load(q).field(2 * j, 3).write([&](auto code) { return scale * code - offset; }, y);
      }
}

inline void decode_q3_k(const std::byte* block, float* QWHA_RESTRICT out) noexcept {
  const std::byte* high = block;
  const std::byte* codes = block + 32;
  const std::byte* scales = block + 96;
  const float d = load_scalar<half>(block + 108);
  for (std::size_t n = 0; n < 2; ++n)
    for (std::size_t j = 0; j < 4; ++j)
      for (std::size_t h = 0; h < 2; ++h) {
        const std::size_t k = 8 * n + 2 * j + h;
        const std::uint32_t low = byte_at(scales, k & 7u) >> (k < 8 ? 0 : 4) & 15u;
        const std::uint32_t six = low | (byte_at(scales, 8 + (k & 3u)) >> 2 * (k >> 2) & 3u) << 4;
        const float scale = d * (to_float(six) - 32.0f);
        const std::byte* q = codes + 32 * n + 16 * h;
        const std::byte* m = high + 16 * h;
        float* y = out + 128 * n + 32 * j + 16 * h;
        const byte_lanes code =
            byte_lanes::load(q).field(2 * j, 3) | byte_lanes::load(m).field(4 * n + j, 1).shifted_left(2);
        code.write([&](auto c) { return scale * (c - 4.0f); }, y);
      }
}

/// Q4_K and Q5_K: 32 bytes hold the low four bits of two sub-blocks of 32, one in each nibble.
template <bool Fifth>
QWHA_ALWAYS_INLINE void decode_q45_k(const std::byte* block, float* QWHA_RESTRICT out) noexcept {
  const float d = load_scalar<half>(block);
  const float minimum = load_scalar<half>(block + 2);
  const std::byte* fifth = block + 16;
  const std::byte* codes = block + (Fifth ? 48 : 16);
  for (std::size_t j = 0; j < 8; ++j) {
    const scale_and_minimum s = six_bit_pair(block + 4, j);
    const float scale = d * s.scale, offset = minimum * s.minimum;
    for (std::size_t l = 0; l < 32; l += 16) {
      byte_lanes code = byte_lanes::load(codes + 32 * (j / 2) + l).field(j % 2 == 0 ? 0 : 4, 15);
      if constexpr (Fifth) code = code | byte_lanes::load(fifth + l).field(j, 1).shifted_left(4);
      code.write([&](auto c) { return scale * c - offset; }, out + 32 * j + l);
    }
  }
}
inline void decode_q4_k(const std::byte* block, float* out) noexcept { decode_q45_k<false>(block, out); }
inline void decode_q5_k(const std::byte* block, float* out) noexcept { decode_q45_k<true>(block, out); }

inline void decode_q6_k(const std::byte* block, float* QWHA_RESTRICT out) noexcept {
  const std::byte* scales = block + 192;
  const float d = load_scalar<half>(block + 208);
  for (std::size_t n = 0; n < 2; ++n)
    for (std::size_t j = 0; j < 4; ++j) {  // 32 weights: low bits in nibble j / 2 of bytes 32 (j % 2) …, high bits 2j …
      const std::byte* low = block + 64 * n + 32 * (j & 1u);
      const std::byte* high = block + 128 + 32 * n;
      const std::uint32_t nibble = j < 2 ? 0 : 4;
      float* y = out + 128 * n + 32 * j;
      for (std::size_t i = 0; i < 2; ++i) {
        const float scale = d * static_cast<float>(static_cast<std::int8_t>(scales[8 * n + 2 * j + i]));
        const byte_lanes code = byte_lanes::load(low + 16 * i).field(nibble, 15) |
                                byte_lanes::load(high + 16 * i).field(2 * j, 3).shifted_left(4);
        code.write([&](auto c) { return scale * (c - 32.0f); }, y + 16 * i);
      }
    }
}

}  // namespace qwha::inline QWHA_ISA::detail

namespace qwha {

/// 2 bits with four-bit scales and minima per 16. Bytes: scales[16], codes[64], half d, half minimum.
struct q2_k {
  using matrix_parameters = no_parameters;
  static constexpr std::size_t block_size = 256, code_bytes = 84, parameter_bytes = 0;
  static std::string name() { return "q2_k"; }
  QWHA_ALWAYS_INLINE static void decode(const std::byte* block, const std::byte*, const no_parameters&,
                                        float* out) noexcept {
    detail::decode_q2_k(block, out);
  }
};

/// 3 bits with six-bit scales per 16. Bytes: high bits[32], low bits[64], scales[12], half d.
struct q3_k {
  using matrix_parameters = no_parameters;
  static constexpr std::size_t block_size = 256, code_bytes = 110, parameter_bytes = 0;
  static std::string name() { return "q3_k"; }
  QWHA_ALWAYS_INLINE static void decode(const std::byte* block, const std::byte*, const no_parameters&,
                                        float* out) noexcept {
    detail::decode_q3_k(block, out);
  }
};

/// 5 bits with six-bit scales and minima per 32. Bytes: half d, half minimum, scales[12], high bits[32], low bits[128].
struct q5_k {
  using matrix_parameters = no_parameters;
  static constexpr std::size_t block_size = 256, code_bytes = 176, parameter_bytes = 0;
  static std::string name() { return "q5_k"; }
  QWHA_ALWAYS_INLINE static void decode(const std::byte* block, const std::byte*, const no_parameters&,
                                        float* out) noexcept {
    detail::decode_q5_k(block, out);
  }
};

/// 6 bits with eight-bit scales per 16. Bytes: low bits[128], high bits[64], scales[16], half d.
struct q6_k {
  using matrix_parameters = no_parameters;
  static constexpr std::size_t block_size = 256, code_bytes = 210, parameter_bytes = 0;
  static std::string name() { return "q6_k"; }
  QWHA_ALWAYS_INLINE static void decode(const std::byte* block, const std::byte*, const no_parameters&,
                                        float* out) noexcept {
    detail::decode_q6_k(block, out);
  }
};

static_assert(quantizer<q2_k> && quantizer<q3_k> && quantizer<q5_k> && quantizer<q6_k>);

}  // namespace qwha
