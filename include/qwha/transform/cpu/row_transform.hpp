// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// One row through all factors of its order, slow index first.

#include <array>
#include <cstddef>
#include <memory>
#include <type_traits>
#include <utility>

#include <qwha/base/config.hpp>
#include <qwha/base/simd.hpp>
#include <qwha/transform/cpu/dense.hpp>
#include <qwha/transform/cpu/scratch.hpp>
#include <qwha/transform/cpu/sylvester.hpp>
#include <qwha/transform/order.hpp>
#include <qwha/transform/orientation.hpp>
#include <qwha/transform/sign_table.hpp>

namespace qwha::inline QWHA_ISA::detail {

/// An order with its tables.
struct row_plan {
  struct stage {
    std::size_t order = 1, columns = 1;  ///< `columns`: the product of the faster orders
    bool twin = false;                   ///< H2 ⊗ this factor
    std::shared_ptr<const sign_table> forward, transposed;
  };

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
  std::array<stage, 2> stages;
};

/// Calls `move(width, i)` over [0, n) in steps of W, then of ever smaller powers of two.
template <std::size_t W, class Move>
QWHA_KERNEL_INLINE void for_columns(std::size_t i, std::size_t n, const Move& move) noexcept {
  for (; i + W <= n; i += W) move(std::integral_constant<std::size_t, W>{}, i);
  if constexpr (W > 1)
    if (i < n) for_columns<W / 2>(i, n, move);
}

/// One factor across the `columns` columns of the block at `at`, W of them at a time, or the widest step that divides
/// them.
template <class T, std::size_t W, bool Widest, class Load>
void dense_block(const row_plan::stage& stage, orientation o, std::size_t at, const Load& load, T* work,
                 T* partial) noexcept {
  const std::size_t columns = stage.columns;
  if constexpr (W > 1)
    if (columns % W != 0) return dense_block<T, W / 2, false>(stage, o, at, load, work, partial);
  const memory_row<T> memory{work};
  if constexpr (Widest) {
    if (stage.twin) return static_dense<20, true, T, W>(o, at, columns, load, work);
    switch (stage.order) {
      case 12: return static_dense<12, false, T, W>(o, at, columns, load, work);
      case 20: return static_dense<20, false, T, W>(o, at, columns, load, work);
      case 28: return static_dense<28, false, T, W>(o, at, columns, load, work);
      default: break;
    }
  }
  const sign_table& table = o == orientation::transpose ? *stage.transposed : *stage.forward;
  if (!stage.twin) return table_dense<T, W>(table, at, columns, load, work, partial);
  const std::size_t half = stage.order * columns;
  strided<2, T, W>(at, half, half, load, memory);
  table_dense<T, W>(table, at, columns, memory, work, partial);
  table_dense<T, W>(table, at + half, columns, memory, work, partial);
}

/// One factor on all n numbers, from `load` to `work`. False where scratch could not be allocated.
template <class T, std::size_t W, class Load>
bool dense_stage(const row_plan::stage& stage, orientation o, std::size_t n, const Load& load, T* work) noexcept {
  constexpr std::size_t stack_rows = 1024;
  const std::size_t block = (stage.twin ? 2 : 1) * stage.order * stage.columns;
  const auto all_blocks = [&](T* partial) {
    for (std::size_t at = 0; at < n; at += block) dense_block<T, W, true>(stage, o, at, load, work, partial);
    return true;
  };
  if (stage.order <= 4 * dense_chunk) return all_blocks(nullptr);
  return with_scratch<T, stack_rows * W>(stage.order * W, all_blocks);
}

/// S_K on each of the n / K runs of K numbers, K <= W: whole registers, lane bits 0 … log2 K - 1 only.
template <std::size_t K, class T, std::size_t W, class Load, class Store>
void short_runs(std::size_t n, const Load& load, const Store& store) noexcept {
  for_columns<W>(0, n, [&]<std::size_t Width>(std::integral_constant<std::size_t, Width> width, std::size_t i) {
    if constexpr (Width >= K) {
      vec<T, Width> r[1] = {load(width, i)};
      lane_stages<1, 1, K>(r);
      store(i, r[0]);
    }
  });
}

/// The fast factor S_K of a row, from `work` to `store`. K: its order, or 0 when it is known at run time only.
template <std::size_t K, class T, std::size_t W, class Store>
void fast_factor(std::size_t fast, std::size_t n, T* work, const Store& store) noexcept {
  const memory_row<T> memory{work};
  if constexpr ((K == 0 || K == 8) && W > 8)
    if (fast == 8) return short_runs<8, T, W>(n, memory, store);
  if constexpr ((K == 0 || K == 4) && W > 4)
    if (fast == 4) return short_runs<4, T, W>(n, memory, store);
  if constexpr ((K == 0 || K == 2) && W > 2)
    if (fast == 2) return short_runs<2, T, W>(n, memory, store);
  if constexpr (K == 0 || K == 1)
    if (fast == 1) return short_runs<1, T, W>(n, memory, store);
  for (std::size_t at = 0; at < n; at += fast) {
    const auto store_part = [store, at](std::size_t i, auto v) { store(at + i, v); };
    sylvester<K, T, W>(fast, work + at, memory_row<T>{work + at}, store_part);
  }
}

/// The transform of one row: reads through `load(width, i)`, writes through `store(i, v)`, works in `work` [n]. Every
/// load comes before the first store, so both may refer to the same memory, or to `work`. False where scratch could not
/// be allocated.
/// @tparam N  the order, or 0 when it is known at run time only
template <std::size_t N, class T, std::size_t W, class Load, class Store>
bool transform_row(const row_plan& plan, orientation o, T* work, const Load& load, const Store& store) noexcept {
  constexpr hadamard_order known = find_order(N);
  if constexpr (N == 0 || known.fast_order() == N)
    if (plan.count == 0) {
      sylvester<N, T, W>(plan.n, work, load, store);
      return true;
    }
  if constexpr (N == 0 || known.fast_order() != N) {
    if (!dense_stage<T, W>(plan.stages[0], o, plan.n, load, work)) return false;
    if (plan.count == 2 && !dense_stage<T, W>(plan.stages[1], o, plan.n, memory_row<T>{work}, work)) return false;
    fast_factor<N == 0 ? 0 : known.fast_order(), T, W>(plan.fast, plan.n, work, store);
    return true;
  }
  return false;
}

}  // namespace qwha::inline QWHA_ISA::detail
