// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Rows in memory as the `load(width, i)` and `store(i, v)` that kernels read and write through, and the way back to the
/// memory.

#include <cstddef>
#include <type_traits>
#include <utility>

#include <qwha/base/config.hpp>
#include <qwha/base/simd.hpp>
#include <qwha/transform/cpu/sylvester.hpp>

namespace qwha::inline QWHA_ISA::detail {

/// A row of S, read as T.
template <class T, class S>
struct row_source {
  const S* data;
  template <std::size_t W>
  QWHA_KERNEL_INLINE vec<T, W> operator()(std::integral_constant<std::size_t, W>, std::size_t i) const noexcept {
    return load_as<T, W>(data + i);
  }
  static constexpr std::size_t line = 64 / sizeof(S);  ///< numbers in a cache line
  QWHA_KERNEL_INLINE void prefetch(std::size_t i) const noexcept { qwha::prefetch(data + i); }
};

/// A row of S, written as `factor` times what comes.
template <class T, class S>
struct row_target {
  S* data;
  T factor;
  template <std::size_t W>
  QWHA_KERNEL_INLINE void operator()(std::size_t i, vec<T, W> v) const noexcept {
    store_as(data + i, v * vec<T, W>::splat(factor));
  }
  /// Registers I, `stride` apart from i on.
  template <std::size_t W, std::size_t... I>
    requires(stores_by_pairs<S, T, W> && sizeof...(I) % 2 == 0)
  QWHA_KERNEL_INLINE void all(std::size_t i, std::size_t stride, const vec<T, W>* v,
                              std::index_sequence<I...>) const noexcept {
    const vec<T, W> scaled[] = {v[I] * vec<T, W>::splat(factor)...};
    store_all_as<sizeof...(I)>(data + i, stride, scaled);
  }
};

/// The numbers that `load` would give, where they lie in memory just as they are; else nullptr.
template <class T, class Load>
constexpr const T* memory_behind(const Load&) noexcept {
  return nullptr;
}
template <class T>
constexpr const T* memory_behind(const row_source<T, T>& load) noexcept {
  return load.data;
}
template <class T>
constexpr const T* memory_behind(const memory_row<T>& load) noexcept {
  return load.data;
}

}  // namespace qwha::inline QWHA_ISA::detail
