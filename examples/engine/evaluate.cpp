// SPDX-License-Identifier: MIT
#include "evaluate.hpp"

#include <algorithm>
#include <limits>
#include <string>

#include <qwha/base/error.hpp>
#include <qwha/base/finite.hpp>

#include "eigen_view.hpp"
#include "graph.hpp"

namespace engine {
namespace {

constexpr std::size_t tile_tokens = 512;       // rows whose logits one task holds
constexpr std::size_t tile_vocabulary = 512;   // and tokens of the vocabulary: 1 MB of logits
constexpr std::size_t slab_vocabulary = 4096;  // rows of the head decoded at a time, shared by all tasks
constexpr std::size_t rows_per_read = 64;
constexpr std::size_t batch_predictions = 8192;  // rows that share one pass over the vocabulary

// log of the sum of exponentials of a stream of values.
struct running_logsumexp {
  float largest = -std::numeric_limits<float>::infinity();
  double sum = 0;  // of exp(value - largest)

  template <class Row>
  void add(const Row& values) {
    const float m = values.maxCoeff();
    if (m > largest) {
      sum *= std::exp(static_cast<double>(largest) - static_cast<double>(m));
      largest = m;
    }
    sum += static_cast<double>((values - largest).exp().sum());
  }
  double value() const noexcept { return static_cast<double>(largest) + std::log(sum); }
};

}  // namespace

token_windows make_windows(std::span<const token> tokens, std::size_t context, token bos, std::size_t max_tokens) {
  if (context < 4) throw qwha::value_error("a window needs a context of at least 4 tokens");
  if (tokens.empty()) throw qwha::value_error("the text is empty");
  if (tokens.size() < context)
    throw qwha::value_error("the text has " + std::to_string(tokens.size()) + " tokens, fewer than one window of " +
                            std::to_string(context));
  if (max_tokens != 0 && max_tokens < context)
    throw qwha::value_error("at most " + std::to_string(max_tokens) +
                            " tokens were asked for, fewer than one window of " + std::to_string(context));
  const std::size_t size = max_tokens == 0 ? tokens.size() : std::min(tokens.size(), max_tokens);
  token_windows w{{tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(size / context * context)}, context};
  if (bos >= 0)
    for (std::size_t t = 0; t < w.tokens.size(); t += context) w.tokens[t] = bos;
  return w;
}

void negative_log_likelihood(const model& m, rows_view<const float> normed, std::span<const token> targets,
                             std::span<double> nll, const executor& where) {
  const weight_source& head = m.head().weights();
  const std::size_t vocabulary = head.rows();
  const float cap = m.config().final_softcap;
  if (normed.cols != head.cols() || normed.rows != targets.size() || normed.rows != nll.size())
    throw qwha::shape_error("negative_log_likelihood: hidden states, targets and results do not fit each other");
  for (const token t : targets)
    if (t < 0 || static_cast<std::size_t>(t) >= vocabulary)
      throw qwha::value_error("negative_log_likelihood: target " + std::to_string(t) + " is outside the vocabulary");

  std::vector<running_logsumexp> sums(normed.rows);
  std::vector<float> target_logit(normed.rows);
  matrix slab(std::min(slab_vocabulary, vocabulary), head.cols());
  for (std::size_t first = 0; first < vocabulary; first += slab.rows()) {
    const rows_view<float> rows = slab.view().rows_from(0, std::min(slab.rows(), vocabulary - first));
    qwha::parallel_for(where, rows.rows, rows_per_read, [&](std::size_t begin, std::size_t end) {
      head.read(first + begin, rows.rows_from(begin, end - begin));
    });
    qwha::parallel_for(where, normed.rows, tile_tokens, [&](std::size_t begin, std::size_t end) {
      matrix scratch(end - begin, tile_vocabulary);
      for (std::size_t v = 0; v < rows.rows; v += tile_vocabulary) {
        const std::size_t count = std::min(tile_vocabulary, rows.rows - v);
        const rows_view<float> logits{scratch.row(0), end - begin, count};
        eigen(logits).noalias() = eigen(normed.rows_from(begin, end - begin)) *
                                  eigen(rows_view<const float>(rows.rows_from(v, count))).transpose();
        for (std::size_t t = begin; t < end; ++t) {
          auto row = eigen_row(logits, t - begin);
          if (cap > 0) row = cap * (row / cap).tanh();
          sums[t].add(row);
          const std::size_t target = static_cast<std::size_t>(targets[t]) - first - v;  // wraps when it lies before
          if (target < count) target_logit[t] = row[static_cast<Eigen::Index>(target)];
        }
      }
    });
  }
  for (std::size_t t = 0; t < normed.rows; ++t) {
    nll[t] = sums[t].value() - static_cast<double>(target_logit[t]);
    if (!qwha::is_finite(nll[t])) throw qwha::value_error("the logits of a token are not finite");
  }
}

likelihood evaluate(const model& m, const token_windows& windows, rows_view<const float> hidden, const progress& report,
                    const executor& where) {
  if (hidden.rows != windows.tokens.size() || hidden.cols != m.config().hidden)
    throw qwha::shape_error("evaluate: the hidden states do not fit the windows");
  const std::size_t context = windows.context, begin = context / 2, counted = context - 1 - begin;
  const std::size_t per_batch = std::max<std::size_t>(1, batch_predictions / counted);
  matrix normed(std::min(per_batch, windows.count()) * counted, hidden.cols);
  std::vector<token> targets;
  std::vector<double> nll;
  likelihood total;
  for (std::size_t first = 0; first < windows.count(); first += per_batch) {
    const std::size_t last = std::min(windows.count(), first + per_batch);
    targets.clear();
    for (std::size_t w = first; w < last; ++w)
      for (std::size_t p = w * context + begin; p + 1 < (w + 1) * context; ++p) {
        std::copy_n(hidden.row(p), hidden.cols, normed.row(targets.size()));
        targets.push_back(windows.tokens[p + 1]);
      }
    nll.resize(targets.size());
    const rows_view<float> part = normed.view().rows_from(0, targets.size());
    m.final_norm(part, where);
    negative_log_likelihood(m, part, targets, nll, where);
    for (const double n : nll) total.nll += n;
    total.tokens += nll.size();
    if (report) report(last, windows.count());
  }
  return total;
}

matrix run_blocks(const model& m, const token_windows& windows, const progress& report, const executor& where) {
  matrix hidden(windows.tokens.size(), m.config().hidden);
  m.embed(windows.tokens, hidden.view());
  for (std::size_t layer = 0; layer < m.layers(); ++layer) {
    forward_block(m.config(), layer, m.load_block(layer), hidden.view(), windows.context, {}, where);
    if (report) report(layer + 1, m.layers());
  }
  return hidden;
}

std::vector<token> greedy(const model& m, std::span<const block_weights> blocks, std::span<const token> prompt,
                          std::size_t count, const executor& where) {
  if (prompt.empty()) throw qwha::value_error("greedy: the prompt is empty");
  if (blocks.size() != m.layers()) throw qwha::shape_error("greedy: one block per layer is needed");
  std::vector<layer_cache> caches(m.layers());
  matrix logits(1, m.config().vocabulary);
  std::vector<token> next(prompt.begin(), prompt.end()), made;
  while (made.size() < count) {
    matrix hidden(next.size(), m.config().hidden);
    m.embed(next, hidden.view());
    for (std::size_t layer = 0; layer < m.layers(); ++layer)
      forward_block(m.config(), layer, blocks[layer], hidden.view(), caches[layer], where);
    const rows_view<float> last = hidden.view().rows_from(next.size() - 1, 1);
    m.final_norm(last, where);
    m.logits(last, logits.view(), where);
    const auto best = std::max_element(logits.row(0), logits.row(0) + logits.cols());
    next.assign(1, static_cast<token>(best - logits.row(0)));
    if (m.has_text() && next.front() == m.text().eos()) break;
    made.push_back(next.front());
  }
  return made;
}

}  // namespace engine
