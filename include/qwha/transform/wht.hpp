// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// The Walsh-Hadamard transform of rows on the CPU: the front door of transform/.

#include <array>
#include <atomic>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <type_traits>

#include <qwha/base/aligned_buffer.hpp>
#include <qwha/base/backend.hpp>
#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/base/executor.hpp>
#include <qwha/base/float16.hpp>
#include <qwha/base/rows_view.hpp>
#include <qwha/base/simd.hpp>
#include <qwha/base/status.hpp>
#include <qwha/transform/cpu/row_transform.hpp>
#include <qwha/transform/order.hpp>
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
/// Every member: rows any stride and alignment; zero rows are allowed.
/// @par Cost      rows n (log2 of the power of two + m / 4 + 3 where m > 1) additions; each number is read and written
/// once
///                for n up to the cache
/// @par Numerics  float: relative error (2-norm of a row) <= 2e-7 log2 n; 16-bit types: float arithmetic, one rounding.
///                All back ends and any number of threads give the same bits.
/// @par Errors    status: shape_mismatch, null_data, overlapping, out_of_memory (rows above 65536 of a 16-bit type,
/// only).
///                NaN and infinity spread over their row and nowhere else.
/// @par Effects   none but the output: no exception, no global state; objects may be used by many threads at once
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
                "qwha::nearest_block");

 public:
  wht() requires(N != dynamic_order) : order_(find_order(N)), plan_(order_) {}

  /// @throws unsupported_order naming n and the nearest supported block
  explicit wht(std::size_t n) requires(N == dynamic_order) : order_(checked(n)), plan_(order_) {}

  std::size_t order() const noexcept { return N == dynamic_order ? plan_.n : N; }
  std::string name() const { return name_of(order_); }

  /// x <- H x for every row.
  /// @param x  [rows, order()]
  template <transformable T>
  status apply(rows_view<T> x, scaling s = scaling::orthonormal,
               const executor& where = default_executor()) const noexcept {
    return in_place(x, s, false, where);
  }
  /// x <- Hᵀ x for every row.
  template <transformable T>
  status apply_transpose(rows_view<T> x, scaling s = scaling::orthonormal,
                         const executor& where = default_executor()) const noexcept {
    return in_place(x, s, true, where);
  }

  /// out <- H in for every row; converts where the types differ (arithmetic in that of `out`: double, else float).
  /// @pre  `in` and `out` do not overlap, or are the same rows of the same type
  template <class S, transformable T>
  requires transformable<std::remove_const_t<S>> status apply(rows_view<S> in, rows_view<T> out,
                                                              scaling s = scaling::orthonormal,
                                                              const executor& where = default_executor())
  const noexcept { return out_of_place(rows_view<const S>(in), out, s, false, where); }
  template <class S, transformable T>
  requires transformable<std::remove_const_t<S>> status apply_transpose(rows_view<S> in, rows_view<T> out,
                                                                        scaling s = scaling::orthonormal,
                                                                        const executor& where = default_executor())
  const noexcept { return out_of_place(rows_view<const S>(in), out, s, true, where); }

 private:
  static hadamard_order checked(std::size_t n) {
    const hadamard_order h = find_order(n);
    if (!h)
      throw unsupported_order(
          "wht: no Hadamard matrix of order " + std::to_string(n) + " is known" +
          (n == 0 ? std::string() : "; the nearest supported block is " + std::to_string(nearest_block(n))));
    return h;
  }

  static double factor(scaling s, std::size_t n) noexcept {
    switch (s) {
      case scaling::none:
        return 1;
      case scaling::orthonormal:
        return 1 / std::sqrt(static_cast<double>(n));
      case scaling::inverse:
        return 1 / static_cast<double>(n);
    }
    return 1;
  }

  template <class T>
  status check(rows_view<T> x) const noexcept {
    if (x.rows == 0) return status::ok;
    if (x.cols != order() || (x.rows > 1 && x.stride < x.cols)) return status::shape_mismatch;
    if (x.data == nullptr) return status::null_data;
    return status::ok;
  }

  template <class T>
  status in_place(rows_view<T> x, scaling s, bool transposed, const executor& where) const noexcept {
    if (const status c = check(x); c != status::ok) return c;
    return run<T, T>(rows_view<const T>(x), x, s, transposed, where);
  }

  template <class S, class T>
  status out_of_place(rows_view<const S> in, rows_view<T> out, scaling s, bool transposed,
                      const executor& where) const noexcept {
    if (in.rows != out.rows || in.cols != out.cols) return status::shape_mismatch;
    if (const status c = check(in); c != status::ok) return c;
    if (const status c = check(out); c != status::ok) return c;
    if (in.rows == 0) return status::ok;
    const auto same = static_cast<const void*>(in.data) == static_cast<const void*>(out.data) &&
                      sizeof(S) == sizeof(T) && in.stride == out.stride;
    if (!same && overlap(in, out)) return status::overlapping;
    return run<S, T>(in, out, s, transposed, where);
  }

  template <class S, class T>
  static bool overlap(rows_view<const S> a, rows_view<T> b) noexcept {
    const auto* a_first = reinterpret_cast<const std::byte*>(a.data);
    const auto* a_last = reinterpret_cast<const std::byte*>(a.row(a.rows - 1) + a.cols);
    const auto* b_first = reinterpret_cast<const std::byte*>(b.data);
    const auto* b_last = reinterpret_cast<const std::byte*>(b.row(b.rows - 1) + b.cols);
    return std::less<>{}(a_first, b_last) && std::less<>{}(b_first, a_last);
  }

  template <class S, class T>
  status run(rows_view<const S> in, rows_view<T> out, scaling s, bool transposed,
             const executor& where) const noexcept {
    if (in.rows == 0) return status::ok;
    using A = arithmetic_t<T>;
    const A scale = static_cast<A>(factor(s, order()));
    constexpr std::size_t small_work = std::size_t{1} << 16;  // numbers: below it threads cost more than they bring
    const std::size_t grain = (small_work + order() - 1) / order();
    std::atomic<bool> failed{false};
    parallel_for(where, in.rows, grain, [&](std::size_t begin, std::size_t end) noexcept {
      if (!rows<S, T>(in, out, begin, end, scale, transposed)) failed.store(true, std::memory_order_relaxed);
    });
    return failed.load(std::memory_order_relaxed) ? status::out_of_memory : status::ok;
  }

  template <class S, class T>
  bool rows(rows_view<const S> in, rows_view<T> out, std::size_t begin, std::size_t end, arithmetic_t<T> scale,
            bool transposed) const noexcept {
    using A = arithmetic_t<T>;
    constexpr std::size_t W = lanes<Backend, A>;
    aligned_buffer<A> scratch;
    constexpr bool direct = std::is_same_v<A, T>;
    if constexpr (!direct) {
      scratch = aligned_buffer<A>::try_allocate(order());
      if (scratch.size() == 0) return false;
    }
    for (std::size_t r = begin; r < end; ++r) {
      const S* from = in.row(r);
      T* to = out.row(r);
      A* work = nullptr;
      if constexpr (direct)
        work = to;
      else
        work = scratch.data();
      const auto load = [from](auto width, std::size_t i) { return load_as<A, width()>(from + i); };
      const auto store = [to, scale](std::size_t i, auto v) { store_as(to + i, v * decltype(v)::splat(scale)); };
      if (!detail::transform_row<A, W>(plan_, transposed, work, load, store)) return false;
    }
    return true;
  }

  hadamard_order order_;
  detail::row_plan plan_;
};

}  // namespace qwha::inline QWHA_ISA
