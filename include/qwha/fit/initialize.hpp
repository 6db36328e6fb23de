// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Quantization-aware initialisation of an adapter (paper section 3): budgets, selection, refinement.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <qwha/adapter/sparse_spectrum.hpp>
#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/base/executor.hpp>
#include <qwha/base/finite.hpp>
#include <qwha/base/float16.hpp>
#include <qwha/base/rows_view.hpp>
#include <qwha/fit/ada_alloc.hpp>
#include <qwha/fit/exchange.hpp>
#include <qwha/fit/pursuit.hpp>
#include <qwha/fit/refine.hpp>
#include <qwha/fit/second_moment.hpp>
#include <qwha/fit/selection.hpp>
#include <qwha/fit/spectral_correlation.hpp>
#include <qwha/fit/spectral_problem.hpp>
#include <qwha/quant/quantized_matrix.hpp>

namespace qwha {

/// How an adapter is fitted to a layer.
struct fit_options {
  std::size_t parameters = 0;  ///< p, coefficients of the layer; the paper takes rank * (in + out)
  double temperature = 1;      ///< t of AdaAlloc
  qwha::selection selection = selection::pursuit;
  bool refine = true;       ///< solve for the values; else f_J = c_J, the spectrum of E itself
  double damping = 1e-4;    ///< fraction of mean(diag S) that is added to the diagonal of S in selection and refinement
  std::uint64_t seed = 0;   ///< of selection::random and ssh
  int exchange_rounds = 4;  ///< of selection::pursuit, at most
};

/// Exactly the paper's: AdaAlloc by layer-output error, the largest |(E Tᵀ)_ij|, refinement.
constexpr fit_options paper_fit_options(std::size_t parameters) noexcept {
  return {.parameters = parameters,
          .temperature = 1,
          .selection = selection::magnitude,
          .refine = true,
          .damping = 1e-4,
          .seed = 0,
          .exchange_rounds = 0};
}

/// What did best on text that was not fitted, 2 and 3 bit Gemma 3 layers: pursuit, steeper budgets, strong damping.
constexpr fit_options held_out_fit_options(std::size_t parameters) noexcept {
  return {.parameters = parameters,
          .temperature = 2,
          .selection = selection::pursuit,
          .refine = true,
          .damping = 0.1,
          .seed = 0,
          .exchange_rounds = 4};
}

/// A fitted adapter and what it does to the layer's output on the fitted tokens.
template <class T>
struct fit_result {
  sparse_spectrum<T> spectrum;             ///< F [out, in]
  double error_before;                     ///< ‖E X‖ = sqrt(tr(E S Eᵀ)), summed over tokens
  double error_after;                      ///< ‖(E - F T) X‖, for the values as T holds them
  std::vector<double> row_error_before{};  ///< the same by output channel [out]
  std::vector<double> row_error_after{};
};

}  // namespace qwha

namespace qwha::inline QWHA_ISA {
namespace detail {

/// Rows that one thread fits with one workspace.
inline constexpr std::size_t fit_grain = 16;

/// Selection in one row after another: the workspace of one thread.
template <class Transform>
class row_selector {
 public:
  /// @param gram  for selection::pursuit, else null
  row_selector(const spectral_problem<Transform>& problem, const fit_options& options, const spectral_correlation* gram)
      : problem_(problem), options_(options), scores_(problem.cols()) {
    if (gram == nullptr) return;
    pursuit_.emplace(*gram);
    exchange_.emplace(*gram);
  }

  void select(std::size_t r, std::span<std::uint32_t> chosen) {
    const row_objective row = problem_.objective(r, options_.damping);
    switch (options_.selection) {
      case selection::random: return select_random(row.in(), {}, options_.seed, r, chosen);
      case selection::magnitude: return select_largest_magnitude(row.spectrum, chosen);
      case selection::energy:
        return by_score(chosen, [&](std::size_t j) {
          const double b = row.damped_product(j), g = row.damped_gram(j);
          return g > 0 ? b * b / g : 0.0;
        });
      case selection::reference:
        return by_score(chosen, [&](std::size_t j) {
          const auto c = static_cast<double>(row.spectrum[j]);
          return row.damped_gram(j) * c * c;
        });
      case selection::ssh: {
        const std::vector<double> weight = problem_.weight_spectrum(r);
        const auto half = chosen.first((chosen.size() + 1) / 2);
        by_score(half, [&](std::size_t j) { return std::abs(weight[j]); });
        select_random(row.in(), half, options_.seed, r, chosen.subspan(half.size()));
        return std::sort(chosen.begin(), chosen.end());
      }
      case selection::pursuit: return pursue(row, chosen);
    }
  }

 private:
  template <class Score>
  void by_score(std::span<std::uint32_t> chosen, const Score& score) {
    for (std::size_t j = 0; j < scores_.size(); ++j) scores_[j] = score(j);
    select_largest(scores_, chosen);
  }

  /// Greedy choices can be misled: the paper's support is tried too, and the better one kept.
  void pursue(const row_objective& row, std::span<std::uint32_t> chosen) {
    pursuit_->select(row, chosen);
    exchange_->improve(row, chosen, solver_, options_.exchange_rounds);
    const double found = refine_row(row, chosen, solver_).squared_error;
    pursued_.assign(chosen.begin(), chosen.end());
    select_largest_magnitude(row.spectrum, chosen);
    if (found <= refine_row(row, chosen, solver_).squared_error)
      std::copy(pursued_.begin(), pursued_.end(), chosen.begin());
  }

  const spectral_problem<Transform>& problem_;
  const fit_options& options_;
  std::vector<double> scores_;
  std::vector<std::uint32_t> pursued_;
  std::optional<orthogonal_pursuit<>> pursuit_;
  std::optional<support_exchange<>> exchange_;
  support_solver<> solver_;
};

template <class T>
T stored(double value, std::size_t row) {
  const T x = [&] {
    if constexpr (std::is_same_v<T, double> || std::is_same_v<T, float>)
      return static_cast<T>(value);
    else
      return T(static_cast<float>(value));
  }();
  if (!is_finite(static_cast<arithmetic_t<T>>(x)))
    throw value_error("fit: a coefficient of row " + std::to_string(row) + " is outside the range of the type");
  return x;
}

}  // namespace detail

/// Positions of the non-zeros within the rows' budgets.
/// @param budgets  one a row, each at most `in`
/// @par Cost  pursuit: in p_i² / 2 a row, and 4 in² bytes; the others: O(in) a row
template <class Transform>
sparse_support select(const spectral_problem<Transform>& problem, std::span<const std::uint32_t> budgets,
                      const fit_options& options, const executor& where = default_executor()) {
  if (budgets.size() != problem.rows())
    throw shape_error("select: " + std::to_string(budgets.size()) + " budgets for " + std::to_string(problem.rows()) +
                      " rows");
  for (std::size_t r = 0; r < budgets.size(); ++r)
    if (budgets[r] > problem.cols())
      throw value_error("select: the budget of row " + std::to_string(r) +
                        " exceeds in = " + std::to_string(problem.cols()));
  sparse_support support(budgets, problem.cols());
  std::optional<spectral_correlation> gram;
  if (options.selection == selection::pursuit) gram.emplace(problem.correlation(options.damping, where));
  parallel_for(where, problem.rows(), detail::fit_grain, [&](std::size_t begin, std::size_t end) {
    detail::row_selector<Transform> selector(problem, options, gram ? &*gram : nullptr);
    for (std::size_t r = begin; r < end; ++r)
      if (budgets[r] != 0) selector.select(r, support.row(r));
  });
  return support;
}

/// Values on a support, refined or (options.refine false) those of E's own spectrum. A refined row's error is never
/// above that of a row of zeros.
template <class T = float, class Transform>
fit_result<T> refine(const spectral_problem<Transform>& problem, const sparse_support& support,
                     const fit_options& options, const executor& where = default_executor()) {
  const std::size_t rows = problem.rows();
  if (support.rows() != rows || support.cols != problem.cols())
    throw shape_error("refine: the support is not of the layer's shape");
  std::vector<T> values(support.columns.size());
  std::vector<double> squared(rows);
  parallel_for(where, rows, detail::fit_grain, [&](std::size_t begin, std::size_t end) {
    support_solver<> solver;
    std::vector<double> kept;
    for (std::size_t r = begin; r < end; ++r) {
      const row_objective row = problem.objective(r, options.damping);
      const std::span<const std::uint32_t> columns = support.row(r);
      if (!options.refine) solver.gather(row, columns);
      const std::span<const double> f = options.refine ? refine_row(row, columns, solver).values : solver.spectrum();
      kept.resize(f.size());
      for (std::size_t k = 0; k < f.size(); ++k) {
        const T value = detail::stored<T>(f[k], r);
        values[support.offsets[r] + k] = value;
        kept[k] = static_cast<double>(static_cast<arithmetic_t<T>>(value));
      }
      squared[r] = solver.squared_error(kept);
    }
  });
  fit_result<T> result{sparse_spectrum<T>(rows, support.cols, support.offsets, support.columns, std::move(values)),
                       0,
                       0,
                       {problem.row_errors().begin(), problem.row_errors().end()},
                       std::vector<double>(rows)};
  double before = 0, after = 0;
  for (std::size_t r = 0; r < rows; ++r) {
    before += result.row_error_before[r] * result.row_error_before[r];
    after += squared[r];
    result.row_error_after[r] = std::sqrt(squared[r]);
  }
  result.error_before = std::sqrt(before);
  result.error_after = std::sqrt(after);
  return result;
}

/// Fits an adapter to a layer whose spectral form is known: several methods on one layer share it.
/// @throws value_error when parameters is 0 or above out * in, or damping is negative, NaN or infinite; see `ada_alloc`
template <class T = float, class Transform>
fit_result<T> fit(const spectral_problem<Transform>& problem, const fit_options& options,
                  const executor& where = default_executor()) {
  if (options.parameters == 0 || options.parameters > problem.rows() * problem.cols())
    throw value_error("fit: parameters = " + std::to_string(options.parameters) +
                      " must be in 1 … out * in = " + std::to_string(problem.rows() * problem.cols()));
  if (!is_finite(options.damping) || options.damping < 0)
    throw value_error("fit: damping must be finite and not negative");
  if (options.selection < selection::random || options.selection > selection::reference)
    throw value_error("fit: selection = " + std::to_string(static_cast<int>(options.selection)) +
                      " is none of the strategies");
  const std::vector<std::uint32_t> budgets =
      ada_alloc(problem.row_errors(), options.parameters, problem.cols(), options.temperature);
  const sparse_support support = select(problem, budgets, options, where);
  return refine<T>(problem, support, options, where);
}

/// The whole recipe: an adapter F for W0 ≈ WQ + F T that makes ‖(W0 - WQ - F T) X‖ small.
/// @tparam T    what coefficients are stored in: float, double, half, bfloat16
/// @param w     pre-trained weight W0 [out, in]
/// @param base  its quantization WQ
/// @param s     second moment S = X Xᵀ of the layer's input
/// @par Cost    one product of [out, in] with [in, in], transforms, a small solve a row; 12 bytes a weight and 8 in²
/// @par Numerics  double; error_after is within 1e-5 of the best on the same support; same bits on any executor
/// @throws shape_error; unsupported_order; value_error that names the parameter or row and the rule. See `fit`.
template <class T = float, class Q, class Transform = wht<native>>
fit_result<T> initialize(rows_view<const float> w, const quantized_matrix<Q>& base, const second_moment& s,
                         const fit_options& options, const executor& where = default_executor()) {
  const spectral_moment<Transform> moment(s, where);                  // G = T S Tᵀ
  const spectral_problem<Transform> problem(w, base, moment, where);  // C = (W0 - WQ) Tᵀ, B = C G, ‖(E X)_i‖
  return fit<T>(problem, options, where);                             // AdaAlloc, selection, refinement
}

/// ‖(W0 - W) X‖ = sqrt(tr(E S Eᵀ)) of any approximation W of a weight: to judge on text that was not fitted.
/// @param w, approximation  [out, in]     @param s  second moment of the layer's input
/// @par Cost  half a product of [out, in] with [in, in] in double
template <class Isa = isa>
double layer_error(rows_view<const float> w, rows_view<const float> approximation, const second_moment& s,
                   const executor& where = default_executor()) {
  if (w.rows != approximation.rows || w.cols != approximation.cols || w.cols != s.in())
    throw shape_error("layer_error: weight, approximation and second moment must have the same rows and in");
  for (const auto& view : {w, approximation})
    if (!view.well_formed())
      throw shape_error("layer_error: the weight or its approximation has no data or a stride below its columns");
  constexpr std::size_t slab = 64, tile = 128;
  std::vector<double> squared((w.rows + slab - 1) / slab);
  parallel_for(where, w.rows, slab, [&](std::size_t begin, std::size_t end) {
    const detail::single_thread guard;
    const auto rows = static_cast<Eigen::Index>(end - begin), in = static_cast<Eigen::Index>(w.cols);
    detail::double_rows e(rows, in), se(rows, static_cast<Eigen::Index>(tile));
    for (std::size_t r = begin; r < end; ++r)
      for (std::size_t j = 0; j < w.cols; ++j)
        e(static_cast<Eigen::Index>(r - begin), static_cast<Eigen::Index>(j)) =
            static_cast<double>(w(r, j)) - static_cast<double>(approximation(r, j));
    if (!e.allFinite())
      throw value_error("layer_error: a row of " + std::to_string(begin) + " … " + std::to_string(end - 1) +
                        " holds NaN or infinity");
    // e S eᵀ by tiles of the upper triangle of S: those off the diagonal count twice.
    double sum = 0;
    for (Eigen::Index first = 0; first < in; first += static_cast<Eigen::Index>(tile)) {
      const Eigen::Index cols = std::min(static_cast<Eigen::Index>(tile), in - first);
      const auto columns = detail::map(s.values()).middleCols(first, cols);
      auto product = se.leftCols(cols);
      product.noalias() = 2 * e.leftCols(first) * columns.topRows(first);
      product.noalias() += e.middleCols(first, cols) * columns.middleRows(first, cols);
      sum += product.cwiseProduct(e.middleCols(first, cols)).sum();
    }
    squared[begin / slab] = sum;
  });
  return std::sqrt(std::max(0.0, std::accumulate(squared.begin(), squared.end(), 0.0)));
}

}  // namespace qwha::inline QWHA_ISA
