// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// The fast Walsh-Hadamard transform of one row of 2^k numbers (Sylvester, natural order), one template for every type
/// and register width.
///
/// Every back end adds in the same order, so all give the same bits. With L = 64 bytes / sizeof(T) and l = log2 L,
/// index bits are transformed in the order l … l + 3, 0 … l - 1, l + 4, l + 5, …: the order in which a 64-byte register
/// file does least work. Butterflies are a + b and a - b, one rounding each.

#include <bit>
#include <cstddef>
#include <type_traits>
#include <utility>

#include <qwha/base/config.hpp>
#include <qwha/base/executor.hpp>
#include <qwha/base/simd.hpp>
#include <qwha/transform/cpu/tuning.hpp>

namespace qwha::inline QWHA_ISA::detail {

// --- in registers ---------------------------------------------------------------------------------------------------

template <class V>
QWHA_KERNEL_INLINE void butterfly(V& a, V& b) noexcept {
  const V sum = a + b;
  b = a - b;
  a = sum;
}
/// The same bits; the difference goes to the multipliers, whose ports idle beside the adders'.
template <class V>
QWHA_KERNEL_INLINE void butterfly(V& a, V& b, V minus_one) noexcept {
  const V sum = a + b;
  b = fma(b, minus_one, a);
  a = sum;
}

/// Butterflies between registers i and i + H of each 2 H consecutive ones; every other level by multiplication. Spelled
/// by indices, since compilers stop unrolling loops of this size and would keep the registers in memory.
template <std::size_t H, bool Fused, class V, std::size_t... I>
QWHA_KERNEL_INLINE void butterfly_stage(V* r, V minus_one, std::index_sequence<I...>) noexcept {
  if constexpr (Fused)
    (butterfly(r[I / H * 2 * H + I % H], r[I / H * 2 * H + I % H + H], minus_one), ...);
  else
    (butterfly(r[I / H * 2 * H + I % H], r[I / H * 2 * H + I % H + H]), ...);
}

/// Register bits log2 First … log2 End - 1 of R registers, ascending; on the levels in the set `Fused` the difference
/// goes to the multipliers.
template <std::size_t First, std::size_t End, std::size_t R = End, std::size_t Fused = 0, class V>
QWHA_KERNEL_INLINE void butterflies(V* r, V minus_one = V()) noexcept {
  if constexpr (First < End) {
    butterfly_stage<First, (Fused & First) != 0>(r, minus_one, std::make_index_sequence<R / 2>{});
    butterflies<2 * First, End, R, Fused>(r, minus_one);
  }
}

/// -1 as a factor that the compiler leaves a factor.
template <class T, std::size_t W>
QWHA_KERNEL_INLINE vec<T, W> minus_one() noexcept {
  return vec<T, W>::splat(opaque(T(-1)));
}

template <std::size_t H, class V, std::size_t... I>
QWHA_KERNEL_INLINE void lane_stage(V* r, std::index_sequence<I...>) noexcept {
  const V signs = lane_signs<H, typename V::value_type, V::size>();
  ((r[I] = fma(r[I], signs, swap_lanes<H>(r[I]))), ...);
}

/// Lane bits log2 H … log2 End - 1 of R registers, breadth first, ascending; all of them unless said otherwise.
template <std::size_t R, std::size_t H = 1, std::size_t End = 0, class V>
QWHA_KERNEL_INLINE void lane_stages(V* r) noexcept {
  if constexpr (H < (End == 0 ? V::size : End)) {
    lane_stage<H>(r, std::make_index_sequence<R>{});
    lane_stages<R, 2 * H, End>(r);
  }
}

/// The same for one half of the registers after the other: what the first half waits for, the second one has issued.
template <std::size_t R, class V>
QWHA_KERNEL_INLINE void lane_stages_by_halves(V* r) noexcept {
  if constexpr (R == 1) {
    lane_stages<1>(r);
  } else {
    lane_stages<R / 2>(r);
    lane_stages<R / 2>(r + R / 2);
  }
}

template <class V, class Load, std::size_t... I>
QWHA_KERNEL_INLINE void load_registers(V* r, const Load& load, std::size_t at, std::size_t stride,
                                       std::index_sequence<I...>) noexcept {
  ((r[I] = load(std::integral_constant<std::size_t, V::size>{}, at + I * stride)), ...);
}
template <class V, class Store, std::size_t... I>
QWHA_KERNEL_INLINE void store_registers(const V* r, const Store& store, std::size_t at, std::size_t stride,
                                        std::index_sequence<I...> registers) noexcept {
  if constexpr (requires { store.all(at, stride, r, registers); })
    store.all(at, stride, r, registers);
  else
    (store(at + I * stride, r[I]), ...);
}

/// Keeps the compiler from loading the registers again for each of their uses: faster except where radix 8 and the
/// scale fill the multipliers.
template <class V, std::size_t... I>
QWHA_KERNEL_INLINE void load_once(V* r, std::index_sequence<I...>) noexcept {
  ((r[I] = in_register(r[I])), ...);
}

// --- sweeps over a row: read by `load(width, i)`, written by `store(i, v)`
// --------------------------------------------

template <class T>
struct memory_row {
  T* data;
  template <std::size_t W>
  QWHA_KERNEL_INLINE vec<T, W> operator()(std::integral_constant<std::size_t, W>, std::size_t i) const noexcept {
    return vec<T, W>::load(data + i);
  }
  template <std::size_t W>
  QWHA_KERNEL_INLINE void operator()(std::size_t i, vec<T, W> v) const noexcept {
    v.store(data + i);
  }
};

/// R numbers at distance `stride`, for `columns` adjacent columns from `at`: log2 R bits from bit log2 stride on.
template <std::size_t R, class T, std::size_t W, class Load, class Store>
QWHA_KERNEL_INLINE void strided(std::size_t at, std::size_t stride, std::size_t columns, const Load& load,
                                const Store& store) noexcept {
  using V = vec<T, W>;
  for (std::size_t c = at; c < at + columns; c += W) {
    if constexpr (requires { load.template ahead<R, W>(c); }) load.template ahead<R, W>(c);
    V r[R];
    load_registers(r, load, c, stride, std::make_index_sequence<R>{});
    if constexpr (R < 8 || std::is_same_v<Store, memory_row<T>>) load_once(r, std::make_index_sequence<R>{});
    butterflies<1, R, R, fused_levels<R, T, W>>(r, minus_one<T, W>());
    store_registers(r, store, c, stride, std::make_index_sequence<R>{});
  }
}

/// The registers of runs Q of `PerRun` registers, `distance` apart.
template <std::size_t PerRun, class V, class Load, std::size_t... Q>
QWHA_KERNEL_INLINE void load_runs(V* r, const Load& load, std::size_t at, std::size_t distance,
                                  std::index_sequence<Q...>) noexcept {
  (load_registers(r + Q * PerRun, load, at + Q * distance, V::size, std::make_index_sequence<PerRun>{}), ...);
}
template <std::size_t PerRun, class V, class Store, std::size_t... Q>
QWHA_KERNEL_INLINE void store_runs(const V* r, const Store& store, std::size_t at, std::size_t distance,
                                   std::index_sequence<Q...> each_run) noexcept {
  if constexpr (PerRun == 1)
    store_registers(r, store, at, distance, each_run);
  else
    (store_registers(r + Q * PerRun, store, at + Q * distance, V::size, std::make_index_sequence<PerRun>{}), ...);
}

/// Whether `Load` reads a row of another type.
template <class T, class Load>
constexpr bool converts() noexcept {
  if constexpr (requires { Load::line; }) return Load::line != group_size<T>;
  return false;
}

/// The levels in front of lane stages whose difference goes to the multipliers.
template <std::size_t R, class T, std::size_t W, class Load>
inline constexpr std::size_t levels_before_lanes =
    converts<T, Load>() ? converted_levels<R, T, W> : fused_before_lanes<R, W>;

/// R registers of contiguous numbers from `at`, W == L: bits l … l + log2 R - 1, then 0 … l - 1.
template <std::size_t R, class T, std::size_t W, class Load>
QWHA_KERNEL_INLINE void registers_of_block(vec<T, W>* r, const Load& load, std::size_t at) noexcept {
  load_registers(r, load, at, W, std::make_index_sequence<R>{});
  butterflies<1, R, R, levels_before_lanes<R, T, W, Load>>(r, minus_one<T, W>());
  lane_stages_by_halves<R>(r);
}

/// `Rows` runs of G contiguous numbers, `distance` apart: first the log2 Rows bits between the runs, then bits 0 … log2
/// G - 1.
template <std::size_t Rows, std::size_t G, class T, std::size_t W, class Load, class Store>
QWHA_KERNEL_INLINE void runs(std::size_t at, std::size_t distance, const Load& load, const Store& store) noexcept {
  constexpr std::size_t width = W < G ? W : G, per_run = G / width, count = Rows * per_run;
  constexpr std::size_t fused = lane_multipliers<T, width> ? 0 : per_run * levels_before_lanes<Rows, T, width, Load>;
  vec<T, width> r[count];
  load_runs<per_run>(r, load, at, distance, std::make_index_sequence<Rows>{});
  butterflies<per_run, count, count, fused>(r, minus_one<T, width>());
  if constexpr (W == G)
    lane_stages_by_halves<count>(r);
  else
    lane_stages<count>(r);
  butterflies<1, per_run, count>(r);
  store_runs<per_run>(r, store, at, distance, std::make_index_sequence<Rows>{});
}

/// The same for the runs of two base blocks, `twin` apart, and then the bit between the blocks.
template <std::size_t Rows, std::size_t G, class T, std::size_t W, class Load, class Store>
QWHA_KERNEL_INLINE void twin_runs(std::size_t at, std::size_t distance, std::size_t twin, const Load& load,
                                  const Store& store) noexcept {
  constexpr std::size_t per_run = G / W, half = Rows * per_run, count = 2 * half;
  constexpr auto each_run = std::make_index_sequence<Rows>{};
  // A store that scales leaves the multipliers no time.
  constexpr std::size_t fused = std::is_same_v<Store, memory_row<T>> ? half | per_run : 0;
  const auto minus = minus_one<T, W>();
  vec<T, W> r[count];
  load_runs<per_run>(r, load, at, distance, each_run);
  load_runs<per_run>(r + half, load, at + twin, distance, each_run);
  butterflies<per_run, half, count, fused>(r, minus);
  lane_stages<count>(r);
  butterflies<1, per_run, count>(r);
  butterflies<half, count, count, fused>(r, minus);
  store_runs<per_run>(r, store, at, distance, each_run);
  store_runs<per_run>(r + half, store, at + twin, distance, each_run);
}

/// R L contiguous numbers from `at`, R <= 16: bits l … l + log2 R - 1, then 0 … l - 1.
template <std::size_t R, class T, std::size_t W, class Load, class Store>
QWHA_KERNEL_INLINE void base_block(T* work, std::size_t at, const Load& load, const Store& store) noexcept {
  constexpr std::size_t L = group_size<T>, max = tuning<T, W>.max_radix;
  constexpr std::size_t rows = R < tuning<T, W>.base_rows ? R : tuning<T, W>.base_rows, before = R / rows;
  const memory_row<T> memory{work};
  if constexpr (before == 1) {
    runs<R, L, T, W>(at, L, load, store);
  } else {
    constexpr std::size_t first = next_radix(before, max), second = before / first;
    for (std::size_t i = 0; i < R; i += first) strided<first, T, W>(at + i * L, L, L, load, memory);
    if constexpr (second > 1)
      for (std::size_t i = 0; i < R; i += before)
        strided<second, T, W>(at + i * L, first * L, first * L, memory, memory);
    for (std::size_t i = 0; i < before; ++i) runs<rows, L, T, W>(at + i * L, before * L, memory, store);
  }
}

/// Butterflies between r and s, which belong to places `distance` apart, stored at once: no register is left for
/// results. First all sums: the next transform of the row begins with them.
template <class V, class Store, std::size_t... I>
QWHA_KERNEL_INLINE void butterflies_to(const V* r, const V* s, std::size_t distance, const Store& store, std::size_t at,
                                       std::index_sequence<I...>) noexcept {
  constexpr auto two = std::make_index_sequence<2>{};
  const auto store_pair = [&]<std::size_t J>(std::integral_constant<std::size_t, J>) {
    const V sums[] = {r[J] + s[J], r[J + 1] + s[J + 1]};
    store_registers(sums, store, at + J * V::size, V::size, two);
    const V differences[] = {r[J] - s[J], r[J + 1] - s[J + 1]};
    store_registers(differences, store, at + J * V::size + distance, V::size, two);
  };
  if constexpr (requires { store.all(at, V::size, r, two); }) {
    ((I % 2 == 0 ? store_pair(std::integral_constant<std::size_t, I / 2 * 2>{}) : void()), ...);
  } else {
    (store(at + I * V::size, r[I] + s[I]), ...);
    (store(at + I * V::size + distance, r[I] - s[I]), ...);
  }
}

/// Two base blocks and the bit between them: all in registers where they fit, else in two sweeps of equal radix.
template <class T, std::size_t W, class Load, class Store>
QWHA_KERNEL_INLINE void double_base_block(T* work, std::size_t at, const Load& load, const Store& store) noexcept {
  constexpr std::size_t L = group_size<T>;
  if constexpr (W == L) {
    // Half of the first block waits in memory: what the compiler would choose to spill waits on the stack, and loads
    // from there collide with stores to the row wherever the two lie at the same place within a page.
    constexpr auto half = std::make_index_sequence<8>{};
    const memory_row<T> memory{work};
    vec<T, W> r[16], s[16];
    registers_of_block<16>(r, load, at);
    store_registers(r + 8, memory, at + 8 * W, W, half);
    in_memory<8 * W>(work + at + 8 * W);
    registers_of_block<16>(s, load, at + 16 * W);
    butterflies_to(r, s, 16 * W, store, at, half);
    load_registers(r, memory, at + 8 * W, W, half);
    butterflies_to(r, s + 8, 16 * W, store, at + 8 * W, half);
  } else {
    constexpr std::size_t first = tuning<T, W>.max_radix, rows = 16 / first;
    const memory_row<T> memory{work};
    for (std::size_t i = 0; i < 32; i += first) strided<first, T, W>(at + i * L, L, L, load, memory);
    for (std::size_t i = 0; i < first; ++i)
      twin_runs<rows, L, T, W>(at + i * L, first * L, base_size<T>, memory, store);
  }
}

/// One pass of radix R over n numbers from `at`: log2 R bits from bit log2 Stride on.
template <std::size_t R, std::size_t Stride, class T, std::size_t W, class Load, class Store>
QWHA_NO_SANITIZE QWHA_NOINLINE void near_pass(std::size_t at, std::size_t n, Load load, Store store) noexcept {
  for (std::size_t end = at + n; at < end; at += R * Stride) strided<R, T, W>(at, Stride, Stride, load, store);
}
/// The same with a stride known at run time, on `columns` of the stride's columns only, those from `at`.
template <std::size_t R, class T, std::size_t W, class Load, class Store>
QWHA_NO_SANITIZE QWHA_NOINLINE void far_pass(std::size_t at, std::size_t n, std::size_t stride, std::size_t columns,
                                             Load load, Store store) noexcept {
  for (std::size_t end = at + n; at < end; at += R * stride) strided<R, T, W>(at, stride, columns, load, store);
}
template <class T, std::size_t W, class Load, class Store>
void far_pass(std::size_t radix, std::size_t at, std::size_t n, std::size_t stride, std::size_t columns, Load load,
              Store store) noexcept {
  switch (radix) {
    case 2: return far_pass<2, T, W>(at, n, stride, columns, load, store);
    case 4: return far_pass<4, T, W>(at, n, stride, columns, load, store);
    default: return far_pass<8, T, W>(at, n, stride, columns, load, store);
  }
}

/// Asks for `Count` numbers from `at` of the row that `*next` reads, where there is one and it lies in memory.
template <std::size_t Count, class Load>
QWHA_KERNEL_INLINE void prefetch_row(const Load* next, std::size_t at) noexcept {
  if constexpr (requires { next->prefetch(at); })
    if (next != nullptr)
      for (std::size_t i = 0; i < Count; i += Load::line) next->prefetch(at + i);
}

/// A row in memory; a pass through its columns from `at` on asks meanwhile for numbers of the row `*next` from `from`
/// on, Eighths of eight of its own.
template <std::size_t Eighths, class T, class Load>
struct row_before : memory_row<T> {
  const Load* next;
  std::size_t at, from;
  template <std::size_t R, std::size_t W>
  QWHA_KERNEL_INLINE void ahead(std::size_t column) const noexcept {
    prefetch_row<R * W * Eighths / 8>(next, from + (column - at) * R * Eighths / 8);
  }
};

/// Calls `pass` with the row `work`, as `row_before` where there is a next one in memory.
template <std::size_t Eighths, class T, class Load, class Pass>
QWHA_KERNEL_INLINE void pass_before(const Load* next, std::size_t from, T* work, std::size_t at,
                                    const Pass& pass) noexcept {
  if constexpr (Eighths != 0 && requires { next->prefetch(at); })
    if (next != nullptr) return pass(row_before<Eighths, T, Load>{{work}, next, at, from});
  pass(memory_row<T>{work});
}

/// The base blocks of n numbers from `at`, from `load` to `work`; meanwhile their share of the row `next`.
template <bool Double, prefetch_shares Shares, class T, std::size_t W, class Load>
QWHA_NO_SANITIZE QWHA_NOINLINE void base_sweep(T* work, std::size_t at, std::size_t n, Load load,
                                               const Load* next) noexcept {
  constexpr std::size_t block = (Double ? 2 : 1) * base_size<T>;
  const memory_row<T> memory{work};
  std::size_t from = at * Shares.block / 8;
  for (std::size_t end = at + n; at < end; at += block, from += block * Shares.base / 8) {
    prefetch_row<block * Shares.base / 8>(next, from);
    if constexpr (Double)
      double_base_block<T, W>(work, at, load, memory);
    else
      base_block<16, T, W>(work, at, load, memory);
  }
}

/// The passes for bits log2 Stride … log2 N - 1 of N numbers from `at`, the last one through `store`.
template <std::size_t N, std::size_t Stride, prefetch_shares Shares, class T, std::size_t W, class Load, class Store>
QWHA_KERNEL_INLINE void near_passes(T* work, std::size_t at, const Store& store, const Load* next) noexcept {
  constexpr std::size_t radix = next_radix(N / Stride, tuning<T, W>.max_radix);
  const memory_row<T> memory{work};
  if constexpr (radix * Stride == N) {
    pass_before<Shares.block - Shares.base>(
        next, at * Shares.block / 8 + N * Shares.base / 8, work, at,
        [&](const auto& row) noexcept { near_pass<radix, Stride, T, W>(at, N, row, store); });
  } else {
    near_pass<radix, Stride, T, W>(at, N, memory, memory);
    near_passes<N, radix * Stride, Shares, T, W>(work, at, store, next);
  }
}

/// The last pass of radix R over base blocks, columns `at` + I W: those of the last block, which is in registers, are r.
template <std::size_t R, class T, std::size_t W, class Store, std::size_t... I>
QWHA_KERNEL_INLINE void pass_with_last(const vec<T, W>* r, T* work, std::size_t at, const Store& store,
                                       std::index_sequence<I...>) noexcept {
  const memory_row<T> memory{work};
  const auto column = [&](std::size_t c, vec<T, W> last) {
    vec<T, W> v[R];
    load_registers(v, memory, c, base_size<T>, std::make_index_sequence<R - 1>{});
    v[R - 1] = last;
    butterflies<1, R, R, fused_levels<R, T, W>>(v, minus_one<T, W>());
    store_registers(v, store, c, base_size<T>, std::make_index_sequence<R>{});
  };
  (column(at + I * W, r[I]), ...);
}

/// R base blocks and the bits between them, W == L: the last block stays in registers.
template <std::size_t R, class T, std::size_t W, class Load, class Store>
QWHA_KERNEL_INLINE void few_base_blocks(T* work, std::size_t at, const Load& load, const Store& store,
                                        const Load* next) noexcept {
  constexpr std::size_t base = base_size<T>;
  const std::size_t last = at + (R - 1) * base;
  base_sweep<false, base_shares, T, W>(work, at, last - at, load, next);
  prefetch_row<base>(next, last);
  vec<T, W> r[16];
  registers_of_block<16>(r, load, last);
  pass_with_last<R, T, W>(r, work, at, store, std::make_index_sequence<16>{});
}

/// N numbers from `at`, more than a base block, that stay in the first-level cache.
template <std::size_t N, prefetch_shares Shares, class T, std::size_t W, class Load, class Store>
QWHA_KERNEL_INLINE void cache_block(T* work, std::size_t at, const Load& load, const Store& store,
                                    const Load* next) noexcept {
  constexpr std::size_t base = base_size<T>;
  constexpr bool twin = doubles_base<T, W>(N);
  if constexpr (twin && N == 2 * base) {
    prefetch_row<N>(next, at);
    double_base_block<T, W>(work, at, load, store);
  } else if constexpr (W == group_size<T> && N <= 8 * base) {
    few_base_blocks<N / base, T, W>(work, at, load, store, next);
  } else {
    base_sweep<twin, Shares, T, W>(work, at, N, load, next);
    near_passes<N, (twin ? 2 : 1) * base, Shares, T, W>(work, at, store, next);
  }
}

/// Rows that are converted work beside themselves: in the last pass the next one would only push both out.
template <class T, class Load>
constexpr prefetch_shares far_row_shares() noexcept {
  return converts<T, Load>() ? base_shares : far_shares;
}

/// The bits below log2 n of n numbers from `at`: blocks of `Block` first, then the passes across them.
template <std::size_t Block, class T, std::size_t W, class Load>
QWHA_NO_SANITIZE void far_part(std::size_t at, std::size_t n, T* work, const Load& load, const Load* next) noexcept {
  const memory_row<T> memory{work};
  for (std::size_t b = at; b < at + n; b += Block)
    cache_block<Block, far_row_shares<T, Load>(), T, W>(work, b, load, memory, next);
  for (std::size_t stride = Block; stride < n;) {
    const std::size_t radix = next_radix(n / stride, tuning<T, W>.far_radix);
    far_pass<T, W>(radix, at, n, stride, stride, memory, memory);
    stride *= radix;
  }
}

/// n numbers that do not fit the first-level cache: as many parts as the last pass has registers, then that pass.
template <std::size_t Block, class T, std::size_t W, class Load, class Store>
QWHA_NO_SANITIZE void far_sylvester(std::size_t n, T* work, const Load& load, const Store& store,
                                    const Load* next) noexcept {
  const std::size_t radix = next_radix(n / Block, tuning<T, W>.far_radix), part = n / radix;
  for (std::size_t at = 0; at < n; at += part) far_part<Block, T, W>(at, part, work, load, next);
  constexpr std::size_t asked = far_row_shares<T, Load>().block;
  pass_before<8 - asked>(next, n * asked / 8, work, 0,
                         [&](const auto& row) noexcept { far_pass<T, W>(radix, 0, n, part, part, row, store); });
}

/// The same by the threads of `where`: the parts, then equal shares of the last pass's columns.
template <std::size_t Block, class T, std::size_t W, class Load, class Store>
void split_sylvester(std::size_t n, T* work, const Load& load, const Store& store, const executor& where) noexcept {
  const std::size_t radix = next_radix(n / Block, tuning<T, W>.far_radix), part = n / radix;
  parallel_for(where, n, part, [&](std::size_t begin, std::size_t) noexcept {
    far_part<Block, T, W, Load>(begin, part, work, load, nullptr);
  });
  parallel_for(where, part, part / 8, [&](std::size_t begin, std::size_t end) noexcept {
    far_pass<T, W>(radix, begin, n, part, end - begin, memory_row<T>{work}, store);
  });
}

/// Whether blocks of twice the size leave one far pass instead of two.
template <class T, std::size_t W>
constexpr bool doubles_blocks(std::size_t n) noexcept {
  return n * sizeof(T) == 2 * tuning<T, W>.far_radix * tuning<T, W>.cache_block;
}

/// n numbers, n == N known to the compiler.
template <std::size_t N, class T, std::size_t W, class Load, class Store>
QWHA_KERNEL_INLINE void static_sylvester(T* work, const Load& load, const Store& store,
                                         const Load* next = nullptr) noexcept {
  constexpr std::size_t L = group_size<T>, block = tuning<T, W>.cache_block / sizeof(T);
  if constexpr (N <= base_size<T>) prefetch_row<N>(next, 0);
  if constexpr (N < L)
    runs<1, N, T, W>(0, 0, load, store);
  else if constexpr (N <= base_size<T>)
    base_block<N / L, T, W>(work, 0, load, store);
  else if constexpr (N <= 2 * block)
    cache_block<N, (N > block ? block_shares : base_shares), T, W>(work, 0, load, store, next);
  else
    far_sylvester<(doubles_blocks<T, W>(N) ? 2 * block : block), T, W>(N, work, load, store, next);
}

/// Rows begin … end - 1 of N numbers each.
template <std::size_t N, class T, std::size_t W, class Load, class Store, class Work>
QWHA_KERNEL_INLINE void rows_of(std::size_t begin, std::size_t end, const Load& load, const Store& store,
                                const Work& work) noexcept {
  constexpr std::size_t bytes = N * sizeof(T), ahead = bytes < prefetch_bytes ? prefetch_bytes / bytes : 1;
  const bool streams = bytes <= row_ahead_bytes && end - begin > ahead && (end - begin) * bytes > cached_bytes;
  for (std::size_t r = begin; r < end; ++r) {
    const auto source = load(r), next = load(r + ahead < end ? r + ahead : r);
    static_sylvester<N, T, W>(work(r), source, store(r), streams ? &next : nullptr);
  }
}
template <std::size_t N, class T, std::size_t W, class Load, class Store, class Work>
QWHA_NO_SANITIZE QWHA_NOINLINE void static_rows(std::size_t begin, std::size_t end, const Load& load,
                                                const Store& store, const Work& work) noexcept {
  rows_of<N, T, W>(begin, end, load, store, work);
}

/// The same for n = 2^(First + K) known at run time, one of those in the sequence.
template <std::size_t First, class T, std::size_t W, class Load, class Store, class Work, std::size_t... K>
QWHA_NO_SANITIZE void known_rows(std::size_t n, std::size_t begin, std::size_t end, const Load& load,
                                 const Store& store, const Work& work, std::index_sequence<K...>) noexcept {
  using kernel = void (*)(std::size_t, std::size_t, const Load&, const Store&, const Work&) noexcept;
  static constexpr kernel kernels[] = {static_rows<(std::size_t{1} << (First + K)), T, W, Load, Store, Work>...};
  kernels[static_cast<std::size_t>(std::countr_zero(n)) - First](begin, end, load, store, work);
}

/// Rows of n numbers, more than two cache blocks.
template <class T, std::size_t W, class Load, class Store, class Work>
QWHA_NO_SANITIZE void far_rows(std::size_t n, std::size_t begin, std::size_t end, const Load& load, const Store& store,
                               const Work& work) noexcept {
  constexpr std::size_t block = tuning<T, W>.cache_block / sizeof(T);
  const bool streams = end - begin > 1 && n * sizeof(T) <= row_ahead_bytes;
  for (std::size_t r = begin; r < end; ++r) {
    const auto source = load(r), next = load(r + 1 < end ? r + 1 : r);
    if (doubles_blocks<T, W>(n))
      far_sylvester<2 * block, T, W>(n, work(r), source, store(r), streams ? &next : nullptr);
    else
      far_sylvester<block, T, W>(n, work(r), source, store(r), streams ? &next : nullptr);
  }
}

/// Rows of n numbers, more than a base block.
template <class T, std::size_t W, class Load, class Store, class Work>
QWHA_NO_SANITIZE void large_sylvester(std::size_t n, std::size_t begin, std::size_t end, const Load& load,
                                      const Store& store, const Work& work) noexcept {
  constexpr std::size_t block = tuning<T, W>.cache_block / sizeof(T), base = std::countr_zero(base_size<T>);
  if (n <= 2 * block)
    return known_rows<base + 1, T, W>(n, begin, end, load, store, work,
                                      std::make_index_sequence<std::countr_zero(block) + 1 - base>{});
  far_rows<T, W>(n, begin, end, load, store, work);
}

/// One row of n = 2^k numbers, more than two cache blocks, by the threads of `where`.
template <class T, std::size_t W, class Load, class Store>
void split_row(std::size_t n, T* work, const Load& load, const Store& store, const executor& where) noexcept {
  constexpr std::size_t block = tuning<T, W>.cache_block / sizeof(T);
  if (doubles_blocks<T, W>(n))
    split_sylvester<2 * block, T, W>(n, work, load, store, where);
  else
    split_sylvester<block, T, W>(n, work, load, store, where);
}

/// The transform of rows begin … end - 1, n = 2^k numbers each: row r is read through `load(r)(width, i)`, kept in
/// `work(r)` [n] between, and written through `store(r)(i, v)`. Each number is loaded and stored once; both may refer to
/// the row's `work` itself.
/// @tparam N  n, or 0 when it is known at run time only
template <std::size_t N, class T, std::size_t W, class Load, class Store, class Work>
QWHA_NO_SANITIZE void sylvester(std::size_t n, std::size_t begin, std::size_t end, const Load& load, const Store& store,
                                const Work& work) noexcept {
  if constexpr (N != 0)
    static_rows<N, T, W>(begin, end, load, store, work);
  else if (n <= base_size<T>)
    known_rows<0, T, W>(n, begin, end, load, store, work,
                        std::make_index_sequence<std::countr_zero(base_size<T>) + 1>{});
  else
    large_sylvester<T, W>(n, begin, end, load, store, work);
}

}  // namespace qwha::inline QWHA_ISA::detail
