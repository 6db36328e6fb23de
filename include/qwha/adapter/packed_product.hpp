// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Products of one vector with packed 4-bit rows: codes become floats in registers and never pass through memory.

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include <qwha/adapter/dense_product.hpp>
#include <qwha/adapter/prefetch.hpp>
#include <qwha/adapter/scratch.hpp>
#include <qwha/base/config.hpp>
#include <qwha/base/simd.hpp>
#include <qwha/quant/affine.hpp>
#include <qwha/quant/bytes.hpp>
#include <qwha/quant/quantized_matrix.hpp>

#if QWHA_HAS_AVX512
#include <immintrin.h>
#endif

namespace qwha::inline QWHA_ISA::detail {

/// How far ahead of the streams of weights to ask for them: a few hundred nanoseconds of reading. The parameters are a
/// thin second stream whose misses would stall the whole row.
struct packed_prefetch {
  std::size_t codes, parameters;  ///< bytes: to the same place of later rows

  template <class Q>
  static packed_prefetch of(const quantized_matrix<Q>& base, std::size_t chunk) noexcept {
    const std::size_t rows = 1 + 8191 / std::max<std::size_t>(1, chunk * Q::code_bytes);
    return {rows * base.code_stride(), 5 * rows * base.parameter_stride()};
  }
};

/// What a dot product with packed rows of Q needs to know. `lanes` 0: Q goes the general way, through `decode`.
///
/// A register holds `lanes` words of 32 bits; nibble s of word l is weight 8 l + s of a step of 8 · lanes weights. x is
/// brought into the order [step][s][l] once per token, so that nibble s of all words meets one vector of it.
template <class Q>
struct packed_traits {
  static constexpr std::size_t lanes = 0;
};
template <std::size_t Group, zero_point Z, class Scale>
  requires(QWHA_HAS_VECTOR_EXTENSIONS != 0 && sizeof(Scale) == 2 && std::endian::native == std::endian::little)
struct packed_traits<affine<4, Group, Z, Scale>> {
  /// Several groups share a register: their scales are looked up by lane.
  static constexpr bool scales_by_lane = QWHA_HAS_AVX512 != 0 && (Group == 16 || Group == 32 || Group == 64);
  static constexpr std::size_t widest(std::size_t w) noexcept {
    return w < 4 ? 0 : Group % (8 * w) == 0 ? w : widest(w / 2);
  }
  static constexpr std::size_t lanes = scales_by_lane ? 16 : widest(native_lanes);
};

/// Codes count from here, so that sums of code · x stay small before the zero point is taken off.
template <std::size_t W>
inline constexpr float code_centre = QWHA_HAS_AVX512 != 0 && W == 16 ? 8.0f : 0.0f;

/// Nibble S of every word, less `code_centre`.
template <std::size_t S, std::size_t W>
QWHA_ALWAYS_INLINE vec<float, W> nibble(const vec<std::uint32_t, W>& words) noexcept {
#if QWHA_HAS_AVX512
  if constexpr (W == 16) {  // a look-up reads the low four bits of its lane and saves the mask
    const __m512 codes = _mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7);
    return {(typename vec<float, W>::native_type)(
        _mm512_maskz_permutexvar_ps(0xffff, (__m512i)(words.v >> (4 * S)), codes))};
  }
#endif
  const auto code = (words.v >> (4 * S)) & 15u;
  return convert_lanes<float>(bit_cast_lanes<std::int32_t>(vec<std::uint32_t, W>{code}));
}

/// The words at `p`, read once: compilers like to fold the load into each of the eight shifts, and eight reads of a line
/// that is on its way from memory cost more than the shifts.
template <std::size_t W>
QWHA_ALWAYS_INLINE vec<std::uint32_t, W> load_words(const std::byte* p) noexcept {
  vec<std::uint32_t, W> words;
  std::memcpy(&words.v, p, sizeof(words.v));
#if QWHA_HAS_AVX512
  __asm__("" : "+v"(words.v));
#elif QWHA_HAS_SSE
  __asm__("" : "+x"(words.v));
#elif QWHA_HAS_NEON
  __asm__("" : "+w"(words.v));
#endif
  return words;
}

/// Σ over the nibbles of code · x, lane by lane. @param x  [8][W]
template <std::size_t W>
QWHA_ALWAYS_INLINE vec<float, W> packed_step(const vec<std::uint32_t, W>& words, const float* x) noexcept {
  using vector = vec<float, W>;
  const auto at = [&](std::size_t s) __attribute__((always_inline)) { return vector::load(x + s * W); };
  vector even = nibble<0>(words) * at(0), odd = nibble<1>(words) * at(1);
  even = fma(nibble<2>(words), at(2), even), odd = fma(nibble<3>(words), at(3), odd);
  even = fma(nibble<4>(words), at(4), even), odd = fma(nibble<5>(words), at(5), odd);
  even = fma(nibble<6>(words), at(6), even), odd = fma(nibble<7>(words), at(7), odd);
  return even + odd;
}

/// x in the order of the kernel, and the sums of its groups.
template <class Q>
struct packed_vector {
  static constexpr std::size_t lanes = packed_traits<Q>::lanes, step = 8 * lanes;

  static constexpr std::size_t groups(std::size_t cols) noexcept { return (cols + Q::block_size - 1) / Q::block_size; }
  /// Whole groups: a group may fill several steps, a step several groups.
  static constexpr std::size_t steps(std::size_t cols) noexcept {
    return (groups(cols) * Q::block_size + step - 1) / step;
  }
  static constexpr std::size_t floats(std::size_t cols) noexcept {
    return steps(cols) * step + padded(groups(cols) + lanes);
  }

  const float* x;     ///< [steps][8][lanes], zeros from cols on
  const float* sums;  ///< [groups], and zeros up to a whole register

  /// What an earlier one left in `memory`.
  packed_vector(const float* memory, std::size_t cols) noexcept : x(memory), sums(memory + steps(cols) * step) {}
  /// @param memory  floats(cols)
  packed_vector(const float* source, std::size_t cols, float* memory) noexcept
      : x(memory), sums(memory + steps(cols) * step) {
    float* to = memory;
    std::size_t done = 0;
    for (; done + step <= cols; done += step, to += step) arrange(source + done, to);
    float* sum = memory + steps(cols) * step;
    if (done < cols) {
      float last[step] = {};
      std::copy_n(source + done, cols - done, last);
      arrange(last, to);
      to += step;
    }
    std::fill(to, sum, 0.0f);
    std::fill_n(sum, padded(groups(cols) + lanes), 0.0f);
    for (std::size_t g = 0; g < cols; g += Q::block_size)
      *sum++ = sum_of(source + g, std::min(Q::block_size, cols - g));
  }

 private:
  static void arrange(const float* QWHA_RESTRICT from, float* QWHA_RESTRICT to) noexcept {
    for (std::size_t l = 0; l < lanes; ++l)
      for (std::size_t s = 0; s < 8; ++s) to[s * lanes + l] = from[8 * l + s];
  }
  static float sum_of(const float* from, std::size_t count) noexcept {
    vec<float, lanes> sum{};
    std::size_t i = 0;
    for (; i + lanes <= count; i += lanes) sum = sum + vec<float, lanes>::load(from + i);
    float rest = 0;
    for (; i < count; ++i) rest += from[i];
    return sum_lanes(sum) + rest;
  }
};

#if QWHA_HAS_AVX512

/// Scales of sixteen groups, and how far their zero points lie from `code_centre`.
struct lane_scales {
  __m512 scale, offset;
};

/// @param count  groups that are there; the others get scale zero
template <std::size_t Group, zero_point Z, class Scale>
QWHA_ALWAYS_INLINE lane_scales load_lane_scales(const affine<4, Group, Z, Scale>&, const std::byte* parameters,
                                                std::size_t count) noexcept {
  constexpr __mmask16 all = 0xffff;
  const std::size_t bytes = count * affine<4, Group, Z, Scale>::parameter_bytes;
  const std::uint64_t present = ~std::uint64_t{0} >> (64 - bytes);
  __m512i words;  // scale in the low half, zero point above it
  if constexpr (Z == zero_point::symmetric) {
    words = _mm512_maskz_cvtepu16_epi32(all, _mm256_maskz_loadu_epi8(static_cast<__mmask32>(present), parameters));
  } else {  // four groups, twelve bytes, to each quarter; then a word to each group
    const __m512i raw = _mm512_maskz_loadu_epi8(present, parameters);
    const __m512i quarters = _mm512_setr_epi32(0, 1, 2, 2, 3, 4, 5, 5, 6, 7, 8, 8, 9, 10, 11, 11);
    const __m512i triples = _mm512_set4_epi32(static_cast<int>(0xff0b0a09u), static_cast<int>(0xff080706u),
                                              static_cast<int>(0xff050403u), static_cast<int>(0xff020100u));
    words = _mm512_shuffle_epi8(_mm512_maskz_permutexvar_epi32(all, quarters, raw), triples);
  }
  lane_scales s;
  if constexpr (std::is_same_v<Scale, half>)
    s.scale = _mm512_maskz_cvtph_ps(all, _mm512_maskz_cvtepi32_epi16(all, words));
  else
    s.scale = _mm512_castsi512_ps(_mm512_maskz_slli_epi32(all, words, 16));
  if constexpr (Z == zero_point::symmetric)
    s.offset = _mm512_set1_ps(8 - code_centre<16>);
  else
    s.offset = _mm512_sub_ps(_mm512_maskz_cvtepi32_ps(all, _mm512_maskz_srli_epi32(all, words, 16)),
                             _mm512_set1_ps(code_centre<16>));
  return s;
}

/// Groups first … first + groups - 1 of w_row · x with sixteen scales in a register.
template <class Q>
QWHA_ALWAYS_INLINE float packed_dot_by_lane(const quantized_matrix<Q>& base, std::size_t row, std::size_t first,
                                            std::size_t groups, const packed_vector<Q>& x,
                                            const packed_prefetch& ahead) noexcept {
  constexpr std::size_t step_bytes = 64, groups_per_step = packed_vector<Q>::step / Q::block_size;
  using vector = vec<float, 16>;
  const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i first_group = _mm512_maskz_srli_epi32(0xffff, lanes, std::countr_zero(Q::block_size / 8));
  const std::byte* codes = base.codes(row) + first * Q::code_bytes;
  const std::byte* parameters = base.parameters(row) + first * Q::parameter_bytes;
  const float *values = x.x + first * Q::block_size, *sums = x.sums + first;
  vector total{}, surplus{};
  const auto add = [&](const vec<std::uint32_t, 16>& words, __m512i group, __m512 scales)
                       __attribute__((always_inline)) {
                         const vector scale{(vector::native_type)(_mm512_maskz_permutexvar_ps(0xffff, group, scales))};
                         total = fma(packed_step(words, values), scale, total);
                         values += packed_vector<Q>::step;
                       };
  for (std::size_t count; groups > 0; groups -= count) {
    count = std::min<std::size_t>(16, groups);
    prefetch(parameters, ahead.parameters);
    const lane_scales s = load_lane_scales(Q{}, parameters, count);
    surplus = fma(vector{(vector::native_type)(s.scale)} * vector{(vector::native_type)(s.offset)}, vector::load(sums),
                  surplus);
    __m512i group = first_group;
    std::size_t g = 0;
    for (; g + groups_per_step <= count; g += groups_per_step) {
      prefetch(codes, ahead.codes);
      add(load_words<16>(codes), group, s.scale);
      group = _mm512_add_epi32(group, _mm512_set1_epi32(static_cast<int>(groups_per_step)));
      codes += step_bytes;
    }
    if (g < count) {
      vec<std::uint32_t, 16> words{};
      std::memcpy(&words.v, codes, (count - g) * Q::code_bytes);
      add(words, group, s.scale);
    }
    parameters += 16 * Q::parameter_bytes;
    sums += 16;
  }
  return sum_lanes(total - surplus);
}

#endif

/// The same where a group fills whole registers.
template <class Q>
QWHA_ALWAYS_INLINE float packed_dot_by_group(const quantized_matrix<Q>& base, std::size_t row, std::size_t first,
                                             std::size_t groups, const packed_vector<Q>& x,
                                             const packed_prefetch& ahead) noexcept {
  constexpr std::size_t W = packed_vector<Q>::lanes, steps = Q::block_size / packed_vector<Q>::step;
  using vector = vec<float, W>;
  const std::byte* codes = base.codes(row) + first * Q::code_bytes;
  const std::byte* parameters = base.parameters(row) + first * Q::parameter_bytes;
  const float* values = x.x + first * Q::block_size;
  vector total{};
  float surplus = 0;
  for (std::size_t g = first; g < first + groups; ++g) {
    const float scale = load_scalar<typename Q::scale_type>(parameters);
    const float zero =
        Q::symmetric ? 8.0f : static_cast<float>(std::to_integer<int>(parameters[Q::parameter_bytes - 1]));
    prefetch(parameters, ahead.parameters);
    parameters += Q::parameter_bytes;
    surplus += (zero - code_centre<W>)*scale * x.sums[g];
    vector sum{};
    for (std::size_t i = 0; i < steps; ++i) {
      prefetch(codes, ahead.codes);
      const vec<std::uint32_t, W> words = load_words<W>(codes);
      sum = i == 0 ? packed_step(words, values) : sum + packed_step(words, values);
      codes += sizeof(words.v);
      values += packed_vector<Q>::step;
    }
    total = fma(sum, vector::splat(scale), total);
  }
  return sum_lanes(total) - surplus;
}

/// Groups of a chunk of x that stays in the first-level cache while rows pass: sixteen groups at a time, chunks alike.
template <class Q>
constexpr std::size_t packed_chunk(std::size_t groups) noexcept {
  constexpr std::size_t cached = 4096 / Q::block_size;
  const std::size_t chunks = std::max<std::size_t>(1, (groups + cached - 1) / std::max<std::size_t>(1, cached));
  return ((groups + chunks - 1) / chunks + 15) / 16 * 16;
}

/// y_r += w_r · x for rows begin … end - 1.
template <class Q>
QWHA_NOINLINE void add_packed_products(const quantized_matrix<Q>& base, std::size_t begin, std::size_t end,
                                       const packed_vector<Q>& x, float* y) noexcept {
  constexpr std::size_t strip = 32;  // rows that stay in the second-level cache while chunks of x pass
  const std::size_t groups = base.blocks_per_row(), chunk = packed_chunk<Q>(groups);
  const auto ahead = packed_prefetch::of(base, std::min(chunk, groups));
  for (std::size_t row = begin; row < end; row += strip)
    for (std::size_t first = 0; first < groups; first += chunk) {
      const std::size_t count = std::min(chunk, groups - first);
      for (std::size_t r = row; r < std::min(end, row + strip); ++r) {
#if QWHA_HAS_AVX512
        if constexpr (packed_traits<Q>::scales_by_lane) {
          y[r] += packed_dot_by_lane(base, r, first, count, x, ahead);
          continue;
        }
#endif
        y[r] += packed_dot_by_group(base, r, first, count, x, ahead);
      }
    }
}

}  // namespace qwha::inline QWHA_ISA::detail
