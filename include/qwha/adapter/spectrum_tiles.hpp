// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// A sparse spectrum arranged for y += F x̂ with a single x̂: tiles of 128 x 128 whose part of x̂ sits in registers and
/// is looked up there, sixteen rows at a time.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <type_traits>
#include <vector>

#include <qwha/adapter/packed_product.hpp>
#include <qwha/adapter/sparse_spectrum.hpp>
#include <qwha/base/config.hpp>
#include <qwha/base/executor.hpp>
#include <qwha/base/simd.hpp>

#if QWHA_HAS_AVX512VBMI
#include <immintrin.h>
#endif

namespace qwha::inline QWHA_ISA::detail {

/// F in tiles. A copy of the pattern and the values: it does not follow later changes of the spectrum.
///
/// Inside a tile the rows are ranked by their number of coefficients, and sixteen neighbours in rank are the lanes of a
/// group. Step s of a group holds coefficient s of each of its rows, with value zero where a row has no more. Steps go
/// by s, then by group, so that neighbouring steps add to different sums; four of them share one look-up of 64 bytes.
/// Cost in bytes a coefficient at density d: (1 + sizeof(value)) times a padding of 1.1 at d = 3 %, 1.5 at 0.8 %.
template <class T>
class spectrum_tiles {
 public:
  /// 16-bit values stay as they are; float and double are floats.
  using stored = std::conditional_t<sizeof(T) == 2, T, float>;
  static constexpr std::size_t side = 128, lanes = 16, batch = 4 * lanes, groups = side / lanes;
  /// Where this file has no look-up of bytes in registers, rows are faster as they are.
  static constexpr bool available = QWHA_HAS_AVX512VBMI != 0;

  spectrum_tiles() = default;
  /// @throws std::bad_alloc
  explicit spectrum_tiles(const sparse_spectrum<T>& f)
      : rows_(f.rows()), blocks_((f.cols() + side - 1) / side), starts_{0} {
    if constexpr (available) {
      starts_.reserve(strips() * blocks_ + 1);
      ranks_.reserve(strips() * blocks_ * side);
      for (std::size_t strip = 0; strip < strips(); ++strip) append_strip(f, strip);
    }
  }

  bool empty() const noexcept { return values_.empty(); }
  std::size_t strips() const noexcept { return (rows_ + side - 1) / side; }
  /// Floats of scratch for an x̂ in byte planes.
  std::size_t floats() const noexcept { return blocks_ * side; }

#if QWHA_HAS_AVX512VBMI
  /// x̂ [cols] as `multiply` wants it: block by block, byte plane by byte plane. @param planes  floats() floats
  void split(const float* x, std::size_t cols, float* planes) const noexcept {
    auto* to = reinterpret_cast<std::byte*>(planes);
    for (std::size_t first = 0; first < cols; first += side, to += 4 * side) {
      alignas(64) float values[side] = {};
      std::copy_n(x + first, std::min(side, cols - first), values);
      for (std::size_t half = 0; half < 2; ++half) {
        const bytes4 planes_of = split_bytes(values + half * batch);
        for (std::size_t k = 0; k < 4; ++k) _mm512_storeu_si512(to + k * side + half * batch, planes_of[k]);
      }
    }
  }

  /// sums [side] = F x̂ for the rows of a strip; those from rows on are zero.
  void multiply(std::size_t strip, const float* planes, float* sums) const noexcept {
    __m512 y[groups] = {};
    const auto* plane = reinterpret_cast<const std::byte*>(planes);
    for (std::size_t tile = strip * blocks_; tile < (strip + 1) * blocks_; ++tile, plane += 4 * side) {
      const std::size_t first = starts_[tile], last = starts_[tile + 1];
      if (first == last) continue;
      alignas(64) float ranked[(groups + 1) * lanes] = {};  // one more group: where the padding of a batch goes
      const table x = load_table(plane);
      __m512 sum{};
      prefetch(ranks_.data() + tile * side, 8 * side), prefetch(ranks_.data() + tile * side, 8 * side + 64);
      for (std::size_t b = first; b < last; ++b) {
        prefetch_batch(b);
        const floats4 looked_up = look_up(x, indices_.data() + b * batch);
        sum = add_step(looked_up[0], 4 * b, sum, ranked);
        sum = add_step(looked_up[1], 4 * b + 1, sum, ranked);
        sum = add_step(looked_up[2], 4 * b + 2, sum, ranked);
        sum = add_step(looked_up[3], 4 * b + 3, sum, ranked);
      }
      const table by_rank = split_table(ranked);
      for (std::size_t half = 0; half < 2; ++half) {
        const floats4 back = look_up(by_rank, ranks_.data() + tile * side + half * batch);
        for (std::size_t q = 0; q < 4; ++q) y[4 * half + q] = _mm512_add_ps(y[4 * half + q], back[q]);
      }
    }
    for (std::size_t g = 0; g < groups; ++g) _mm512_storeu_ps(sums + g * lanes, y[g]);
  }
#endif

 private:
  /// Where byte of lane l of step q lies in a batch: look-ups come apart by quarters of a register.
  static constexpr std::size_t place(std::size_t q, std::size_t lane) noexcept {
    return lane / 4 * 16 + q * 4 + lane % 4;
  }

  void append_strip(const sparse_spectrum<T>& f, std::size_t strip) {
    const std::size_t first = strip * side, count = std::min(side, rows_ - first);
    std::array<std::size_t, side> next{}, end{};
    for (std::size_t i = 0; i < count; ++i) next[i] = f.offsets()[first + i];
    for (std::size_t block = 0; block < blocks_; ++block) {
      for (std::size_t i = 0; i < count; ++i) {
        end[i] = next[i];
        while (end[i] < f.offsets()[first + i + 1] && f.columns()[end[i]] < (block + 1) * side) ++end[i];
      }
      append_tile(f, block * side, next, end);
      next = end;
    }
  }

  /// The tile whose row i holds entries next[i] … end[i] - 1 of f.
  void append_tile(const sparse_spectrum<T>& f, std::size_t first_column, const std::array<std::size_t, side>& next,
                   const std::array<std::size_t, side>& end) {
    std::array<std::uint8_t, side> order;
    std::iota(order.begin(), order.end(), std::uint8_t{0});
    const auto size = [&](std::size_t i) { return end[i] - next[i]; };
    std::sort(order.begin(), order.end(),
              [&](std::uint8_t a, std::uint8_t b) { return size(a) != size(b) ? size(a) > size(b) : a < b; });
    const std::size_t rank_start = ranks_.size();
    ranks_.resize(rank_start + side);
    for (std::size_t rank = 0; rank < side; ++rank) {
      const std::size_t row = order[rank], half = row / batch, q = row % batch / lanes;
      ranks_[rank_start + half * batch + place(q, row % lanes)] = static_cast<std::uint8_t>(rank);
    }
    std::size_t steps = 0;
    for (std::size_t g = 0; g < groups; ++g)
      for (std::size_t s = 0; s < size(order[g * lanes]); ++s, ++steps) {
        if (steps % 4 == 0) append_batch();
        const std::size_t b = targets_.size() / 4 - 1, q = steps % 4;
        targets_[4 * b + q] = static_cast<std::uint8_t>(g);
        carries_[4 * b + q] = s == 0 ? 0 : 0xffff;
        for (std::size_t l = 0; l < lanes; ++l) {
          const std::size_t row = order[g * lanes + l];
          if (size(row) <= s) continue;
          const std::size_t entry = next[row] + s;
          indices_[b * batch + place(q, l)] = static_cast<std::uint8_t>(f.columns()[entry] - first_column);
          values_[b * batch + q * lanes + l] = static_cast<stored>(f.values()[entry]);
        }
      }
    starts_.push_back(targets_.size() / 4);
  }
  void append_batch() {
    indices_.resize(indices_.size() + batch);
    values_.resize(values_.size() + batch);
    targets_.resize(targets_.size() + 4, static_cast<std::uint8_t>(groups));
    carries_.resize(carries_.size() + 4);
  }

#if QWHA_HAS_AVX512VBMI
  struct table {
    __m512i low[4], high[4];  ///< bytes k of 128 floats
  };
  struct bytes4 {
    __m512i v[4];
    QWHA_ALWAYS_INLINE const __m512i& operator[](std::size_t i) const noexcept { return v[i]; }
  };
  struct floats4 {
    __m512 v[4];
    QWHA_ALWAYS_INLINE const __m512& operator[](std::size_t i) const noexcept { return v[i]; }
  };

  QWHA_ALWAYS_INLINE static table load_table(const std::byte* plane) noexcept {
    table t;
    for (std::size_t k = 0; k < 4; ++k) {
      t.low[k] = _mm512_loadu_si512(plane + k * side);
      t.high[k] = _mm512_loadu_si512(plane + k * side + batch);
    }
    return t;
  }
  QWHA_ALWAYS_INLINE static table split_table(const float* values) noexcept {
    const bytes4 low = split_bytes(values), high = split_bytes(values + batch);
    table t;
    for (std::size_t k = 0; k < 4; ++k) t.low[k] = low[k], t.high[k] = high[k];
    return t;
  }

  /// Byte k of each of 64 floats, k = 0 … 3.
  QWHA_ALWAYS_INLINE static bytes4 split_bytes(const float* values) noexcept {
    alignas(64) static constexpr auto pick = [] {  // bytes k and k + 1 of 32 floats
      std::array<std::uint8_t, 128> p{};
      for (std::size_t i = 0; i < 128; ++i) p[i] = static_cast<std::uint8_t>(i % 32 * 4 + i / 32);
      return p;
    }();
    const __m512i first_two = _mm512_loadu_si512(pick.data()), last_two = _mm512_loadu_si512(pick.data() + 64);
    const __m512i a = _mm512_loadu_si512(values), b = _mm512_loadu_si512(values + 16);
    const __m512i c = _mm512_loadu_si512(values + 32), d = _mm512_loadu_si512(values + 48);
    const __m512i ab01 = _mm512_permutex2var_epi8(a, first_two, b), cd01 = _mm512_permutex2var_epi8(c, first_two, d);
    const __m512i ab23 = _mm512_permutex2var_epi8(a, last_two, b), cd23 = _mm512_permutex2var_epi8(c, last_two, d);
    constexpr __mmask8 all = 0xff;  // the forms without a mask make GCC 12 warn of an undefined operand
    return {{_mm512_maskz_shuffle_i64x2(all, ab01, cd01, 0x44), _mm512_maskz_shuffle_i64x2(all, ab01, cd01, 0xee),
             _mm512_maskz_shuffle_i64x2(all, ab23, cd23, 0x44), _mm512_maskz_shuffle_i64x2(all, ab23, cd23, 0xee)}};
  }

  /// Entry l of result q is the float number indices[place(q, l)] of the table.
  QWHA_ALWAYS_INLINE static floats4 look_up(const table& t, const std::uint8_t* indices) noexcept {
    const __m512i i = _mm512_loadu_si512(indices);
    const __m512i b0 = _mm512_permutex2var_epi8(t.low[0], i, t.high[0]);
    const __m512i b1 = _mm512_permutex2var_epi8(t.low[1], i, t.high[1]);
    const __m512i b2 = _mm512_permutex2var_epi8(t.low[2], i, t.high[2]);
    const __m512i b3 = _mm512_permutex2var_epi8(t.low[3], i, t.high[3]);
    const __m512i low01 = _mm512_unpacklo_epi8(b0, b1), high01 = _mm512_unpackhi_epi8(b0, b1);
    const __m512i low23 = _mm512_unpacklo_epi8(b2, b3), high23 = _mm512_unpackhi_epi8(b2, b3);
    return {{_mm512_castsi512_ps(_mm512_unpacklo_epi16(low01, low23)),
             _mm512_castsi512_ps(_mm512_unpackhi_epi16(low01, low23)),
             _mm512_castsi512_ps(_mm512_unpacklo_epi16(high01, high23)),
             _mm512_castsi512_ps(_mm512_unpackhi_epi16(high01, high23))}};
  }

  /// The streams of a strip are thin and many: hardware does not follow them all.
  QWHA_ALWAYS_INLINE void prefetch_batch(std::size_t b) const noexcept {
    constexpr std::size_t ahead = 64, bytes = batch * sizeof(stored);
    prefetch(indices_.data() + b * batch, ahead * batch);
    for (std::size_t line = 0; line < bytes; line += 64) prefetch(values_.data() + b * batch, ahead * bytes + line);
    prefetch(targets_.data() + b * 4, ahead * 4 + 64);
    prefetch(carries_.data() + b * 4, ahead * 8 + 64);
  }

  /// The sum of the step's group so far, also stored: the last one stays.
  QWHA_ALWAYS_INLINE __m512 add_step(__m512 x, std::size_t step, __m512 sum, float* ranked) const noexcept {
    const __m512 value = (__m512)(load_as<float, lanes>(values_.data() + step * lanes).v);
    const __m512 product = _mm512_mul_ps(value, x);
    sum = _mm512_mask_add_ps(product, carries_[step], product, sum);
    _mm512_store_ps(ranked + targets_[step] * lanes, sum);
    return sum;
  }
#endif

  std::size_t rows_ = 0, blocks_ = 0;
  std::vector<std::size_t> starts_;     ///< [tiles + 1] in batches; tiles of a strip one after another
  std::vector<std::uint8_t> indices_;   ///< [batches][64] columns inside the tile
  std::vector<std::uint8_t> targets_;   ///< [batches][4] groups
  std::vector<std::uint16_t> carries_;  ///< [batches][4] lanes that go on with the sum of the step before: all or none
  std::vector<stored> values_;          ///< [batches][4][16]
  std::vector<std::uint8_t> ranks_;     ///< [tiles][128] of the rows
};

}  // namespace qwha::inline QWHA_ISA::detail
