// SPDX-License-Identifier: MIT
// The graphs against a forward pass from the definition, on tiny random models that the test writes itself; windows,
// likelihoods, generation, and files that lie.

#include <algorithm>
#include <cmath>
#include <span>

#include <qwha/base/error.hpp>
#include <qwha/quant/affine.hpp>
#include <qwha/quant/quantize.hpp>

#include <engine/adapted.hpp>
#include <engine/evaluate.hpp>
#include <engine/graph.hpp>
#include <engine/model.hpp>

#include "catch.hpp"
#include "support.hpp"
#include "tiny_model.hpp"

namespace {

using namespace engine_test;
using engine::matrix;
using engine::token;
using qwha::rows_view;

std::vector<token> random_tokens(std::size_t count, std::size_t vocabulary, std::uint64_t seed) {
  const qwha::counter_random random(seed);
  std::vector<token> t(count);
  for (std::size_t i = 0; i < count; ++i)
    t[i] = static_cast<token>(random.below(static_cast<std::uint32_t>(vocabulary), i));
  return t;
}

matrix random_matrix(std::size_t rows, std::size_t cols, std::uint64_t seed) {
  const qwha::counter_random random(seed);
  matrix m(rows, cols);
  for (std::size_t i = 0; i < rows * cols; ++i) m.row(0)[i] = static_cast<float>(2 * random.uniform(i) - 1);
  return m;
}

// Chunks from the last to the first: what must not matter.
qwha::executor backwards() {
  return {nullptr, [](void*, std::size_t chunks, qwha::executor::body_function body, void* context) {
            while (chunks-- > 0) body(context, chunks);
          }};
}

matrix engine_logits(const engine::model& m, const std::vector<token>& tokens, std::size_t context,
                     const qwha::executor& where = qwha::default_executor()) {
  matrix hidden = engine::run_blocks(m, {tokens, context}, {}, where);
  m.final_norm(hidden.view(), where);
  matrix logits(tokens.size(), m.config().vocabulary);
  m.logits(hidden.view(), logits.view(), where);
  return logits;
}

// Engine against the oracle in double; twice the error of the oracle in float is allowed.
void check_logits(const tiny_model& tiny, const engine::model& m) {
  constexpr std::size_t context = 19, windows = 3;
  const auto tokens = random_tokens(context * windows, tiny.vocabulary, 5);
  const matrix got = engine_logits(m, tokens, context);
  for (std::size_t w = 0; w < windows; ++w) {
    const std::vector<token> window(tokens.begin() + static_cast<std::ptrdiff_t>(w * context),
                                    tokens.begin() + static_cast<std::ptrdiff_t>((w + 1) * context));
    const auto exact = naive_logits<double>(tiny, window);
    const auto plain = naive_logits<float>(tiny, window);
    double worst = 0, plain_worst = 0, largest = 0;
    for (std::size_t i = 0; i < exact.size(); ++i) {
      worst = std::max(worst, std::abs(static_cast<double>(got.row(w * context)[i]) - exact[i]));
      plain_worst = std::max(plain_worst, std::abs(static_cast<double>(plain[i]) - exact[i]));
      largest = std::max(largest, std::abs(exact[i]));
    }
    INFO(tiny.kind << " window " << w << ": error " << worst << ", of the plain float pass " << plain_worst
                   << ", largest " << largest);
    CHECK(worst <= 2 * plain_worst + 1e-6 * largest);
  }
}

void expect_format_error(const fs::path& path, const std::string& part) {
  INFO(part);
  try {
    const engine::model m(path);
    for (std::size_t l = 0; l < m.layers(); ++l) (void)m.load_block(l);
    FAIL("was accepted");
  } catch (const qwha::format_error& e) {
    INFO(e.what());
    CHECK(std::string(e.what()).find(part) != std::string::npos);
    CHECK(std::string(e.what()).find(path.filename().string()) != std::string::npos);
  }
}

}  // namespace

TEST_CASE("graphs compute what the definition says, from either kind of file") {
  const temporary_folder folder;
  std::vector<tiny_model> models;
  for (const char* kind : {"gemma3", "llama", "qwen2", "qwen3"}) models.push_back(make_tiny(kind, 11));
  models.push_back(make_tiny("gemma3", 12));
  models.back().softcap = 3;
  for (const tiny_model& tiny : models) {
    write_hugging_face(tiny, folder.path() / "hf");
    check_logits(tiny, engine::model(folder.path() / "hf"));
    write_gguf(tiny, folder.path() / "m.gguf");
    check_logits(tiny, engine::model(folder.path() / "m.gguf"));
  }
  tiny_model llama3 = make_tiny("llama", 13);
  llama3.llama3_scaling = true;
  write_hugging_face(llama3, folder.path() / "hf");
  check_logits(llama3, engine::model(folder.path() / "hf"));
}

TEST_CASE("the order of tasks changes no bit") {
  const temporary_folder folder;
  const tiny_model tiny = make_tiny("gemma3", 21);
  write_gguf(tiny, folder.path() / "m.gguf");
  const engine::model m(folder.path() / "m.gguf");
  const auto tokens = random_tokens(2600, tiny.vocabulary, 6);
  const matrix a = engine_logits(m, tokens, 20, qwha::executor::serial()),
               b = engine_logits(m, tokens, 20, backwards());
  const matrix c = engine_logits(m, tokens, 20);
  CHECK(std::equal(a.row(0), a.row(0) + a.rows() * a.cols(), b.row(0)));
  CHECK(std::equal(a.row(0), a.row(0) + a.rows() * a.cols(), c.row(0)));
}

TEST_CASE("the observer sees the inputs of the linear layers, all tokens once") {
  const temporary_folder folder;
  const tiny_model tiny = make_tiny("llama", 31);
  write_gguf(tiny, folder.path() / "m.gguf");
  const engine::model m(folder.path() / "m.gguf");
  const engine::block_weights block = m.load_block(0);
  const std::size_t context = 100, tokens = 45 * context;  // more than one batch
  matrix hidden(tokens, tiny.hidden);
  m.embed(random_tokens(tokens, tiny.vocabulary, 7), hidden.view());
  matrix normed(tokens, tiny.hidden);
  engine::rms_norm(hidden.view(), block.attention_norm, m.config().norm_epsilon, normed.view());
  std::map<engine::linear_role, std::size_t> seen;
  bool same = true;
  engine::forward_block(m.config(), 0, block, hidden.view(), context,
                        [&](engine::linear_role role, rows_view<const float> x) {
                          CHECK(x.cols == block.at(role).in());
                          CHECK(engine::input_of(role) == role);
                          for (std::size_t r = 0; role == engine::linear_role::attn_q && r < x.rows; ++r)
                            same = same && std::equal(x.row(r), x.row(r) + x.cols, normed.row(seen[role] + r));
                          seen[role] += x.rows;
                        });
  CHECK(same);
  REQUIRE(seen.size() == 4);
  for (const auto& [role, count] : seen) CHECK(count == tokens);
  CHECK_THROWS_AS(engine::forward_block(m.config(), 0, block, hidden.view(), 101), qwha::shape_error);
}

TEST_CASE("the inputs of one role are those that the whole block would give it, and the hidden states stay") {
  const temporary_folder folder;
  const tiny_model tiny = make_tiny("gemma3", 33);
  write_gguf(tiny, folder.path() / "m.gguf");
  const engine::model m(folder.path() / "m.gguf");
  const engine::block_weights block = m.load_block(1);
  const std::size_t context = 100, tokens = 45 * context;  // more than one batch
  matrix hidden(tokens, tiny.hidden);
  m.embed(random_tokens(tokens, tiny.vocabulary, 8), hidden.view());
  const auto collect = [](std::map<engine::linear_role, std::vector<float>>& into) {
    return [&into](engine::linear_role role, rows_view<const float> x) {
      for (std::size_t r = 0; r < x.rows; ++r) into[role].insert(into[role].end(), x.row(r), x.row(r) + x.cols);
    };
  };
  std::map<engine::linear_role, std::vector<float>> whole, single;
  matrix out(hidden.view());
  engine::forward_block(m.config(), 1, block, out.view(), context, collect(whole));
  const matrix before(hidden.view());
  for (const auto& [role, values] : whole) {
    engine::block_weights unfinished = block;  // nothing from the role on is looked at
    for (const engine::linear_role later : engine::all_roles)
      if (later >= role) unfinished.at(later) = engine::linear();
    engine::watch_input(m.config(), 1, unfinished, hidden.view(), context, role, collect(single));
  }
  CHECK(whole.size() == 4);
  CHECK(whole == single);
  CHECK(std::equal(hidden.row(0), hidden.row(0) + tokens * tiny.hidden, before.row(0)));
}

TEST_CASE("likelihoods are those of the logits, counted by windows") {
  const temporary_folder folder;
  tiny_model tiny = make_tiny("gemma3", 41);
  tiny.softcap = GENERATE(0.0, 2.0);
  tiny.vocabulary = 4500;  // more than one slab
  const qwha::counter_random random(8);
  auto& embedding = tiny.weights.at("model.embed_tokens.weight");
  embedding.shape[0] = tiny.vocabulary;
  embedding.values.resize(tiny.vocabulary * tiny.hidden);
  for (std::size_t i = 0; i < embedding.values.size(); ++i)
    embedding.values[i] = static_cast<float>(random.uniform(i) - 0.5);
  write_gguf(tiny, folder.path() / "m.gguf");
  const engine::model m(folder.path() / "m.gguf");
  constexpr std::size_t context = 11;
  const auto text = random_tokens(40, tiny.vocabulary, 9);
  const engine::token_windows windows = engine::make_windows(text, context, 7);
  REQUIRE(windows.count() == 3);
  CHECK(windows.tokens[context] == 7);
  CHECK(windows.tokens[context + 1] == text[context + 1]);
  double want = 0;
  std::size_t counted = 0;
  for (std::size_t w = 0; w < 3; ++w) {
    const std::vector<token> part(windows.tokens.begin() + static_cast<std::ptrdiff_t>(w * context),
                                  windows.tokens.begin() + static_cast<std::ptrdiff_t>((w + 1) * context));
    const auto logits = naive_logits<double>(tiny, part);
    for (std::size_t p = context / 2; p + 1 < context; ++p, ++counted) {
      double sum = 0;
      for (std::size_t v = 0; v < tiny.vocabulary; ++v) sum += std::exp(logits[p * tiny.vocabulary + v]);
      want += std::log(sum) - logits[p * tiny.vocabulary + static_cast<std::size_t>(part[p + 1])];
    }
  }
  std::size_t reports = 0;
  const engine::likelihood got =
      engine::evaluate(m, windows, engine::run_blocks(m, windows).view(),
                       [&](std::size_t done, std::size_t total) { reports += done == total; });
  CHECK(reports == 1);
  CHECK(got.tokens == counted);
  CHECK(got.nll == Approx(want).epsilon(1e-6));
  CHECK(got.perplexity() == Approx(std::exp(want / static_cast<double>(counted))).epsilon(1e-6));
}

TEST_CASE("windows need text") {
  const std::vector<token> tokens(20, 3);
  CHECK(engine::make_windows(tokens, 8, -1).tokens == std::vector<token>(16, 3));
  CHECK(engine::make_windows(tokens, 8, 1, 15).count() == 1);
  CHECK_THROWS_WITH(engine::make_windows({}, 8, 1), contains("empty"));
  CHECK_THROWS_WITH(engine::make_windows(tokens, 21, 1), contains("fewer than one window"));
  CHECK_THROWS_WITH(engine::make_windows(tokens, 8, 1, 7), contains("fewer than one window"));
  CHECK_THROWS_AS(engine::make_windows(tokens, 3, 1), qwha::value_error);
}

TEST_CASE("generation with a cache picks what the whole sequence would") {
  const temporary_folder folder;
  const tiny_model tiny = make_tiny("gemma3", 51);
  write_gguf(tiny, folder.path() / "m.gguf");
  const engine::model m(folder.path() / "m.gguf");
  std::vector<engine::block_weights> blocks;
  for (std::size_t l = 0; l < m.layers(); ++l) blocks.push_back(m.load_block(l));
  std::vector<token> sequence = random_tokens(9, tiny.vocabulary, 10);
  const std::vector<token> made = engine::greedy(m, blocks, sequence, 12);
  REQUIRE(made.size() == 12);
  for (const token t : made) {
    const auto logits = naive_logits<double>(tiny, sequence);
    const auto last = logits.end() - static_cast<std::ptrdiff_t>(tiny.vocabulary);
    CHECK(std::max_element(last, logits.end()) - last == t);
    sequence.push_back(t);
  }
  CHECK_THROWS_AS(engine::greedy(m, blocks, {}, 1), qwha::value_error);
}

TEST_CASE("a sequence in pieces through the cache is the sequence in one") {
  const temporary_folder folder;
  const tiny_model tiny = make_tiny("gemma3", 52);
  write_gguf(tiny, folder.path() / "m.gguf");
  const engine::model m(folder.path() / "m.gguf");
  constexpr std::size_t n = 17;
  const auto tokens = random_tokens(n, tiny.vocabulary, 12);
  matrix whole(n, tiny.hidden), pieces(n, tiny.hidden);
  m.embed(tokens, whole.view());
  m.embed(tokens, pieces.view());
  for (std::size_t layer = 0; layer < m.layers(); ++layer) {
    const engine::block_weights block = m.load_block(layer);
    engine::forward_block(m.config(), layer, block, whole.view(), n);
    engine::layer_cache cache;
    for (const auto& [first, count] : {std::pair<std::size_t, std::size_t>{0, 6}, {6, 1}, {7, 8}, {15, 2}})
      engine::forward_block(m.config(), layer, block, pieces.view().rows_from(first, count), cache);
    CHECK(cache.tokens == n);
  }
  double worst = 0, largest = 0;
  for (std::size_t i = 0; i < n * tiny.hidden; ++i) {
    worst = std::max(worst, std::abs(static_cast<double>(whole.row(0)[i]) - static_cast<double>(pieces.row(0)[i])));
    largest = std::max(largest, std::abs(static_cast<double>(whole.row(0)[i])));
  }
  INFO("difference " << worst << ", largest " << largest);
  CHECK(worst < 1e-5 * largest);  // sums in another order
}

TEST_CASE("a linear layer multiplies alike in every form") {
  using format = qwha::affine<4, 16>;
  for (const std::size_t tokens : {std::size_t{1}, std::size_t{5}, std::size_t{700}}) {
    const std::size_t out = 300, in = 48;
    const matrix w = random_matrix(out, in, 61), x = random_matrix(tokens, in, 62);
    const qwha::quantized_matrix<format> q = qwha::quantize<format>(w.view());
    std::vector<std::size_t> offsets(out + 1);
    std::vector<std::uint32_t> columns;
    std::vector<float> values;
    for (std::size_t r = 0; r < out; ++r) {
      for (std::uint32_t c = static_cast<std::uint32_t>(r % 7); c < in; c += 11)
        columns.push_back(c), values.push_back(0.1f * static_cast<float>(c) - 1);
      offsets[r + 1] = columns.size();
    }
    using adapter = qwha::sparse_spectral_adapter<float, format>;
    const adapter spectral(q, {out, in, offsets, columns, values});
    const qwha::low_rank_adapter<format> low_rank(q, 3, [&] {
      const matrix v = random_matrix(1, 3 * (out + in), 63);
      return std::vector<float>(v.row(0), v.row(0) + v.cols());
    }());
    const std::vector<float> bias(out, 0.25f);
    matrix merged(out, in), merged_low(out, in), plain(out, in);
    spectral.merge(merged.view());
    low_rank.merge(merged_low.view());
    q.dequantize(plain.view());
    const auto check = [&](const engine::linear& layer, const matrix& dense, const char* what) {
      INFO(what << ", " << tokens << " tokens");
      REQUIRE((layer.out() == out && layer.in() == in));
      matrix y(tokens, out), rows(out, in);
      layer.forward(x.view(), y.view());
      layer.weights().read(0, rows.view());
      double worst = 0;
      for (std::size_t t = 0; t < tokens; ++t)
        for (std::size_t o = 0; o < out; ++o) {
          double sum = 0.25, size = 0.25;
          for (std::size_t i = 0; i < in; ++i) {
            const double term = static_cast<double>(dense.row(o)[i]) * static_cast<double>(x.row(t)[i]);
            sum += term;
            size += std::abs(term);
          }
          worst = std::max(worst, std::abs(static_cast<double>(y.row(t)[o]) - sum) / size);
        }
      CHECK(worst < 48 * 6e-8);  // in · eps bounds a float sum relative to the sum of magnitudes
      double difference = 0;
      for (std::size_t i = 0; i < out * in; ++i)
        difference =
            std::max(difference, std::abs(static_cast<double>(rows.row(0)[i]) - static_cast<double>(dense.row(0)[i])));
      CHECK(difference < 1e-6);
    };
    check(engine::make_dense(
              [&] {
                matrix copy(out, in);
                q.dequantize(copy.view());
                return copy;
              }(),
              bias),
          plain, "dense");
    check(engine::make_quantized(q, bias), plain, "quantized");
    check(engine::make_adapted(spectral, bias), merged, "spectral adapter");
    check(engine::make_adapted(low_rank, bias), merged_low, "low-rank adapter");
    CHECK_THROWS_AS(engine::make_quantized(q, {1.0f}), qwha::shape_error);
    matrix wrong(tokens, out + 1);
    CHECK_THROWS_AS(engine::make_quantized(q).forward(x.view(), wrong.view()), qwha::shape_error);
  }
}

TEST_CASE("models that lie are refused with file, tensor or key, and rule") {
  const temporary_folder folder;
  const fs::path gguf = folder.path() / "m.gguf", hf = folder.path() / "hf";
  const auto broken = [&](const char* kind, const auto& change) {
    tiny_model tiny = make_tiny(kind, 71);
    change(tiny);
    return tiny;
  };
  const auto both = [&](const tiny_model& tiny, const std::string& part) {
    write_gguf(tiny, gguf);
    expect_format_error(gguf, part);
    write_hugging_face(tiny, hf);
    expect_format_error(hf, part);
  };
  both(broken("gemma3", [](tiny_model& t) { t.kind = "rwkv"; }), "architecture 'rwkv' is not known");
  both(broken("llama", [](tiny_model& t) { t.kv_heads = 3; }), "multiple");
  both(broken("llama", [](tiny_model& t) { t.heads = 0; }), "impossible");
  both(broken("llama", [](tiny_model& t) { t.head_dim = 7; }), "odd");
  both(broken("llama", [](tiny_model& t) { t.layers = 5; }), "has no tensor named");
  both(broken("llama", [](tiny_model& t) { t.layers = 4000000000; }), "1 to 4096 layers");
  both(broken("llama", [](tiny_model& t) { t.intermediate = 41; }), "has the shape [40, 24]");
  both(broken("llama", [](tiny_model& t) { t.base = 0; }), "RoPE base");
  both(broken("llama", [](tiny_model& t) { t.weights.at("model.layers.2.mlp.up_proj.weight").values[30] = NAN; }),
       "row 1 holds NaN");
  both(broken("llama",
              [](tiny_model& t) { t.weights.at("model.layers.1.input_layernorm.weight").values[0] = INFINITY; }),
       "infinity");
  both(broken("qwen3", [](tiny_model& t) { t.weights.erase("model.layers.0.self_attn.k_norm.weight"); }), "k_norm");
  both(broken("llama", [](tiny_model& t) { t.weights.erase("model.norm.weight"); }), "norm.weight");

  write_gguf(make_tiny("llama", 72), gguf, {{"llama.rope.scaling.type", "yarn"}});
  expect_format_error(gguf, "RoPE scaling of type 'yarn'");
  write_hugging_face(make_tiny("llama", 72), hf);
  const auto config_with = [&](const nlohmann::json& change) {
    nlohmann::json c = config_json(make_tiny("llama", 72));
    c.merge_patch(change);
    std::ofstream(hf / "config.json") << c.dump();
  };
  config_with({{"rope_scaling", {{"rope_type", "yarn"}}}});
  expect_format_error(hf, "RoPE scaling of type 'yarn'");
  config_with({{"hidden_act", "relu"}});
  expect_format_error(hf, "activation 'relu'");
  config_with({{"hidden_size", "wide"}});
  expect_format_error(hf, "hidden_size");
  config_with({{"hidden_size", nullptr}});
  expect_format_error(hf, "hidden_size");
  config_with({{"hidden_size", -4}});
  expect_format_error(hf, "hidden_size");
  std::ofstream(hf / "config.json") << "{";
  expect_format_error(hf, "JSON");
  CHECK_THROWS_AS(engine::model(folder.path() / "absent.gguf"), qwha::io_error);

  write_gguf(make_tiny("llama", 73), gguf);
  const engine::model m(gguf);
  CHECK_THROWS_WITH(m.text(), contains("without a tokenizer"));
  matrix hidden(1, m.config().hidden);
  for (const token t : {-1, 61}) CHECK_THROWS_AS(m.embed(std::vector<token>{t}, hidden.view()), qwha::value_error);
  for (std::size_t i = 0; i < hidden.cols(); ++i) hidden.row(0)[i] = INFINITY;
  CHECK_THROWS_WITH(engine::forward_block(m.config(), 0, m.load_block(0), hidden.view(), 1), contains("not finite"));
}
