// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// AdaAlloc: how many coefficients each output channel gets (paper section 3.2).

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/base/finite.hpp>

namespace qwha::inline QWHA_ISA {
namespace detail {

/// error^temperature up to a common factor that keeps it at most 1 whatever the range; a row without error has no weight
/// unless all are even. At temperature 1 the factor is a power of two, so that the shares are those of the errors.
inline double allocation_weight(double error, double largest, double temperature) {
  if (temperature == 0) return 1;
  if (temperature == 1) return largest == 0 ? 1 : std::ldexp(error, -1 - std::ilogb(largest));
  if (error == largest) return 1;
  return error == 0 ? 0 : std::exp(temperature * (std::log(error) - std::log(largest)));
}

}  // namespace detail

/// Row budgets p_i = floor(p a_i^t / sum_j a_j^t); what the rounding leaves goes, one each, to the rows with the
/// smallest budgets (the first of equals). A row whose share exceeds `cap` gets `cap`, and the others divide the rest
/// by the same rule.
/// @param row_error    a_i >= 0: ‖(E X)_i‖ in the paper, ‖E_i‖ in its code; all zero: even budgets
/// @param parameters   p, the sum of the budgets, exactly
/// @param cap          the most that a row can take: `in`
/// @param temperature  t >= 0; 0: even budgets, large: all to the rows of largest error
/// @returns one budget a row, 0 <= p_i <= cap
/// @par Cost   O(rows log rows), times the number of rounds in which rows reach the cap (usually one)
/// @throws value_error when an error or the temperature is negative, NaN or infinite, or p > rows * cap
template <class Isa = isa>
std::vector<std::uint32_t> ada_alloc(std::span<const double> row_error, std::size_t parameters, std::size_t cap,
                                     double temperature = 1) {
  const std::size_t rows = row_error.size();
  for (std::size_t i = 0; i < rows; ++i)
    if (!is_finite(row_error[i]) || row_error[i] < 0)
      throw value_error("ada_alloc: the error of row " + std::to_string(i) + " must be finite and not negative");
  if (!is_finite(temperature) || temperature < 0)
    throw value_error("ada_alloc: temperature must be finite and not negative");
  cap = std::min<std::size_t>(cap, std::numeric_limits<std::uint32_t>::max());
  if (parameters != 0 && (rows == 0 || cap == 0 || (parameters - 1) / cap >= rows))
    throw value_error("ada_alloc: parameters = " + std::to_string(parameters) +
                      " exceed rows * cap = " + std::to_string(rows) + " * " + std::to_string(cap));

  const double largest = rows == 0 ? 0 : *std::max_element(row_error.begin(), row_error.end());
  std::vector<double> weight(rows);
  for (std::size_t i = 0; i < rows; ++i) weight[i] = detail::allocation_weight(row_error[i], largest, temperature);

  // Proportional shares among the rows below the cap; rows whose share would pass it are closed and the rest shared
  // anew.
  std::vector<std::uint32_t> budget(rows, 0);
  std::vector<std::size_t> open(rows);
  std::iota(open.begin(), open.end(), std::size_t{0});
  std::size_t left = parameters;
  for (bool closed_one = true; closed_one && left != 0;) {
    double sum = 0;
    for (const std::size_t i : open) sum += weight[i];
    const auto share = [&, p = static_cast<double>(left)](std::size_t i) {
      return sum > 0 ? p * weight[i] / sum : p / static_cast<double>(open.size());
    };
    const auto fits = [&](std::size_t i) { return share(i) <= static_cast<double>(cap); };
    closed_one = !std::all_of(open.begin(), open.end(), fits);
    if (closed_one) {
      std::vector<std::size_t> rest;
      for (const std::size_t i : open) {
        if (fits(i)) {
          rest.push_back(i);
        } else {
          budget[i] = static_cast<std::uint32_t>(cap);
        }
      }
      left -= cap * (open.size() - rest.size());
      open = std::move(rest);
    } else {
      std::size_t given = 0;
      for (const std::size_t i : open) {
        budget[i] = static_cast<std::uint32_t>(std::min(share(i), static_cast<double>(left - given)));
        given += budget[i];
      }
      left -= given;
    }
  }
  // Fewer than the open rows are left, up to rounding: one each to the smallest budgets.
  while (left != 0) {
    std::vector<std::size_t> order;
    for (std::size_t i = 0; i < rows; ++i)
      if (budget[i] < cap) order.push_back(i);
    std::sort(order.begin(), order.end(),
              [&](std::size_t a, std::size_t b) { return budget[a] < budget[b] || (budget[a] == budget[b] && a < b); });
    const std::size_t count = std::min(left, order.size());
    for (std::size_t k = 0; k < count; ++k) ++budget[order[k]];
    left -= count;
  }
  return budget;
}

}  // namespace qwha::inline QWHA_ISA
