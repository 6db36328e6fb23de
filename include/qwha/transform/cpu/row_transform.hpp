// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// One row through all factors of its order, slow index first.

#include <array>
#include <cstddef>
#include <memory>

#include <qwha/base/aligned_buffer.hpp>
#include <qwha/base/config.hpp>
#include <qwha/base/simd.hpp>
#include <qwha/transform/cpu/dense.hpp>
#include <qwha/transform/cpu/sylvester.hpp>
#include <qwha/transform/order.hpp>
#include <qwha/transform/sign_table.hpp>

namespace qwha::inline QWHA_ISA::detail {

/// An order with its tables.
struct row_plan {
  struct stage {
    std::size_t order = 1, columns = 1;  ///< `columns`: the product of the faster orders
    std::shared_ptr<const sign_table> forward, transposed;
  };

  explicit row_plan(const hadamard_order& h)
      : n(h.order()),
        fast(h.fast_order()),
        count(h.factors[h.count - 1].kind == construction::sylvester ? h.count - 1 : h.count) {
    std::size_t columns = n;
    for (std::size_t f = 0; f < count; ++f) {
      const hadamard_factor factor = h.factors[f];
      columns /= factor.order();
      stages[f] = {factor.order(), columns, {}, {}};
      if (factor.kind == construction::sylvester) continue;
      stages[f].forward = shared_sign_table(factor, false);
      stages[f].transposed = shared_sign_table(factor, true);
    }
  }

  std::size_t n, fast, count;
  std::array<stage, 3> stages;
};

/// Calls `move(width, i)` over [0, n), n a multiple of 4, in the widest steps.
template <std::size_t W, class Move>
QWHA_ALWAYS_INLINE void for_columns(std::size_t n, const Move& move) noexcept {
  constexpr std::size_t tail = W < 4 ? W : 4;
  std::size_t i = 0;
  for (; i + W <= n; i += W) move(std::integral_constant<std::size_t, W>{}, i);
  for (; i < n; i += tail) move(std::integral_constant<std::size_t, tail>{}, i);
}

/// The dense and leading factors on x [n], in place. False where memory ran out.
template <class T, std::size_t W>
bool slow_factors(const row_plan& plan, bool transposed, T* x) noexcept {
  constexpr std::size_t on_stack = 1024;  // rows of the largest factor whose scratch lies on the stack
  const auto load = [x](auto width, std::size_t i) { return vec<T, width()>::load(x + i); };
  const auto store = [x](std::size_t i, auto v) { v.store(x + i); };
  for (std::size_t f = 0; f < plan.count; ++f) {
    const row_plan::stage& stage = plan.stages[f];
    const std::size_t block = stage.order * stage.columns;
    if (!stage.forward) {
      if (stage.columns % W == 0)
        pass<T, W>(stage.order, plan.n, stage.columns, load, store);
      else
        pass < T, W<4 ? W : 4>(stage.order, plan.n, stage.columns, load, store);
      continue;
    }
    const sign_table& table = transposed ? *stage.transposed : *stage.forward;
    alignas(64) T stack_scratch[on_stack * W];
    T* scratch = stack_scratch;
    aligned_buffer<T> heap_scratch;
    if (stage.order > on_stack) {
      heap_scratch = aligned_buffer<T>::try_allocate(stage.order * W);
      if (heap_scratch.size() == 0) return false;
      scratch = heap_scratch.data();
    }
    for (std::size_t at = 0; at < plan.n; at += block) dense<T, W>(table, x + at, stage.columns, scratch);
  }
  return true;
}

/// Reads through `load(width, i)`, writes through `store(i, v)`, works in `work` [n]. False where memory ran out.
template <class T, std::size_t W, class Load, class Store>
bool transform_row(const row_plan& plan, bool transposed, T* work, const Load& load, const Store& store) noexcept {
  if (plan.count == 0) {
    sylvester<T, W>(plan.n, work, load, store);
    return true;
  }
  for_columns<W>(plan.n, [&](auto width, std::size_t i) { load(width, i).store(work + i); });
  if (!slow_factors<T, W>(plan, transposed, work)) return false;
  for (std::size_t at = 0; at < plan.n; at += plan.fast) {
    const auto load_part = [work, at](auto width, std::size_t i) { return vec<T, width()>::load(work + at + i); };
    const auto store_part = [&store, at](std::size_t i, auto v) { store(at + i, v); };
    sylvester<T, W>(plan.fast, work + at, load_part, store_part);
  }
  return true;
}

}  // namespace qwha::inline QWHA_ISA::detail
