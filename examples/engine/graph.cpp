// SPDX-License-Identifier: MIT
#include "graph.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include <qwha/base/error.hpp>
#include <qwha/base/finite.hpp>

#include "eigen_view.hpp"

namespace engine {
namespace {

constexpr std::size_t batch_tokens = 2048;  // tokens that go through a block together
constexpr std::size_t rows_grain = 32;      // tokens per task of the elementwise steps
constexpr std::size_t query_block = 64;     // queries whose scores are held at once

// x += y
void add(rows_view<float> x, rows_view<const float> y, const executor& where) {
  qwha::parallel_for(where, x.rows, rows_grain, [&](std::size_t begin, std::size_t end) {
    for (std::size_t t = begin; t < end; ++t) eigen_row(x, t) += eigen_row(y, t);
  });
}

// gate <- act(gate) * up
void gated_activation(activation act, rows_view<float> gate, rows_view<const float> up, const executor& where) {
  constexpr float sqrt_2_over_pi = 0.7978845608028654f;
  qwha::parallel_for(where, gate.rows, rows_grain, [&](std::size_t begin, std::size_t end) {
    for (std::size_t t = begin; t < end; ++t) {
      auto g = eigen_row(gate, t);
      const auto u = eigen_row(up, t);
      if (act == activation::silu)
        g = g / (1.0f + (-g).exp()) * u;
      else
        g = 0.5f * g * (1.0f + (sqrt_2_over_pi * g * (1.0f + 0.044715f * g.square())).tanh()) * u;
    }
  });
}

// Scores of the queries q [n, head_dim], which stand at positions first … first + n - 1, against keys from position
// `lo` on; each row becomes weights that sum to one over the keys that its query may see.
void masked_softmax(rows_view<float> scores, std::size_t first, std::size_t lo, std::size_t window, float scale) {
  for (std::size_t r = 0; r < scores.rows; ++r) {
    const std::size_t position = first + r;
    const std::size_t begin = (window != 0 && position >= window ? std::max(lo, position - window + 1) : lo) - lo;
    const std::size_t end = position + 1 - lo;
    auto row = eigen_row(scores, r);
    auto seen = row.segment(static_cast<Eigen::Index>(begin), static_cast<Eigen::Index>(end - begin));
    seen = ((seen - seen.maxCoeff()) * scale).exp();
    seen /= seen.sum();
    row.head(static_cast<Eigen::Index>(begin)).setZero();
    row.tail(static_cast<Eigen::Index>(scores.cols - end)).setZero();
  }
}

// Causal attention. queries [sequences * n, heads * head_dim] become the attended values, in place; keys and values
// [sequences * (first + n), kv_heads * head_dim]. Query i of a sequence stands at position first + i.
void attend(const model_config& config, std::size_t layer, rows_view<float> queries, rows_view<const float> keys,
            rows_view<const float> values, std::size_t sequences, std::size_t first, const executor& where) {
  const std::size_t n = queries.rows / sequences, total = keys.rows / sequences, d = config.head_dim;
  const std::size_t window = config.layers[layer].window;
  qwha::parallel_for(where, sequences * config.heads, 1, [&](std::size_t task, std::size_t) {
    const std::size_t sequence = task / config.heads, head = task % config.heads;
    const std::size_t kv = head / (config.heads / config.kv_heads) * d;
    matrix scores(std::min(n, query_block), total), mixed(std::min(n, query_block), d);
    for (std::size_t i = 0; i < n; i += query_block) {
      const std::size_t count = std::min(query_block, n - i), position = first + i;
      const std::size_t lo = window != 0 && position >= window ? position - window + 1 : 0,
                        seen = position + count - lo;
      const rows_view<float> q{queries.row(sequence * n + i) + head * d, count, d, queries.stride};
      const rows_view<const float> k{keys.row(sequence * total + lo) + kv, seen, d, keys.stride};
      const rows_view<const float> v{values.row(sequence * total + lo) + kv, seen, d, values.stride};
      const rows_view<float> s{scores.row(0), count, seen};
      eigen(s).noalias() = eigen(q) * eigen(k).transpose();
      masked_softmax(s, position, lo, window, config.attention_scale);
      const rows_view<float> m{mixed.row(0), count, d};
      eigen(m).noalias() = eigen(s) * eigen(v);
      eigen(q) = eigen(m);
    }
  });
}

// Called with the inputs of a role; false: nothing behind them is wanted.
using checkpoint = std::function<bool(linear_role role, rows_view<const float> input)>;

// One batch of sequences of equal length. With a cache there is one sequence, which goes on where the cache ends.
void forward_batch(const model_config& config, std::size_t layer, const block_weights& block, rows_view<float> hidden,
                   std::size_t sequences, const rotary& turn, layer_cache* cache, const checkpoint& pass,
                   const executor& where) {
  const std::size_t tokens = hidden.rows;
  matrix x(tokens, config.hidden);
  {
    matrix q(tokens, config.query_width()), k(tokens, config.kv_width()), v(tokens, config.kv_width());
    rms_norm(hidden, block.attention_norm, config.norm_epsilon, x.view(), where);
    if (!pass(linear_role::attn_q, x.view())) return;
    block.at(linear_role::attn_q).forward(x.view(), q.view(), where);
    block.at(linear_role::attn_k).forward(x.view(), k.view(), where);
    block.at(linear_role::attn_v).forward(x.view(), v.view(), where);
    if (!block.q_norm.empty()) rms_norm(q.view(), block.q_norm, config.norm_epsilon, q.view(), where);
    if (!block.k_norm.empty()) rms_norm(k.view(), block.k_norm, config.norm_epsilon, k.view(), where);
    turn.apply(q.view(), where);
    turn.apply(k.view(), where);
    rows_view<const float> keys = k.view(), values = v.view();
    std::size_t first = 0;
    if (cache != nullptr) {
      first = cache->tokens;
      cache->keys.insert(cache->keys.end(), k.row(0), k.row(tokens));
      cache->values.insert(cache->values.end(), v.row(0), v.row(tokens));
      cache->tokens += tokens;
      keys = {cache->keys.data(), cache->tokens, config.kv_width()};
      values = {cache->values.data(), cache->tokens, config.kv_width()};
    }
    attend(config, layer, q.view(), keys, values, sequences, first, where);
    if (!pass(linear_role::attn_output, q.view())) return;
    block.at(linear_role::attn_output).forward(q.view(), x.view(), where);
  }
  if (!block.post_attention_norm.empty())
    rms_norm(x.view(), block.post_attention_norm, config.norm_epsilon, x.view(), where);
  add(hidden, x.view(), where);

  matrix gate(tokens, config.intermediate), up(tokens, config.intermediate);
  rms_norm(hidden, block.feed_forward_norm, config.norm_epsilon, x.view(), where);
  if (!pass(linear_role::ffn_gate, x.view())) return;
  block.at(linear_role::ffn_gate).forward(x.view(), gate.view(), where);
  block.at(linear_role::ffn_up).forward(x.view(), up.view(), where);
  gated_activation(config.act, gate.view(), up.view(), where);
  if (!pass(linear_role::ffn_down, gate.view())) return;
  block.at(linear_role::ffn_down).forward(gate.view(), x.view(), where);
  if (!block.post_feed_forward_norm.empty())
    rms_norm(x.view(), block.post_feed_forward_norm, config.norm_epsilon, x.view(), where);
  add(hidden, x.view(), where);

  if (const std::size_t row = qwha::first_non_finite_row<const float>(hidden); row != tokens)
    throw qwha::value_error("blk." + std::to_string(layer) + ": the activations of a token are not finite");
}

// Whole sequences of `context` tokens, a few thousand tokens at a time.
template <class T, class Body>
void for_each_batch(rows_view<T> hidden, std::size_t context, Body&& body) {
  const std::size_t batch = std::max<std::size_t>(1, batch_tokens / context) * context;
  for (std::size_t first = 0; first < hidden.rows; first += batch)
    body(hidden.rows_from(first, std::min(batch, hidden.rows - first)));
}

void check_shape(const model_config& config, rows_view<const float> hidden, std::size_t context) {
  if (hidden.cols != config.hidden || context == 0 || hidden.rows % context != 0)
    throw qwha::shape_error("forward_block: hidden states [" + std::to_string(hidden.rows) + ", " +
                            std::to_string(hidden.cols) + "] are not whole sequences of " + std::to_string(context) +
                            " tokens of width " + std::to_string(config.hidden));
}

}  // namespace

void rms_norm(rows_view<const float> x, std::span<const float> weight, float epsilon, rows_view<float> y,
              const executor& where) {
  const auto width = static_cast<Eigen::Index>(weight.size());
  const Eigen::Map<const Eigen::Array<float, 1, Eigen::Dynamic>> scale(weight.data(), width);
  qwha::parallel_for(where, x.rows, rows_grain, [&](std::size_t begin, std::size_t end) {
    for (std::size_t t = begin; t < end; ++t)
      for (std::size_t c = 0; c < x.cols; c += weight.size()) {
        const auto from = eigen_row(x, t).segment(static_cast<Eigen::Index>(c), width);
        const float mean_square = from.square().sum() / static_cast<float>(width);
        eigen_row(y, t).segment(static_cast<Eigen::Index>(c), width) =
            from * (1.0f / std::sqrt(mean_square + epsilon)) * scale;
      }
  });
}

rotary::rotary(const model_config& config, std::size_t layer, std::size_t count, std::size_t first)
    : half_(config.head_dim / 2),
      count_(count),
      interleaved_(config.interleaved_rope),
      cosine_(count, half_),
      sine_(count, half_) {
  const layer_config& l = config.layers[layer];
  for (std::size_t i = 0; i < half_; ++i) {
    double frequency = std::pow(l.rope_base, -static_cast<double>(i) / static_cast<double>(half_)) / l.rope_scale;
    if (!config.rope_factors.empty()) frequency /= static_cast<double>(config.rope_factors[i]);
    for (std::size_t p = 0; p < count; ++p) {
      const double angle = static_cast<double>(first + p) * frequency;
      cosine_.row(p)[i] = static_cast<float>(std::cos(angle));
      sine_.row(p)[i] = static_cast<float>(std::sin(angle));
    }
  }
}

void rotary::apply(rows_view<float> x, const executor& where) const {
  const std::size_t step = interleaved_ ? 2 : 1, other = interleaved_ ? 1 : half_;
  qwha::parallel_for(where, x.rows, rows_grain, [&](std::size_t begin, std::size_t end) {
    for (std::size_t t = begin; t < end; ++t) {
      const float* c = cosine_.row(t % count_);
      const float* s = sine_.row(t % count_);
      for (float* head = x.row(t); head != x.row(t) + x.cols; head += 2 * half_)
        for (std::size_t i = 0; i < half_; ++i) {
          float& a = head[i * step];
          float& b = head[i * step + other];
          const float turned = a * c[i] - b * s[i];
          b = a * s[i] + b * c[i];
          a = turned;
        }
    }
  });
}

void forward_block(const model_config& config, std::size_t layer, const block_weights& block, rows_view<float> hidden,
                   std::size_t context, const observer& watch, const executor& where) {
  check_shape(config, hidden, context);
  if (hidden.rows == 0) return;
  const rotary turn(config, layer, context);
  const checkpoint pass = [&](linear_role role, rows_view<const float> x) {
    if (watch) watch(role, x);
    return true;
  };
  for_each_batch(hidden, context, [&](rows_view<float> batch) {
    forward_batch(config, layer, block, batch, batch.rows / context, turn, nullptr, pass, where);
  });
}

void watch_input(const model_config& config, std::size_t layer, const block_weights& block,
                 rows_view<const float> hidden, std::size_t context, linear_role role, const observer& watch,
                 const executor& where) {
  check_shape(config, hidden, context);
  if (hidden.rows == 0) return;
  const rotary turn(config, layer, context);
  const checkpoint pass = [&](linear_role reached, rows_view<const float> x) {
    if (reached == role) watch(role, x);
    return reached != role;
  };
  for_each_batch(hidden, context, [&](rows_view<const float> batch) {
    matrix copy(batch);
    forward_batch(config, layer, block, copy.view(), batch.rows / context, turn, nullptr, pass, where);
  });
}

void forward_block(const model_config& config, std::size_t layer, const block_weights& block, rows_view<float> hidden,
                   layer_cache& cache, const executor& where) {
  if (hidden.rows == 0) return;
  check_shape(config, hidden, hidden.rows);
  const rotary turn(config, layer, hidden.rows, cache.tokens);
  const auto pass = [](linear_role, rows_view<const float>) { return true; };
  forward_batch(config, layer, block, hidden, 1, turn, &cache, pass, where);
}

}  // namespace engine
