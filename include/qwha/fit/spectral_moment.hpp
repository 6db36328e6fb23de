// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// The second moment seen from the spectral side, G = T S Tᵀ: a two-dimensional transform.

#include <cstddef>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include <qwha/adapter/transpose.hpp>
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

}  // namespace detail

/// G = T S Tᵀ [in, in] in double, T = H / sqrt(in): the second moment of the transformed activations. Share one among
/// the layers that read the same activations.
/// @tparam Transform  orthonormal transform of rows with the members of `wht`
template <class Transform = wht<native>>
class spectral_moment {
 public:
  /// 8 in² bytes are allocated.
  /// @par Cost  two transforms of the rows and a transposition between them: O(in² log in), three passes over memory
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

  /// S is its own transpose: with A = S Tᵀ, Aᵀ Tᵀ = T S Tᵀ, and all transforms are those of rows.
  void build(rows_view<const double> s, double* memory, const executor& where) {
    const rows_view<double> g(memory, order(), order());
    detail::require(transform_.apply(s, g, scaling::orthonormal, where), "spectral_moment");
    detail::transpose_in_place(g, where);
    detail::require(transform_.apply(g, scaling::orthonormal, where), "spectral_moment");
  }

  Transform transform_;
  double mean_diagonal_;
  aligned_buffer<double> own_;
  std::vector<double> adopted_;
};

}  // namespace qwha::inline QWHA_ISA
