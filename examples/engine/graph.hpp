// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// The forward pass of one block over many sequences at once, and the pieces that it is made of.

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "block.hpp"
#include "model_config.hpp"

namespace engine {

/// Called with the input [tokens, in] of linear layers, batch after batch of whole sequences, in the caller's thread.
/// The role is the first that reads this input (`input_of`): attn_q, attn_output, ffn_gate, ffn_down. It may throw to
/// stop.
using observer = std::function<void(linear_role role, rows_view<const float> input)>;

/// hidden [sequences * context, hidden] <- block(hidden), in place; every sequence starts at position 0.
/// Works in batches of a few thousand tokens, so that scratch stays below 100 MB at the width of Gemma 3 270M.
/// @throws qwha::shape_error when hidden.rows is no multiple of context or hidden.cols is not the model's width
void forward_block(const model_config& config, std::size_t layer, const block_weights& block, rows_view<float> hidden,
                   std::size_t context, const observer& watch = {}, const executor& where = default_executor());

/// The inputs of one role alone, while the layers behind it are still to be made: `hidden` goes into the block, stays as
/// it is, and comes no further than `role`.
/// @param role  one that `watch` is called with: attn_q, attn_output, ffn_gate or ffn_down
/// @throws qwha::shape_error as `forward_block`
void watch_input(const model_config& config, std::size_t layer, const block_weights& block,
                 rows_view<const float> hidden, std::size_t context, linear_role role, const observer& watch,
                 const executor& where = default_executor());

/// Keys (turned) and values of one layer for the tokens seen so far.
struct layer_cache {
  std::vector<float> keys, values;  // [tokens, kv_width]
  std::size_t tokens = 0;
};
/// The same for one sequence that goes on: hidden [new tokens, hidden] follow the tokens in `cache`, and are appended.
void forward_block(const model_config& config, std::size_t layer, const block_weights& block, rows_view<float> hidden,
                   layer_cache& cache, const executor& where = default_executor());

/// y = x / rms(x) * weight, every `weight.size()` values of a row on their own (a row may hold several heads). In place
/// allowed.
void rms_norm(rows_view<const float> x, std::span<const float> weight, float epsilon, rows_view<float> y,
              const executor& where = default_executor());

/// Rotary position embedding of one layer: the sines and cosines of positions first … first + count - 1.
class rotary {
 public:
  rotary(const model_config& config, std::size_t layer, std::size_t count, std::size_t first = 0);
  /// Turns x [tokens, heads * head_dim] in place; row t stands at position first + t % count.
  void apply(rows_view<float> x, const executor& where = default_executor()) const;

 private:
  std::size_t half_, count_;
  bool interleaved_;
  matrix cosine_, sine_;  // [count, head_dim / 2]
};

}  // namespace engine
