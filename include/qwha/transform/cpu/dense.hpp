// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// A dense Hadamard factor across the columns of a row: y = H_m x on blocks of m rows of `columns` numbers.

#include <algorithm>
#include <cstddef>
#include <memory>
#include <type_traits>
#include <utility>

#include <qwha/base/config.hpp>
#include <qwha/base/simd.hpp>
#include <qwha/transform/cpu/dense_static.hpp>
#include <qwha/transform/cpu/dense_table.hpp>
#include <qwha/transform/cpu/dense_williamson.hpp>
#include <qwha/transform/cpu/row_source.hpp>
#include <qwha/transform/cpu/scratch.hpp>
#include <qwha/transform/order.hpp>
#include <qwha/transform/orientation.hpp>
#include <qwha/transform/sign_table.hpp>

namespace qwha::inline QWHA_ISA::detail {

/// A factor H of an order, or H2 ⊗ H, on `rows` rows of `columns` numbers.
struct dense_factor_stage {
  std::size_t order = 1;
  std::size_t columns = 1;  ///< the product of the faster orders
  bool twin = false;        ///< H2 ⊗ this factor
  std::shared_ptr<const sign_table> forward, transposed;

  std::size_t rows() const noexcept { return twin ? 2 * order : order; }
  std::size_t block() const noexcept { return rows() * columns; }

  /// The distance of rows in scratch: `columns`, or a line of the cache more where a column of all rows would not fit
  /// the sets of the first-level cache that it falls into.
  template <class T>
  std::size_t pitch() const noexcept {
    constexpr std::size_t way = 4096, ways = 12, line = 64;
    const std::size_t bytes = columns * sizeof(T), share = std::min(bytes & (~bytes + 1), way);  // gcd(bytes, way)
    return bytes > line && rows() * share > ways * way ? columns + line / sizeof(T) : columns;
  }
};

// --- lanes ----------------------------------------------------------------------------------------------------------

template <class T, std::size_t W, std::size_t... I>
QWHA_KERNEL_INLINE vec<T, 2 * W> join_by(vec<T, W> a, vec<T, W> b, std::index_sequence<I...>) noexcept {
  if constexpr (W == 1)
    return {typename vec<T, 2>::native_type{a.v, b.v}};
  else
    return {__builtin_shufflevector(a.v, b.v, static_cast<int>(I)...)};
}
/// The lanes of `a`, then those of `b`.
template <class T, std::size_t W>
QWHA_KERNEL_INLINE vec<T, 2 * W> join(vec<T, W> a, vec<T, W> b) noexcept {
  return join_by(a, b, std::make_index_sequence<2 * W>{});
}
/// The lanes of `a`, then zeros.
template <std::size_t Wide, class T, std::size_t W>
QWHA_KERNEL_INLINE vec<T, Wide> widen(vec<T, W> a) noexcept {
  if constexpr (W == Wide)
    return a;
  else
    return widen<Wide>(join(a, vec<T, W>::splat(T(0))));
}
template <std::size_t First, class T, std::size_t W, std::size_t... I>
QWHA_KERNEL_INLINE auto lanes_by(vec<T, W> a, std::index_sequence<I...>) noexcept {
  if constexpr (sizeof...(I) == 1)
    return vec<T, 1>{a.v[First]};
  else
    return vec<T, sizeof...(I)>{__builtin_shufflevector(a.v, a.v, static_cast<int>(First + I)...)};
}
/// Lanes First … First + Count - 1.
template <std::size_t First, std::size_t Count, class T, std::size_t W>
QWHA_KERNEL_INLINE vec<T, Count> lanes_at(vec<T, W> a) noexcept {
  return lanes_by<First>(a, std::make_index_sequence<Count>{});
}

// --- one factor -----------------------------------------------------------------------------------------------------

/// Where a kernel reads and writes rows, `in_pitch` and `out_pitch` apart.
template <class T>
struct dense_rows {
  const T* in;
  std::size_t in_pitch;
  T* out;
  std::size_t out_pitch;
};

/// Whether the order N (0: any) has the dense factor M.
template <std::size_t N>
constexpr bool has_factor(std::size_t m) noexcept {
  const hadamard_order h = find_order(N);
  for (std::size_t f = 0; f < h.count; ++f)
    if (h.factors[f].kind != construction::sylvester && h.factors[f].order() == m) return true;
  return N == 0;
}

template <std::size_t M, bool Twin, class T, std::size_t W>
void static_dense(orientation o, std::size_t columns, const dense_rows<T>& x) noexcept {
  if constexpr (!hadamard_detail::dense_factor(M).symmetric())
    if (o == orientation::transpose)
      return static_dense<M, Twin, true, T, W>(columns, x.in, x.in_pitch, x.out, x.out_pitch);
  static_dense<M, Twin, false, T, W>(columns, x.in, x.in_pitch, x.out, x.out_pitch);
}

template <std::size_t M, class T, std::size_t W>
void williamson_dense(orientation o, std::size_t columns, const dense_rows<T>& x) noexcept {
  o == orientation::transpose ? williamson_dense<M, true, T, W>(columns, x.in, x.in_pitch, x.out, x.out_pitch)
                              : williamson_dense<M, false, T, W>(columns, x.in, x.in_pitch, x.out, x.out_pitch);
}

/// The factor on `columns` columns, a multiple of W. In place where `x.in` and `x.out` are the same rows.
template <std::size_t N, class T, std::size_t W>
bool dense_columns(const dense_factor_stage& stage, bool twin, orientation o, std::size_t columns,
                   const dense_rows<T>& x) noexcept {
  if constexpr (has_factor<N>(20))
    if (stage.order == 20) {
      twin ? static_dense<20, true, T, W>(o, columns, x) : static_dense<20, false, T, W>(o, columns, x);
      return true;
    }
  if constexpr (has_factor<N>(12))
    if (stage.order == 12) return static_dense<12, false, T, W>(o, columns, x), true;
  if constexpr (has_factor<N>(28))
    if (stage.order == 28) return static_dense<28, false, T, W>(o, columns, x), true;
  if constexpr (has_factor<N>(36))
    if (stage.order == 36) return static_dense<36, false, T, W>(o, columns, x), true;
  if constexpr (has_factor<N>(52))
    if (stage.order == 52) return williamson_dense<52, T, W>(o, columns, x), true;
  if constexpr (has_factor<N>(172))
    if (stage.order == 172) return williamson_dense<172, T, W>(o, columns, x), true;
  const sign_table& table = o == orientation::transpose ? *stage.transposed : *stage.forward;
  return table_dense<T, W>(table, columns, x.in, x.in_pitch, x.out, x.out_pitch);
}

/// Row j of H_M ⊗ S_K, K lanes, as a register; for H2 ⊗ H_M ⊗ S_K with 2 K lanes the rows j of both halves, sum and
/// difference.
template <std::size_t M, std::size_t K, class V, class Load>
struct lanes_input {
  const Load& load;
  QWHA_KERNEL_INLINE V operator()(std::size_t j) const noexcept {
    constexpr std::integral_constant<std::size_t, K> width{};
    if constexpr (K == V::size) {
      return load(width, j * K);
    } else {
      V both = join(load(width, j * K), load(width, (M + j) * K));
      lane_stage<K>(&both, std::make_index_sequence<1>{});
      return both;
    }
  }
};
/// The way back, through S_K.
template <std::size_t M, std::size_t K, class V, class Store>
struct lanes_output {
  const Store& store;
  template <std::size_t R>
  QWHA_KERNEL_INLINE void operator()(std::size_t first, V (&y)[R]) const noexcept {
    lane_stages<R, 1, K>(y);
    if constexpr (K == V::size)
      store_registers(y, store, first * K, K, std::make_index_sequence<R>{});
    else
      store_halves(y, std::make_index_sequence<R>{});
  }
  template <std::size_t... I>
  QWHA_KERNEL_INLINE void store_halves(const V* y, std::index_sequence<I...>) const noexcept {
    (store(I * K, lanes_at<0, K>(y[I])), ...);
    (store((M + I) * K, lanes_at<K, K>(y[I])), ...);
  }
};

/// The row of H_M ⊗ S_W, or of H2 ⊗ H_M ⊗ S_K with K = W or with the halves of H2 side by side in registers: each
/// number is loaded and stored once.
template <std::size_t M, bool Twin, bool Transposed, std::size_t K, class T, std::size_t W, class Load, class Store>
QWHA_NO_SANITIZE QWHA_NOINLINE QWHA_LINE_ALIGNED void static_row(const Load& load, const Store& store) noexcept {
  using V = vec<T, W>;
  using signs = static_signs<M, Transposed>;
  const opaque_units<V> unit{V::splat(opaque(T(1))), V::splat(opaque(T(-1)))};
  dense_column<signs, Twin && K == W>(lanes_input<M, K, V, Load>{load}, lanes_output<M, K, V, Store>{store}, unit,
                                      std::make_index_sequence<signs::order>{});
}

/// Such a row where there is a kernel for it; else false.
template <std::size_t N, class T, std::size_t W, class Load, class Store>
bool static_row(const dense_factor_stage& stage, orientation o, const Load& load, const Store& store) noexcept {
  bool done = false;
  const auto known = [&]<std::size_t M, bool Twin, std::size_t K>() {
    if constexpr (W > 2 && (N == 0 || (has_factor<N>(M) && find_order(N).fast_order() == K))) {
      if (stage.order != M || stage.twin != Twin || stage.columns != K) return;
      done = true;
      o == orientation::transpose ? static_row<M, Twin, true, K, T, W>(load, store)
                                  : static_row<M, Twin, false, K, T, W>(load, store);
    }
  };
  known.template operator()<12, false, W>();
  known.template operator()<20, true, W>();
  known.template operator()<20, true, W / 2>();
  known.template operator()<28, false, W>();
  return done;
}

/// Calls `move(width, i)` over [0, n) in steps of W, then of ever smaller powers of two.
template <std::size_t W, class Move>
QWHA_KERNEL_INLINE void for_columns(std::size_t i, std::size_t n, const Move& move) noexcept {
  for (; i + W <= n; i += W) move(std::integral_constant<std::size_t, W>{}, i);
  if constexpr (W > 1)
    if (i < n) for_columns<W / 2>(i, n, move);
}

/// K < W columns from column `at` on of one block, by way of a panel of W, whose other columns are idle; H2 ⊗ H works
/// its halves side by side. `finish(v)` sees each output before it is stored.
template <std::size_t N, std::size_t K, class T, std::size_t W, class Load, class Store, class Finish>
QWHA_NO_SANITIZE bool narrow_dense(const dense_factor_stage& stage, orientation o, std::size_t at, const Load& load,
                                   const Store& store, T* panel, const Finish& finish) noexcept {
  using V = vec<T, W>;
  constexpr std::integral_constant<std::size_t, K> width{};
  const std::size_t half = stage.order * stage.columns;
  for (std::size_t i = 0; i < stage.order; ++i) {
    vec<T, K> a = load(width, at + i * stage.columns), b = vec<T, K>::splat(T(0));
    if (stage.twin) {
      b = load(width, at + half + i * stage.columns);
      butterfly(a, b);
    }
    widen<W>(join(a, b)).store(panel + i * W);
  }
  if (!dense_columns<N, T, W>(stage, false, o, W, {panel, W, panel, W})) return false;
  for (std::size_t i = 0; i < stage.order; ++i) {
    const V y = finish(V::load(panel + i * W));
    store(at + i * stage.columns, lanes_at<0, K>(y));
    if (stage.twin) store(at + half + i * stage.columns, lanes_at<K, K>(y));
  }
  return true;
}

/// The factor on all n numbers, from `load` to rows `pitch` apart (`stage.columns`, or another where there is one
/// block only). False where scratch could not be allocated.
/// @param next  a row to ask for meanwhile, or nullptr
/// @tparam N    the order of the row, or 0 when it is known at run time only
template <std::size_t N, class T, std::size_t W, class Load>
bool dense_stage(const dense_factor_stage& stage, orientation o, std::size_t n, const Load& load, T* work,
                 std::size_t pitch, const Load* next = nullptr) noexcept {
  constexpr std::size_t panel_columns = 4 * W, stack_rows = 1024;
  const std::size_t columns = stage.columns, rows = stage.rows(), wide = columns / W * W;
  const T* const memory = memory_behind<T>(load);
  const auto move_columns = [&](std::size_t at, std::size_t count, const memory_row<T>& panel) {
    for (std::size_t i = 0; i < rows; ++i)
      for (std::size_t c = 0; c < count; c += W)
        panel(i * count + c, load(std::integral_constant<std::size_t, W>{}, at + i * columns + c));
  };
  const auto all_blocks = [&](T* panel) noexcept {
    bool done = true;
    for (std::size_t at = 0; at < n; at += stage.block()) {
      const std::size_t step = memory == nullptr ? panel_columns : next != nullptr ? group_size<T> : wide;
      for (std::size_t c = 0; c < wide; c += step) {
        const std::size_t count = std::min(step, wide - c);
        if constexpr (requires { next->prefetch(c); })
          if (next != nullptr)
            for (std::size_t i = 0; i < rows; ++i)
              for (std::size_t k = 0; k < count; k += Load::line) next->prefetch(at + c + i * columns + k);
        if (memory == nullptr) move_columns(at + c, count, {panel});
        const dense_rows<T> x = memory != nullptr ? dense_rows<T>{memory + at + c, columns, work + at + c, pitch}
                                                  : dense_rows<T>{panel, count, work + at + c, pitch};
        done = done && dense_columns<N, T, W>(stage, stage.twin, o, count, x);
      }
      if constexpr (W > 1)
        for_columns<W / 2>(wide, columns, [&]<std::size_t K>(std::integral_constant<std::size_t, K>, std::size_t c) {
          const auto as_is = [](vec<T, W> v) { return v; };
          done = done && narrow_dense<N, K, T, W>(stage, o, at + c, load, memory_row<T>{work}, panel, as_is);
        });
    }
    return done;
  };
  if (memory != nullptr && wide == columns) return all_blocks(nullptr);
  return with_scratch<T, stack_rows * panel_columns>(rows * (wide == 0 ? W : panel_columns), all_blocks);
}

/// The factor and the faster S_K, K = `stage.columns` < W, on all n numbers from `load` to `store`.
template <std::size_t N, std::size_t K, class T, std::size_t W, class Load, class Store>
bool dense_and_lanes(const dense_factor_stage& stage, orientation o, std::size_t n, const Load& load,
                     const Store& store) noexcept {
  const auto lanes = [](vec<T, W> v) {
    lane_stages<1, 1, K>(&v);
    return v;
  };
  return with_scratch<T, 1024 * W>(stage.order * W, [&](T* panel) noexcept {
    bool done = true;
    for (std::size_t at = 0; at < n; at += stage.block())
      done = done && narrow_dense<N, K, T, W>(stage, o, at, load, store, panel, lanes);
    return done;
  });
}

}  // namespace qwha::inline QWHA_ISA::detail
