// SPDX-License-Identifier: MIT
#include "linear.hpp"

#include <algorithm>
#include <cstring>
#include <string>

#include <qwha/base/error.hpp>

#include "eigen_view.hpp"

namespace engine {
namespace {

constexpr std::size_t tile_tokens = 512;   // each tile packs both operands anew: large enough to hide that,
constexpr std::size_t tile_outputs = 256;  // small enough that two threads share the work evenly
constexpr std::size_t slab_floats = std::size_t{1} << 21;  // 8 MB of weights written out at a time
constexpr std::size_t rows_per_read = 16;

}  // namespace

void dense_weights::read(std::size_t first, rows_view<float> out) const {
  for (std::size_t r = 0; r < out.rows; ++r) std::copy_n(w_.row(first + r), out.cols, out.row(r));
}

void multiply_transposed(rows_view<const float> x, rows_view<const float> w, rows_view<float> y,
                         const executor& where) {
  const std::size_t across = (w.rows + tile_outputs - 1) / tile_outputs;
  const std::size_t down = (x.rows + tile_tokens - 1) / tile_tokens;
  qwha::parallel_for(where, across * down, 1, [&](std::size_t tile, std::size_t) {
    const std::size_t t = tile / across * tile_tokens, o = tile % across * tile_outputs;
    const std::size_t tokens = std::min(tile_tokens, x.rows - t), outputs = std::min(tile_outputs, w.rows - o);
    eigen(rows_view<float>(y.row(t) + o, tokens, outputs, y.stride)).noalias() =
        eigen(x.rows_from(t, tokens)) * eigen(w.rows_from(o, outputs)).transpose();
  });
}

linear::linear(std::shared_ptr<const weight_source> weights, std::vector<float> bias)
    : weights_(std::move(weights)), bias_(std::move(bias)) {
  if (!bias_.empty() && bias_.size() != out())
    throw qwha::shape_error("linear: a bias of " + std::to_string(bias_.size()) + " values for " +
                            std::to_string(out()) + " outputs");
}

void linear::forward(rows_view<const float> x, rows_view<float> y, const executor& where) const {
  if (x.cols != in() || y.cols != out() || x.rows != y.rows)
    throw qwha::shape_error("linear [" + std::to_string(out()) + ", " + std::to_string(in()) + "]: input [" +
                            std::to_string(x.rows) + ", " + std::to_string(x.cols) + "] and output [" +
                            std::to_string(y.rows) + ", " + std::to_string(y.cols) + "] do not fit");
  if (x.empty() || y.empty()) return;
  if (const rows_view<const float> w = weights_->dense(); !w.empty()) {
    multiply_transposed(x, w, y, where);
  } else if (!weights_->multiply(x, y, where)) {
    matrix slab(std::min(out(), std::max<std::size_t>(1, slab_floats / in())), in());
    for (std::size_t first = 0; first < out(); first += slab.rows()) {
      const rows_view<float> rows = slab.view().rows_from(0, std::min(slab.rows(), out() - first));
      qwha::parallel_for(where, rows.rows, rows_per_read, [&](std::size_t begin, std::size_t end) {
        weights_->read(first + begin, rows.rows_from(begin, end - begin));
      });
      multiply_transposed(x, rows, {y.data + first, y.rows, rows.rows, y.stride}, where);
    }
  }
  if (bias_.empty()) return;
  for (std::size_t t = 0; t < y.rows; ++t)
    for (std::size_t o = 0; o < y.cols; ++o) y(t, o) += bias_[o];
}

}  // namespace engine
