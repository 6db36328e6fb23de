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
template <std::size_t H, class V, std::size_t... I>
QWHA_KERNEL_INLINE void butterfly_stage(V* r, V minus_one, std::index_sequence<I...>) noexcept {
  if constexpr (multiply_levels<V::size> && std::countr_zero(H) % 2 == 1)
    (butterfly(r[I / H * 2 * H + I % H], r[I / H * 2 * H + I % H + H], minus_one), ...);
  else
    (butterfly(r[I / H * 2 * H + I % H], r[I / H * 2 * H + I % H + H]), ...);
}

/// Register bits log2 First … log2 End - 1 of R registers, ascending.
template <std::size_t First, std::size_t End, std::size_t R = End, class V>
QWHA_KERNEL_INLINE void butterflies(V* r, V minus_one) noexcept {
  if constexpr (First < End) {
    butterfly_stage<First>(r, minus_one, std::make_index_sequence<R / 2>{});
    butterflies<2 * First, End, R>(r, minus_one);
  }
}
template <std::size_t First, std::size_t End, std::size_t R = End, class V>
QWHA_KERNEL_INLINE void butterflies(V* r) noexcept {
  using T = typename V::value_type;
  butterflies<First, End, R>(r, V::splat(multiply_levels<V::size> ? opaque(T(-1)) : T(-1)));
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

template <class V, class Load, std::size_t... I>
QWHA_KERNEL_INLINE void load_registers(V* r, const Load& load, std::size_t at, std::size_t stride,
                                       std::index_sequence<I...>) noexcept {
  ((r[I] = load(std::integral_constant<std::size_t, V::size>{}, at + I * stride)), ...);
}
template <class V, class Store, std::size_t... I>
QWHA_KERNEL_INLINE void store_registers(const V* r, const Store& store, std::size_t at, std::size_t stride,
                                        std::index_sequence<I...>) noexcept {
  (store(at + I * stride, r[I]), ...);
}

// --- sweeps over a row: read by `load(width, i)`, written by `store(i, v)`
// --------------------------------------------

/// R numbers at distance `stride`, for `columns` adjacent columns from `at`: log2 R bits from bit log2 stride on.
template <std::size_t R, class T, std::size_t W, class Load, class Store>
QWHA_KERNEL_INLINE void strided(std::size_t at, std::size_t stride, std::size_t columns, const Load& load,
                                const Store& store) noexcept {
  for (std::size_t c = at; c < at + columns; c += W) {
    vec<T, W> r[R];
    load_registers(r, load, c, stride, std::make_index_sequence<R>{});
    butterflies<1, R>(r);
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
                                   std::index_sequence<Q...>) noexcept {
  (store_registers(r + Q * PerRun, store, at + Q * distance, V::size, std::make_index_sequence<PerRun>{}), ...);
}

/// `Rows` runs of G contiguous numbers, `distance` apart: first the log2 Rows bits between the runs, then bits 0 … log2
/// G - 1.
template <std::size_t Rows, std::size_t G, class T, std::size_t W, class Load, class Store>
QWHA_KERNEL_INLINE void runs(std::size_t at, std::size_t distance, const Load& load, const Store& store) noexcept {
  constexpr std::size_t width = W < G ? W : G, per_run = G / width, count = Rows * per_run;
  vec<T, width> r[count];
  load_runs<per_run>(r, load, at, distance, std::make_index_sequence<Rows>{});
  butterflies<per_run, count>(r);
  lane_stages<count>(r);
  butterflies<1, per_run, count>(r);
  store_runs<per_run>(r, store, at, distance, std::make_index_sequence<Rows>{});
}

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

/// Two base blocks and the bit between them, all in registers.
template <class T, std::size_t W, class Load, class Store>
QWHA_KERNEL_INLINE void double_base_block(std::size_t at, const Load& load, const Store& store) noexcept {
  static_assert(W == group_size<T>);
  constexpr auto half = std::make_index_sequence<16>{};
  vec<T, W> r[32];
  load_registers(r, load, at, W, half);
  butterflies<1, 16>(r);
  lane_stages<16>(r);
  load_registers(r + 16, load, at + 16 * W, W, half);
  butterflies<1, 16>(r + 16);
  lane_stages<16>(r + 16);
  butterflies<16, 32>(r);
  store_registers(r, store, at, W, std::make_index_sequence<32>{});
}

/// One pass of radix R over n numbers from `at`: log2 R bits from bit log2 stride on.
template <std::size_t R, class T, std::size_t W, class Load, class Store>
QWHA_NO_SANITIZE QWHA_NOINLINE void pass(std::size_t at, std::size_t n, std::size_t stride, Load load,
                                         Store store) noexcept {
  for (std::size_t end = at + n; at < end; at += R * stride) strided<R, T, W>(at, stride, stride, load, store);
}
template <class T, std::size_t W, class Load, class Store>
void pass(std::size_t radix, std::size_t at, std::size_t n, std::size_t stride, Load load, Store store) noexcept {
  switch (radix) {
    case 2: return pass<2, T, W>(at, n, stride, load, store);
    case 4: return pass<4, T, W>(at, n, stride, load, store);
    case 8: return pass<8, T, W>(at, n, stride, load, store);
    default:
      if constexpr (tuning<T, W>.max_radix == 16) return pass<16, T, W>(at, n, stride, load, store);
  }
}

/// Passes for the bits from log2 stride up to log2 n - 1 of n numbers from `at`, the last one through `store`.
template <class T, std::size_t W, class Store>
QWHA_NO_SANITIZE void passes(T* work, std::size_t at, std::size_t n, std::size_t stride, std::size_t max_radix,
                             Store store) noexcept {
  const memory_row<T> memory{work};
  for (;;) {
    const std::size_t radix = next_radix(n / stride, max_radix);
    if (radix * stride == n) return pass<T, W>(radix, at, n, stride, memory, store);
    pass<T, W>(radix, at, n, stride, memory, memory);
    stride *= radix;
  }
}

/// n numbers from `at`, more than a base block, that stay in the first-level cache.
template <class T, std::size_t W, class Load, class Store>
QWHA_NO_SANITIZE void cache_block(T* work, std::size_t at, std::size_t n, Load load, Store store) noexcept {
  constexpr std::size_t base = base_size<T>, max = tuning<T, W>.max_radix;
  const memory_row<T> memory{work};
  if constexpr (tuning<T, W>.double_base) {
    if (n == 2 * base) return double_base_block<T, W>(at, load, store);
    if (n == 2 * max * base) {
      for (std::size_t i = 0; i < n; i += 2 * base) double_base_block<T, W>(at + i, load, memory);
      return passes<T, W>(work, at, n, 2 * base, max, store);
    }
  }
  for (std::size_t i = 0; i < n; i += base) base_block<16, T, W>(work, at + i, load, memory);
  passes<T, W>(work, at, n, base, max, store);
}

/// n numbers, more than a base block: cache blocks first, then the passes across them.
template <class T, std::size_t W, class Load, class Store>
QWHA_NO_SANITIZE QWHA_NOINLINE void large_sylvester(std::size_t n, T* work, Load load, Store store) noexcept {
  constexpr std::size_t far = tuning<T, W>.far_radix;
  std::size_t block = tuning<T, W>.cache_block / sizeof(T);
  if (n <= 2 * block) return cache_block<T, W>(work, 0, n, load, store);
  if (n / block == 2 * far) block *= 2;  // one far pass instead of two
  for (std::size_t at = 0; at < n; at += block) cache_block<T, W>(work, at, block, load, memory_row<T>{work});
  passes<T, W>(work, 0, n, block, far, store);
}

/// n numbers, n == N known to the compiler.
template <std::size_t N, class T, std::size_t W, class Load, class Store>
QWHA_KERNEL_INLINE void static_sylvester(T* work, const Load& load, const Store& store) noexcept {
  constexpr std::size_t L = group_size<T>;
  if constexpr (N < L)
    runs<1, N, T, W>(0, 0, load, store);
  else if constexpr (N <= base_size<T>)
    base_block<N / L, T, W>(work, 0, load, store);
  else
    large_sylvester<T, W>(N, work, load, store);
}

/// The transform of n = 2^k numbers: reads through `load(width, i)`, keeps what lies between in `work` [n], writes
/// through `store(i, v)`. Each number is loaded and stored once; `load` and `store` may refer to `work` itself.
/// @tparam N  n, or 0 when it is known at run time only
template <std::size_t N, class T, std::size_t W, class Load, class Store>
QWHA_NO_SANITIZE void sylvester(std::size_t n, T* work, const Load& load, const Store& store) noexcept {
  if constexpr (N != 0) {
    static_sylvester<N, T, W>(work, load, store);
  } else {
    switch (n) {
      case 1: return static_sylvester<1, T, W>(work, load, store);
      case 2: return static_sylvester<2, T, W>(work, load, store);
      case 4: return static_sylvester<4, T, W>(work, load, store);
      case 8: return static_sylvester<8, T, W>(work, load, store);
      case 16: return static_sylvester<16, T, W>(work, load, store);
      case 32: return static_sylvester<32, T, W>(work, load, store);
      case 64: return static_sylvester<64, T, W>(work, load, store);
      case 128: return static_sylvester<128, T, W>(work, load, store);
      default: break;
    }
    if constexpr (base_size<T> >= 256)
      if (n == 256) return static_sylvester<256, T, W>(work, load, store);
    large_sylvester<T, W>(n, work, load, store);
  }
}

}  // namespace qwha::inline QWHA_ISA::detail
