// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// The second moment seen from the spectral side, G = T S Tᵀ: a two-dimensional transform.

#include <algorithm>
#include <cstddef>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include <qwha/base/aligned_buffer.hpp>
#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/base/executor.hpp>
#include <qwha/base/rows_view.hpp>
#include <qwha/base/status.hpp>
#include <qwha/fit/second_moment.hpp>
#include <qwha/transform/wht.hpp>

namespace qwha::inline QWHA_ISA {
namespace detail {

inline void require(status s, const char* who) {
  if (s == status::out_of_memory) throw std::bad_alloc();
  if (s != status::ok) throw shape_error(std::string(who) + ": " + describe(s));
}

/// `to`, [cols, rows], <- the transpose of `from`, in blocks whose lines stay in the first-level cache although the
/// rows of a matrix lie a multiple of the page apart.
template <class Isa = isa>
void transpose(rows_view<const double> from, rows_view<double> to) noexcept {
  constexpr std::size_t block = 8;
  for (std::size_t i = 0; i < from.rows; i += block)
    for (std::size_t j = 0; j < from.cols; j += block)
      for (std::size_t r = i; r < std::min(from.rows, i + block); ++r)
        for (std::size_t c = j; c < std::min(from.cols, j + block); ++c) to(c, r) = from(r, c);
}

/// x <- T x, [n, n]: the columns transformed, a panel of them at a time in scratch that the second-level cache holds.
template <class Transform>
void transform_columns(const Transform& transform, rows_view<double> x, const executor& where) {
  constexpr std::size_t width = 16, panels = 8;  // two cache lines of every row; panels to a chunk
  parallel_for(where, x.cols, width * panels, [&](std::size_t begin, std::size_t end) {
    const std::size_t stride = x.rows + 8;  // not a multiple of the page
    aligned_buffer<double> scratch(width * stride);
    for (std::size_t first = begin; first < end; first += width) {
      const rows_view<double> panel(x.data + first, x.rows, std::min(width, end - first), x.stride);
      const rows_view<double> columns(scratch.data(), panel.cols, x.rows, stride);
      transpose(panel, columns);
      require(transform.apply(columns, scaling::orthonormal, executor::serial()), "spectral_moment");
      transpose(columns, panel);
    }
  });
}

}  // namespace detail

/// G = T S Tᵀ [in, in] in double, T = H / sqrt(in): the second moment of the transformed activations. Share one among
/// the layers that read the same activations.
/// @tparam Transform  orthonormal transform of rows with the members of `wht`
template <class Transform = wht<native>>
class spectral_moment {
 public:
  /// 8 in² bytes are allocated.
  /// @par Cost  a transform of the rows and one of the columns: O(in² log in), each one pass over memory
  /// @par Numerics  double; symmetric up to rounding. Same bits for any number of threads
  /// @throws value_error when `s` holds no tokens; unsupported_order when there is no Hadamard matrix of order `in`
  explicit spectral_moment(const second_moment& s, const executor& where = default_executor())
      : spectral_moment(s.in(), s.tokens(), s.mean_diagonal()) {
    own_ = aligned_buffer<double>(order() * order());
    build(s.values(), own_.data(), where);
  }
  /// The same in the memory of `s`.
  explicit spectral_moment(second_moment&& s, const executor& where = default_executor())
      : spectral_moment(s.in(), s.tokens(), s.mean_diagonal()) {
    adopted_ = std::move(s).release();
    build({adopted_.data(), order(), order()}, adopted_.data(), where);
  }

  std::size_t order() const noexcept { return transform_.order(); }
  rows_view<const double> values() const noexcept {
    return {adopted_.empty() ? own_.data() : adopted_.data(), order(), order()};
  }
  /// mean(diag S) = mean(diag G): what damping is a fraction of.
  double mean_diagonal() const noexcept { return mean_diagonal_; }
  const Transform& transform() const noexcept { return transform_; }

 private:
  spectral_moment(std::size_t in, std::size_t tokens, double mean_diagonal)
      : transform_(in), mean_diagonal_(mean_diagonal) {
    if (tokens == 0) throw value_error("spectral_moment: the second moment holds no tokens");
  }

  void build(rows_view<const double> s, double* memory, const executor& where) {
    const rows_view<double> g(memory, order(), order());
    detail::require(transform_.apply(s, g, scaling::orthonormal, where), "spectral_moment");
    detail::transform_columns(transform_, g, where);
  }

  Transform transform_;
  double mean_diagonal_;
  aligned_buffer<double> own_;
  std::vector<double> adopted_;
};

}  // namespace qwha::inline QWHA_ISA
