// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Windows of text, and how well a model predicts them: negative log-likelihood and perplexity by llama.cpp's
/// convention.

#include <cmath>
#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "model.hpp"

namespace engine {

/// Whole windows of `context` tokens, one after another.
struct token_windows {
  std::vector<token> tokens;
  std::size_t context = 0;
  std::size_t count() const noexcept { return tokens.size() / context; }
};

/// Cuts `tokens` (encoded with BOS) into whole windows and puts BOS, if there is one (bos >= 0), over the first token
/// of each.
/// @param max_tokens  at most so many tokens, rounded down to whole windows; 0: all
/// @throws qwha::value_error: no tokens, context below 4, fewer tokens than one window
token_windows make_windows(std::span<const token> tokens, std::size_t context, token bos, std::size_t max_tokens = 0);

/// Called after each part of a long step; may throw to stop it.
using progress = std::function<void(std::size_t done, std::size_t total)>;

/// nll[t] = -log softmax(logits of normed hidden row t)[targets[t]]. The vocabulary is decoded and multiplied in slabs,
/// so memory stays at some MB and decoding is shared by all rows: hand over thousands. Products in float, sums over the
/// vocabulary in double.
/// @throws qwha::shape_error, and qwha::value_error when a logit is not finite
void negative_log_likelihood(const model& m, rows_view<const float> normed, std::span<const token> targets,
                             std::span<double> nll, const executor& where = default_executor());

struct likelihood {
  double nll = 0;          ///< sum, in nats
  std::size_t tokens = 0;  ///< how many predictions it sums
  double mean() const noexcept { return nll / static_cast<double>(tokens); }
  double perplexity() const noexcept { return std::exp(mean()); }
};

/// @param hidden  [windows.tokens.size(), hidden] after the last block, before the final norm; of each window the
/// predictions of its
///                second half are counted: tokens context/2 + 1 … context - 1
likelihood evaluate(const model& m, const token_windows& windows, rows_view<const float> hidden,
                    const progress& report = {}, const executor& where = default_executor());

/// Embeds the windows and runs them through all blocks of the file, block after block. For whole runs of the model as
/// it is.
matrix run_blocks(const model& m, const token_windows& windows, const progress& report = {},
                  const executor& where = default_executor());

/// The `count` most likely next tokens after `prompt`, one at a time; stops early at EOS.
/// @param blocks  one per layer: dense, quantized or adapted
std::vector<token> greedy(const model& m, std::span<const block_weights> blocks, std::span<const token> prompt,
                          std::size_t count, const executor& where = default_executor());

}  // namespace engine
