// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// The Walsh-Hadamard transform of rows on the CPU: the front door of transform/.

#include <array>
#include <atomic>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <functional>
#include <string>
#include <type_traits>

#include <qwha/base/backend.hpp>
#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/base/executor.hpp>
#include <qwha/base/float16.hpp>
#include <qwha/base/rows_view.hpp>
#include <qwha/base/simd.hpp>
#include <qwha/base/status.hpp>
#include <qwha/transform/cpu/row_source.hpp>
#include <qwha/transform/cpu/row_transform.hpp>
#include <qwha/transform/cpu/scaled_rows.hpp>
#include <qwha/transform/cpu/scratch.hpp>
#include <qwha/transform/order.hpp>
#include <qwha/transform/orientation.hpp>
#include <qwha/transform/scaling.hpp>

namespace qwha {

/// The order is given to the constructor.
inline constexpr std::size_t dynamic_order = static_cast<std::size_t>(-1);

/// What a transform reads and writes.
template <class T>
concept transformable =
    std::same_as<T, float> || std::same_as<T, double> || std::same_as<T, half> || std::same_as<T, bfloat16>;

}  // namespace qwha

namespace qwha::inline QWHA_ISA {

/// The transform H of order n on rows: x <- x Hᵀ, that is H applied to every row; `apply_transpose` applies Hᵀ.
///
/// H is the matrix of `find_order(n)`: natural (Sylvester) order, H_m ⊗ S_{2^k} with m on the slow index.
/// @tparam Backend  CPU tag this file is compiled for, `native` by default; `cuda` is in <qwha/qwha.cuh>
/// @tparam N        row length, or `dynamic_order`
///
/// Every `apply…`: rows of any stride and alignment; zero rows are allowed.
/// @par Cost      an element: log2 2^k additions, at most m / 4 + 7 more for a dense factor m; each row is read and
///                written once as long as it fits the first-level cache (48 KiB), else once more for every 3 bits
///                beyond
/// @par Numerics  float: relative error in the 2-norm of a row <= 2e-7 log2 n; 16-bit types: float arithmetic and one
///                rounding. All back ends, static or dynamic, and any number of threads give the same bits.
/// @par Errors    status: shape_mismatch, null_data, overlapping; out_of_memory only where a row that is not float or
///                double has more than 65536 elements, or a dense factor more than 1024 rows (scratch is then on the
///                heap). NaN and infinity spread over their row and nowhere else.
/// @par Effects   none but the output: no exception, no global state; up to 256 KiB of stack for 16-bit rows. Objects
/// may be
///                used by many threads at once.
template <class Backend = native, std::size_t N = dynamic_order>
class wht {
  static_assert(backend<Backend>, "qwha::wht<Backend, N>: Backend must be a back-end tag such as qwha::native");
  static_assert(!std::same_as<Backend, cuda>,
                "qwha::wht<cuda, N>: include <qwha/qwha.cuh> and compile this file with a CUDA compiler");
  static_assert(
      std::same_as<Backend, cuda> || compiled_for<Backend>,
      "qwha::wht<Backend, N>: compile this file for Backend (for example -march=native), or use qwha::native");
  static_assert(N == dynamic_order || supported_order(N),
                "qwha::wht<Backend, N>: no Hadamard matrix of order N is known; see qwha::supported_order and "
                "qwha::nearest_block for the sizes that are");

 public:
  /// Cost: none for powers of two, else the sign tables of the dense factor, made once in a process.
  wht()
    requires(N != dynamic_order)
      : wht(find_order(N)) {}

  /// @throws unsupported_order naming n and the nearest supported block
  explicit wht(std::size_t n)
    requires(N == dynamic_order)
      : wht(checked(n)) {}

  std::size_t order() const noexcept { return N == dynamic_order ? plan_.n : N; }
  /// The canonical name of the matrix, `order_name(order())`.
  std::string name() const { return name_of(order_); }
  /// What `s` multiplies H by.
  double scale(scaling s) const noexcept { return scales_[static_cast<std::size_t>(s)]; }

  /// x <- H x for every row.
  /// @param x  [rows, order()]
  template <transformable T>
  status apply(rows_view<T> x, scaling s = scaling::orthonormal,
               const executor& where = default_executor()) const noexcept {
    return in_place(x.data, x.rows, x.cols, x.stride, s, orientation::forward, where);
  }
  /// x <- Hᵀ x for every row.
  template <transformable T>
  status apply_transpose(rows_view<T> x, scaling s = scaling::orthonormal,
                         const executor& where = default_executor()) const noexcept {
    return in_place(x.data, x.rows, x.cols, x.stride, s, orientation::transpose, where);
  }

  /// out <- H in for every row, both [rows, order()]; converts where the types differ. Arithmetic is double where `out`
  /// is, else float.
  /// @pre  `in` and `out` do not overlap, or are the same rows with elements of one size
  template <class S, transformable T>
    requires transformable<std::remove_const_t<S>>
  status apply(rows_view<S> in, rows_view<T> out, scaling s = scaling::orthonormal,
               const executor& where = default_executor()) const noexcept {
    return out_of_place(rows_view<const S>(in), out, s, orientation::forward, where);
  }
  /// out <- Hᵀ in for every row.
  template <class S, transformable T>
    requires transformable<std::remove_const_t<S>>
  status apply_transpose(rows_view<S> in, rows_view<T> out, scaling s = scaling::orthonormal,
                         const executor& where = default_executor()) const noexcept {
    return out_of_place(rows_view<const S>(in), out, s, orientation::transpose, where);
  }

  /// The transform between a load and a store of the caller's: dequantize on load; scale, accumulate, add a base, round
  /// on store, without a pass of its own.
  ///
  /// `prologue(width, row, column)` returns `vec<T, width>`, inputs column … column + width - 1 of a row, where `width`
  /// is a std::integral_constant<std::size_t, …> (a power of two that divides the column); `epilogue(row, column, v)`
  /// takes the same of the unscaled H x, or Hᵀ x, as vec<T, width>. Both see each element once, and within a row all
  /// loads come before the first store, so they may refer to the same memory. Neither may throw; they run in the
  /// executor's threads.
  /// @tparam T  float or double: the arithmetic
  template <class T, class Prologue, class Epilogue>
    requires std::floating_point<T>
  status apply_fused(std::size_t rows, const Prologue& prologue, const Epilogue& epilogue,
                     orientation o = orientation::forward, const executor& where = default_executor()) const noexcept {
    const auto load = [prologue](std::size_t r) {
      return [prologue, r](auto width, std::size_t c) { return prologue(width, r, c); };
    };
    const auto store = [epilogue](std::size_t r) {
      return [epilogue, r](std::size_t c, auto v) { epilogue(r, c, v); };
    };
    return in_scratch<T>(rows, load, store, o, where);
  }

 private:
  static constexpr std::size_t stack_bytes = std::size_t{1} << 18;
  static constexpr std::size_t known = N == dynamic_order ? 0 : N;  ///< what the kernels are told
  static constexpr bool is_fast = detail::is_fast<known>;           ///< certainly a power of two
  static constexpr bool is_dense = known != 0 && !is_fast;          ///< certainly not
  static constexpr std::size_t small_work = std::size_t{1} << 16;  // elements: below, threads cost more than they bring

  explicit wht(const hadamard_order& h) : order_(h), plan_(h), grain_((small_work - 1) / plan_.n + 1) {
    const double n = static_cast<double>(plan_.n);
    scales_[static_cast<std::size_t>(scaling::none)] = 1;
    scales_[static_cast<std::size_t>(scaling::orthonormal)] = 1 / std::sqrt(n);
    scales_[static_cast<std::size_t>(scaling::inverse)] = 1 / n;
  }

  static hadamard_order checked(std::size_t n) {
    const hadamard_order h = find_order(n);
    if (!h && n == 0) throw unsupported_order("wht: the order must be at least 1");
    if (!h)
      throw unsupported_order("wht: no Hadamard matrix of order " + std::to_string(n) +
                              " is known; the nearest supported block is " + std::to_string(nearest_block(n)));
    return h;
  }

  template <class T>
  status check(rows_view<T> x) const noexcept {
    if (x.rows == 0) return status::ok;
    if (x.cols != order() || (x.rows > 1 && x.stride < x.cols)) return status::shape_mismatch;
    return x.data == nullptr ? status::null_data : status::ok;
  }

  /// Whether the memory between the first and the last element of the two is shared, unless row by row they are the
  /// same.
  template <class S, class T>
  static bool overlap(rows_view<const S> a, rows_view<T> b) noexcept {
    const auto begin = [](const auto& x) { return static_cast<const void*>(x.data); };
    const auto end = [](const auto& x) { return static_cast<const void*>(x.row(x.rows - 1) + x.cols); };
    if (begin(a) == begin(b) && sizeof(S) == sizeof(T) && (a.rows == 1 || a.stride == b.stride)) return false;
    const std::less<const void*> before;
    return before(begin(a), end(b)) && before(begin(b), end(a));
  }

  // Out of line and with the view's members one by one: a caller that copies a view as a whole would have it read back
  // from a store wider than the members, which waits until the last row is in the cache.
  template <class T>
  QWHA_NOINLINE status in_place(T* data, std::size_t rows, std::size_t cols, std::size_t stride, scaling s,
                                orientation o, const executor& where) const noexcept {
    const rows_view<T> x(data, rows, cols, stride);
    const status checked = check(x);
    return checked == status::ok ? run(rows_view<const T>(x), x, s, o, where) : checked;
  }

  template <class S, class T>
  status out_of_place(rows_view<const S> in, rows_view<T> out, scaling s, orientation o,
                      const executor& where) const noexcept {
    if (in.rows != out.rows || in.cols != out.cols) return status::shape_mismatch;
    if (const status checked = check(in); checked != status::ok) return checked;
    if (const status checked = check(out); checked != status::ok) return checked;
    if (in.rows != 0 && overlap(in, out)) return status::overlapping;
    return run(in, out, s, o, where);
  }

  template <class S, class T>
  status run(rows_view<const S> in, rows_view<T> out, scaling s, orientation o, const executor& where) const noexcept {
    using A = arithmetic_t<T>;
    if constexpr (std::same_as<A, T> && !is_dense)
      if (plan_.count == 0 && !splits<A>(in.rows, where) && (in.rows <= grain_ || where.run == nullptr)) {
        transform_scaled_rows(in.data, in.stride, out.data, out.stride, in.rows, static_cast<A>(scale(s)));
        return status::ok;
      }
    return run_in_parts(in.data, in.stride, out.data, out.stride, in.rows, static_cast<A>(scale(s)), o, where);
  }

  template <class S, class T, class A>
  QWHA_NOINLINE status run_in_parts(const S* in, std::size_t in_stride, T* out, std::size_t out_stride,
                                    std::size_t rows, A factor, orientation o, const executor& where) const noexcept {
    const detail::source_rows<A, S> load{in, in_stride};
    const detail::scaled_rows<A, T> store{out, out_stride, factor};
    const bool split = splits<A>(rows, where);
    if constexpr (std::same_as<A, T>) {  // the output row is the scratch
      const detail::work_rows<T> row{out, out_stride};
      if (split) return split_rows<A>(rows, load, store, row, where), status::ok;
      return for_rows(rows, where, [&](std::size_t begin, std::size_t end) noexcept {
        if constexpr (!is_dense)
          if (plan_.count == 0) {
            transform_scaled_rows(in + begin * in_stride, in_stride, out + begin * out_stride, out_stride, end - begin,
                                  factor);
            return true;
          }
        if constexpr (!is_fast) return rows_by_dense<A>(begin, end, o, load, store, row);
        return false;
      });
    } else {
      if (!split) return in_scratch<A>(rows, load, store, o, where);
      const bool done = detail::with_scratch<A, stack_bytes / sizeof(A)>(order(), [&](A* work) noexcept {
        split_rows<A>(rows, load, store, detail::work_rows<A>{work, 0}, where);
        return true;
      });
      return done ? status::ok : status::out_of_memory;
    }
  }

  /// Whether each row is split across the threads.
  template <class T>
  bool splits(std::size_t rows, const executor& where) const noexcept {
    return where.run != nullptr && plan_.count == 0 && detail::split_pays(rows, order() * sizeof(T));
  }

  template <class T, class Load, class Store, class Work>
  void split_rows(std::size_t rows, const Load& load, const Store& store, const Work& work,
                  const executor& where) const noexcept {
    for (std::size_t r = 0; r < rows; ++r)
      detail::split_row<T, lanes<Backend, T>>(order(), work(r), load(r), store(r), where);
  }

  template <class T, class Load, class Store>
  status in_scratch(std::size_t rows, const Load& load, const Store& store, orientation o,
                    const executor& where) const noexcept {
    return for_rows(rows, where, [&](std::size_t begin, std::size_t end) noexcept {
      return detail::with_scratch<T, stack_bytes / sizeof(T)>(order(), [&](T* work) noexcept {
        return transform_rows<T>(begin, end, o, load, store, detail::work_rows<T>{work, 0});
      });
    });
  }

  /// Calls `body(begin, end)` over the rows; out_of_memory where one of the calls returned false.
  template <class Body>
  status for_rows(std::size_t rows, const executor& where, const Body& body) const noexcept {
    if (rows <= grain_ || where.run == nullptr) return body(0, rows) ? status::ok : status::out_of_memory;
    std::atomic<bool> done{true};
    parallel_for(where, rows, grain_, [&](std::size_t begin, std::size_t end) noexcept {
      if (!body(begin, end)) done.store(false, std::memory_order_relaxed);
    });
    return done.load(std::memory_order_relaxed) ? status::ok : status::out_of_memory;
  }

  /// `load(r)` and `store(r)` are what row r is read and written through, `work(r)` its scratch.
  template <class T, class Load, class Store, class Work>
  bool transform_rows(std::size_t begin, std::size_t end, orientation o, const Load& load, const Store& store,
                      const Work& work) const noexcept {
    return detail::transform_rows<known, T, lanes<Backend, T>>(plan_, o, begin, end, load, store, work);
  }
  template <class T, class Load, class Store, class Work>
  bool rows_by_dense(std::size_t begin, std::size_t end, orientation o, const Load& load, const Store& store,
                     const Work& work) const noexcept {
    return detail::rows_by_dense<known, T, lanes<Backend, T>>(plan_, o, begin, end, load, store, work);
  }
  template <class S, class T>
  void transform_scaled_rows(const S* in, std::size_t in_stride, T* out, std::size_t out_stride, std::size_t rows,
                             T factor) const noexcept {
    detail::transform_scaled_rows<known, T, lanes<Backend, T>>(order(), in, in_stride, out, out_stride, rows, factor);
  }

  hadamard_order order_;
  detail::row_plan plan_;
  std::size_t grain_;
  std::array<double, 3> scales_{};
};

}  // namespace qwha::inline QWHA_ISA
