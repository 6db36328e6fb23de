// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Rows through all factors of their order, slow index first.

#include <array>
#include <cstddef>
#include <memory>
#include <type_traits>
#include <utility>

#include <qwha/base/config.hpp>
#include <qwha/base/simd.hpp>
#include <qwha/transform/cpu/dense.hpp>
#include <qwha/transform/cpu/row_source.hpp>
#include <qwha/transform/cpu/scaled_rows.hpp>
#include <qwha/transform/cpu/scratch.hpp>
#include <qwha/transform/cpu/sylvester.hpp>
#include <qwha/transform/order.hpp>
#include <qwha/transform/orientation.hpp>
#include <qwha/transform/sign_table.hpp>

namespace qwha::inline QWHA_ISA::detail {

/// An order with its tables.
struct row_plan {
  explicit row_plan(const hadamard_order& h) : n(h.order()), fast(h.fast_order()) {
    std::size_t columns = n;
    bool twin = false;
    for (std::size_t f = 0; f < h.count; ++f) {
      const hadamard_factor factor = h.factors[f];
      columns /= factor.order();
      if (factor.kind == construction::sylvester) {
        twin = columns > fast;  // a leading S2; the last factor is `fast`
        continue;
      }
      stages[count++] = {factor.order(), columns, twin, shared_sign_table(factor, false),
                         shared_sign_table(factor, true)};
      twin = false;
    }
  }

  std::size_t n, fast, count = 0;
  std::array<dense_factor_stage, 2> stages;
};

/// Whether N is a power of two; false for 0, an order known at run time only.
template <std::size_t N>
inline constexpr bool is_fast = find_order(N).fast_order() == N;
template <>
inline constexpr bool is_fast<0> = false;

/// The last dense factor and S_K, the product of the faster ones, K < W.
template <std::size_t N, class T, std::size_t W, class Load, class Store>
bool dense_and_fast(const dense_factor_stage& stage, orientation o, std::size_t n, const Load& load,
                    const Store& store) noexcept {
  bool done = false;
  const auto known = [&]<std::size_t K>(std::integral_constant<std::size_t, K>) {
    if constexpr (N == 0 || find_order(N).fast_order() == K)
      if (stage.columns == K) done = dense_and_lanes<N, K, T, W>(stage, o, n, load, store);
  };
  if constexpr (W > 1) known(std::integral_constant<std::size_t, 1>{});
  if constexpr (W > 2) known(std::integral_constant<std::size_t, 2>{});
  if constexpr (W > 4) known(std::integral_constant<std::size_t, 4>{});
  if constexpr (W > 8) known(std::integral_constant<std::size_t, 8>{});
  return done;
}

/// What a row is written through, as rows of `length`.
template <class T, class S>
scaled_rows<T, S> parts_of(const row_target<T, S>& store, std::size_t length) noexcept {
  return {store.data, length, store.factor};
}
template <class Store>
auto parts_of(const Store& store, std::size_t length) noexcept {
  return [store, length](std::size_t r) {
    return [store, first = r * length](std::size_t i, auto v) { store(first + i, v); };
  };
}

/// S_K, K >= W, on n / K rows of K numbers, from `work` through `store`; short rows in one loop.
template <std::size_t N, class T, std::size_t W, class Store>
QWHA_NO_SANITIZE void fast_rows(std::size_t fast, std::size_t n, const work_rows<T>& work,
                                const Store& store) noexcept {
  const source_rows<T, T> load{work.data, work.stride};
  const auto rows = parts_of(store, fast);
  bool done = false;
  const auto known = [&]<std::size_t K>(std::integral_constant<std::size_t, K>) {
    if constexpr (N == 0 || N == K)
      if (fast == K) {
        done = true;
        for (std::size_t r = 0; r < n / K; ++r) static_sylvester<K, T, W>(work(r), load(r), rows(r));
      }
  };
  known(std::integral_constant<std::size_t, W>{});
  known(std::integral_constant<std::size_t, 2 * W>{});
  known(std::integral_constant<std::size_t, 4 * W>{});
  if (!done) sylvester<N, T, W>(fast, 0, n / fast, load, rows, work);
}

/// One row with a dense factor: reads through `load(width, i)`, writes through `store(i, v)`, works in `work` [n], and
/// asks meanwhile for the row `next`, where there is one.
template <std::size_t N, class T, std::size_t W, class Load, class Store>
bool dense_row(const row_plan& plan, orientation o, T* work, const Load& load, const Store& store,
               const Load* next) noexcept {
  constexpr std::size_t fast = N == 0 ? 0 : find_order(N).fast_order();
  const dense_factor_stage &first = plan.stages[0], &last = plan.stages[plan.count - 1];
  const memory_row<T> memory{work};
  if (plan.fast <= W && plan.count == 1 && static_row<N, T, W>(first, o, load, store)) return true;
  if (N == 0 ? plan.fast < W : fast < W) {
    if (plan.count == 1) return dense_and_fast<N, T, W>(first, o, plan.n, load, store);
    return dense_stage<N, T, W>(first, o, plan.n, load, work, first.columns, next) &&
           dense_and_fast<N, T, W>(last, o, plan.n, memory, store);
  }
  const auto all_stages = [&](T* scratch, std::size_t pitch) noexcept {
    if (!dense_stage<N, T, W>(first, o, plan.n, load, scratch, pitch, next)) return false;
    if (plan.count == 2 && !dense_stage<N, T, W>(last, o, plan.n, memory, work, last.columns)) return false;
    const std::size_t stride = plan.count == 1 ? pitch : plan.fast;
    if constexpr (std::is_same_v<Store, row_target<T, T>>)
      transform_scaled_rows<fast, T, W>(plan.fast, scratch, stride, store.data, plan.fast, plan.n / plan.fast,
                                        store.factor);
    else
      fast_rows<fast, T, W>(plan.fast, plan.n, work_rows<T>{scratch, stride}, store);
    return true;
  };
  if (const std::size_t pitch = first.pitch<T>(); pitch != first.columns && plan.count == 1) {
    constexpr std::size_t stack_bytes = std::size_t{1} << 18;
    const auto padded = [&](T* scratch) noexcept { return all_stages(scratch, pitch); };
    if (with_scratch<T, stack_bytes / sizeof(T)>(first.rows() * pitch, padded)) return true;
  }
  return all_stages(work, first.columns);
}

/// Asks for the n numbers of a row that lies in memory.
template <class Load>
QWHA_KERNEL_INLINE void ask_for(const Load& row, std::size_t n) noexcept {
  if constexpr (requires { row.prefetch(n); })
    for (std::size_t i = 0; i < n; i += Load::line) row.prefetch(i);
}

/// The transform of rows begin … end - 1 by an order with a dense factor: row r is read through `load(r)(width, i)`,
/// written through `store(r)(i, v)`, worked on in `work(r)` [n]. Within a row every load comes before the first store,
/// so both may refer to the same memory, or to its `work`. False where scratch could not be allocated.
/// @tparam N  the order, or 0 when it is known at run time only
template <std::size_t N, class T, std::size_t W, class Load, class Store, class Work>
bool rows_by_dense(const row_plan& plan, orientation o, std::size_t begin, std::size_t end, const Load& load,
                   const Store& store, const Work& work) noexcept {
  const std::size_t bytes = plan.n * sizeof(T), rows = end - begin;
  const bool streams = rows > 1 && rows * bytes > cached_bytes && bytes <= row_ahead_bytes;
  const bool whole = streams && bytes <= prefetch_bytes;
  const std::size_t ahead = whole ? prefetch_bytes / bytes : 1;
  for (std::size_t r = begin; r < end; ++r) {
    const auto source = load(r), next = load(r + ahead < end ? r + ahead : r);
    if (whole) ask_for(next, plan.n);
    if (!dense_row<N, T, W>(plan, o, work(r), source, store(r), streams && !whole ? &next : nullptr)) return false;
  }
  return true;
}

/// The same by any order.
template <std::size_t N, class T, std::size_t W, class Load, class Store, class Work>
bool transform_rows(const row_plan& plan, orientation o, std::size_t begin, std::size_t end, const Load& load,
                    const Store& store, const Work& work) noexcept {
  if constexpr (N == 0 || is_fast<N>)
    if (plan.count == 0) {
      sylvester<N, T, W>(plan.n, begin, end, load, store, work);
      return true;
    }
  if constexpr (!is_fast<N>) return rows_by_dense<N, T, W>(plan, o, begin, end, load, store, work);
  return false;
}

}  // namespace qwha::inline QWHA_ISA::detail
