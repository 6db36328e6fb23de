// SPDX-License-Identifier: MIT
// perplexity MODEL TEXT [CONTEXT [MAX_TOKENS]]
//
// How well a model on disk predicts a text, by llama.cpp's convention, and what it writes after the text's first 64
// tokens.

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <qwha/base/error.hpp>

#include "evaluate.hpp"
#include "model.hpp"

namespace {

std::size_t number(std::string_view text) {
  std::size_t n = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (problem != std::errc() || end != text.data() + text.size())
    throw qwha::value_error(std::string(text) + " is not a number");
  return n;
}

int run(std::span<char*> arguments) {
  const engine::model m(arguments[1]);
  std::ifstream in(arguments[2], std::ios::binary);
  if (!in) throw qwha::io_error(std::string(arguments[2]) + ": cannot be opened");
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  const std::size_t context = arguments.size() > 3 ? number(arguments[3]) : 512;
  const std::vector<engine::token> tokens = m.text().encode(text, true);
  const engine::token_windows windows =
      engine::make_windows(tokens, context, m.text().bos(), arguments.size() > 4 ? number(arguments[4]) : 0);
  std::printf("%s: %zu layers of width %zu, %zu windows of %zu tokens\n", m.name().c_str(), m.layers(),
              m.config().hidden, windows.count(), context);

  using clock = std::chrono::steady_clock;
  const auto seconds_since = [](clock::time_point start) {
    return std::chrono::duration<double>(clock::now() - start).count();
  };
  const auto report = [](const char* what) {
    return [what](std::size_t done, std::size_t total) { std::fprintf(stderr, "\r%s %zu of %zu ", what, done, total); };
  };
  const auto start = clock::now();
  const engine::matrix hidden = engine::run_blocks(m, windows, report("layer"));
  const double blocks = seconds_since(start);
  const engine::likelihood l = engine::evaluate(m, windows, hidden.view(), report("window"));
  const double all = seconds_since(start);
  std::fprintf(stderr, "\n");
  std::printf("perplexity %.4f over %zu tokens\n", l.perplexity(), l.tokens);
  std::printf("blocks: %.1f s, %.0f tokens/s; logits: %.1f s, %.0f tokens/s\n", blocks,
              static_cast<double>(windows.tokens.size()) / blocks, all - blocks,
              static_cast<double>(l.tokens) / (all - blocks));

  std::vector<engine::block_weights> dense;
  for (std::size_t layer = 0; layer < m.layers(); ++layer) dense.push_back(m.load_block(layer));
  const std::span<const engine::token> prompt = std::span(tokens).first(std::min<std::size_t>(64, tokens.size()));
  const std::vector<engine::token> next = engine::greedy(m, dense, prompt, 32);
  std::printf("after %zu tokens it writes: %s\n", prompt.size(), m.text().decode(next).c_str());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::span arguments(argv, static_cast<std::size_t>(argc));
  if (arguments.size() < 3 || arguments.size() > 5) {
    std::fprintf(stderr, "usage: perplexity MODEL TEXT [CONTEXT [MAX_TOKENS]]\n");
    return 2;
  }
  try {
    return run(arguments);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "perplexity: %s\n", e.what());
    return 1;
  }
}
