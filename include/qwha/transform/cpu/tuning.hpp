// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Sizes of the CPU kernels by register width, as data. They change the order of loads and stores, never a result.

#include <cstddef>

#include <qwha/base/config.hpp>

namespace qwha::inline QWHA_ISA::detail {

/// What 64 bytes hold, and the base block of 16 such groups that every back end transforms first.
template <class T>
inline constexpr std::size_t group_size = 64 / sizeof(T);
template <class T>
inline constexpr std::size_t base_size = 16 * group_size<T>;

/// Whether subtracting by fused multiplication pays, W lanes at a time: it goes to pipes of their own.
template <std::size_t W>
inline constexpr bool multiply_levels = W > 1 && (QWHA_HAS_AVX2 != 0 || QWHA_HAS_NEON != 0);

/// The levels of a radix-R pass that do, as the sum of their distances. Stores take turns with the multipliers, so the
/// fewer levels share a store, the fewer multiply; 32-byte stores come twice as fast as those of 64 bytes.
template <std::size_t R, class T, std::size_t W>
inline constexpr std::size_t fused_levels = !multiply_levels<W> ? 0
                                            : R == 16           ? 2 | 8
                                            : R == 8            ? (W * sizeof(T) == 32 ? 2 | 4 : 2)
                                            : R == 4            ? (W * sizeof(T) == 32 ? 2 : 0)
                                                                : 0;
/// The same in front of the stages within registers: nothing is stored meanwhile.
template <std::size_t R, std::size_t W>
inline constexpr std::size_t fused_before_lanes = !multiply_levels<W> ? 0
                                                  : R == 16           ? 2 | 4 | 8
                                                  : R == 8            ? 4
                                                                      : 0;
/// The same behind loads that convert, which keep the adders busy.
template <std::size_t R, class T, std::size_t W>
inline constexpr std::size_t converted_levels = multiply_levels<W> && R == 16 ? 15 : fused_levels<R, T, W>;

/// Whether the stages within registers leave the multipliers no time for those between registers of the same sweep.
template <class T, std::size_t W>
inline constexpr bool lane_multipliers = W * sizeof(T) == 32;

/// Batches beyond `cached_bytes` ask for numbers at least `prefetch_bytes`, or a row, before their turn; but never a row
/// of more than `row_ahead_bytes`, which must fit the second-level cache twice.
inline constexpr std::size_t cached_bytes = 32768, prefetch_bytes = 4096, row_ahead_bytes = 262144;

/// When a row asks for the next one, so that memory has work in every sweep. Of eight eighths `base` are asked for by
/// the base blocks, those up to `block` by the last pass within a cache block, the others by the last pass of all.
struct prefetch_shares {
  std::size_t base, block;
};
inline constexpr prefetch_shares base_shares{8, 8};   ///< short rows
inline constexpr prefetch_shares block_shares{4, 8};  ///< rows of two cache blocks, swept as one
inline constexpr prefetch_shares far_shares{4, 6};    ///< longer ones

/// Whether so few and so large rows are each split across the threads: two parallel loops must cost less than the half
/// of a row that they may save, and rows of their own threads save more where there are as many.
constexpr bool split_pays(std::size_t rows, std::size_t bytes) noexcept {
  return rows == 1 ? bytes >= std::size_t{1} << 19 : rows <= 8 && bytes >= std::size_t{1} << 22;
}

/// Where two base blocks and the bit between them are transformed first: nowhere, where they are all or one pass of the
/// largest radix does the rest, or wherever there are two.
enum class doubling { never, filling, always };

struct cpu_tuning {
  std::size_t base_rows;    ///< groups of 64 bytes that are in registers at once, 1 … 16
  std::size_t max_radix;    ///< registers of one column in a pass inside a cache block
  std::size_t far_radix;    ///< the same between cache blocks: strides of 4 KiB and more share few cache sets
  std::size_t cache_block;  ///< bytes that are taken through all passes they hold before the next ones
  doubling double_base;

  bool operator==(const cpu_tuning&) const = default;
};

/// The sizes for vectors of `bytes` bytes (a single number: no vectors).
constexpr cpu_tuning tuning_for(std::size_t bytes) noexcept {
  using enum doubling;
  if (bytes == 64)
    return {.base_rows = 16, .max_radix = 16, .far_radix = 8, .cache_block = 16384, .double_base = filling};
  if (bytes == 32) return {.base_rows = 4, .max_radix = 8, .far_radix = 8, .cache_block = 16384, .double_base = always};
  if (bytes == 16) return {.base_rows = 2, .max_radix = 8, .far_radix = 8, .cache_block = 16384, .double_base = never};
  return {.base_rows = 1, .max_radix = 8, .far_radix = 8, .cache_block = 16384, .double_base = never};
}
template <class T, std::size_t W>
inline constexpr cpu_tuning tuning = tuning_for(W == 1 ? 0 : W * sizeof(T));

/// The radix of the next pass when `remaining` (a power of two) is left: as few passes as `max` allows, evenly filled.
constexpr std::size_t next_radix(std::size_t remaining, std::size_t max) noexcept {
  std::size_t passes = 1;
  for (std::size_t reach = max; reach < remaining; reach *= max) ++passes;
  std::size_t radix = 2;
  for (;; radix *= 2) {
    std::size_t reach = 1;
    for (std::size_t p = 0; p < passes; ++p) reach *= radix;
    if (reach >= remaining) return radix;
  }
}

/// Whether a cache block of n numbers starts with double base blocks.
template <class T, std::size_t W>
constexpr bool doubles_base(std::size_t n) noexcept {
  constexpr std::size_t twice = 2 * base_size<T>;
  constexpr doubling how = tuning<T, W>.double_base;
  return n >= twice &&
         (how == doubling::always || (how == doubling::filling && (n == twice || n == twice * tuning<T, W>.max_radix)));
}
static_assert(next_radix(16, 16) == 16 && next_radix(16, 8) == 4 && next_radix(32, 8) == 8 && next_radix(2, 16) == 2);

}  // namespace qwha::inline QWHA_ISA::detail
