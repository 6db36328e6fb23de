// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// The plainest solver: every weight becomes the nearest level of its group's grid.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include <qwha/base/config.hpp>
#include <qwha/base/executor.hpp>
#include <qwha/base/rows_view.hpp>
#include <qwha/quant/quantized_matrix.hpp>
#include <qwha/quant/quantizer.hpp>

namespace qwha {

/// Solver policy of `quantize`: round to nearest.
struct round_to_nearest {
  grid_search search = grid_search::min_max;
};

}  // namespace qwha

namespace qwha::inline QWHA_ISA {

/// Fills `out` with the nearest levels of `w`, rows in parallel.
/// @pre  w [rows, cols] is finite and has the shape of `out`, which owns its storage
template <group_quantizer Q>
void solve(const round_to_nearest& solver, rows_view<const float> w, quantized_matrix<Q>& out, const executor& where) {
  constexpr std::size_t weights_per_call = 16384;
  parallel_for(
      where, w.rows, weights_per_call / std::max<std::size_t>(w.cols, 1), [&](std::size_t first, std::size_t last) {
        std::uint8_t codes[Q::block_size];
        for (std::size_t r = first; r < last; ++r) {
          std::byte* code_plane = out.writable_codes(r);
          std::byte* parameter_plane = out.writable_parameters(r);
          for (std::size_t c = 0; c < w.cols; c += Q::block_size) {
            const std::span<const float> weights(w.row(r) + c, std::min<std::size_t>(Q::block_size, w.cols - c));
            const auto group = Q::fit_group(weights, out.local(r, c / Q::block_size), solver.search);
            for (std::size_t i = 0; i < weights.size(); ++i) codes[i] = Q::code(group_part<Q>(group, i), weights[i]);
            for (std::size_t i = weights.size(); i < Q::block_size; ++i)
              codes[i] = Q::code(group_part<Q>(group, i), 0.0f);
            Q::pack(group, codes, code_plane, parameter_plane);
            code_plane += Q::code_bytes;
            parameter_plane += Q::parameter_bytes;
          }
        }
      });
}

}  // namespace qwha::inline QWHA_ISA
