// SPDX-License-Identifier: MIT
// The whole engine against figures that llama.cpp and the paper's reference computed. Needs the golden files, and for
// all but the tiny Llama models the real model; prints what it skips.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <span>

#include <nlohmann/json.hpp>

#include <engine/evaluate.hpp>
#include <engine/graph.hpp>
#include <engine/model.hpp>

#include "catch.hpp"
#include "support.hpp"

namespace {

using namespace engine_test;
using qwha::rows_view;

struct setting {
  fs::path golden;
  engine::model model;
};
const setting& real() {
  static const std::unique_ptr<setting> s = [] {
    const auto golden = golden_folder();
    const auto path = real_model();
    return golden && path ? std::make_unique<setting>(setting{*golden / "llama.cpp", engine::model(*path)}) : nullptr;
  }();
  if (!s) {
    std::puts(
        "skipped: needs golden files (beside the project, or where QWHA_GOLDEN says) and the model in the cache "
        "folder");
    std::exit(4);
  }
  return *s;
}

double rms_difference(std::span<const float> a, std::span<const float> b) {
  REQUIRE(a.size() == b.size());
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    sum += d * d;
  }
  return std::sqrt(sum / static_cast<double>(a.size()));
}
double rms(std::span<const float> a) { return rms_difference(a, std::vector<float>(a.size())); }
std::span<const float> all(const engine::matrix& m) { return {m.row(0), m.rows() * m.cols()}; }

}  // namespace

TEST_CASE("token ids are llama.cpp's for every string") {
  const setting& s = real();
  const engine::tokenizer& text = s.model.text();
  const auto file = nlohmann::json::parse(read_text(s.golden / "tokens_strings.json"));
  std::size_t checked = 0;
  for (const char* list : {"cases", "invalid_utf8"})
    for (const auto& c : file.at(list)) {
      const std::string bytes = bytes_of_hex(c.at(c.contains("hex") ? "hex" : "utf8_hex").get<std::string>());
      INFO("bytes " << c.dump());
      CHECK(text.encode(bytes, false) == c.at("ids").get<std::vector<engine::token>>());
      CHECK(text.encode(bytes, true) == c.at("ids_bos").get<std::vector<engine::token>>());
      CHECK(text.encode(bytes, false, true) == c.at("ids_special").get<std::vector<engine::token>>());
      ++checked;
    }
  CHECK(checked == 270);
  CHECK(text.encode(read_text(s.golden / "head_3000ch.txt"), true) ==
        read_npy<engine::token>(s.golden / "tokens_3000ch.npy"));
}

TEST_CASE("hidden states, logits and likelihoods of Gemma 3 270M are llama.cpp's") {
  const setting& s = real();
  const engine::model& m = s.model;
  const auto tokens = read_npy<engine::token>(s.golden / "tokens_3000ch.npy");
  const std::size_t width = m.config().hidden;
  const auto golden = [&](const std::string& name) { return read_npy<float>(s.golden / (name + ".npy")); };
  const auto compare = [&](const std::string& name, std::span<const float> got) {
    const auto want = golden(name);
    const double relative = rms_difference(got, want) / rms(want);
    std::printf("%-18s relative rms difference %.2e\n", name.c_str(), relative);
    INFO(name);
    CHECK(relative < 1e-3);  // llama.cpp takes GELU from a table of half precision
  };

  SECTION("512 tokens in one batch") {
    constexpr std::size_t n = 512;
    engine::matrix hidden(n, width);
    m.embed(std::span(tokens).first(n), hidden.view());
    compare("hid_inp_scaled", all(hidden));
    for (std::size_t layer = 0; layer < m.layers(); ++layer) {
      const engine::block_weights block = m.load_block(layer);
      const auto watch = [&](engine::linear_role role, rows_view<const float> x) {
        if (layer != 0) return;
        if (role == engine::linear_role::attn_output) compare("hid_kqv_out-0", {x.data, x.rows * x.cols});
        if (role != engine::linear_role::attn_q) return;
        compare("hid_attn_norm-0", {x.data, x.rows * x.cols});
        const engine::rotary turn(m.config(), 0, n);
        engine::matrix q(n, m.config().query_width()), k(n, m.config().kv_width()), v(n, m.config().kv_width());
        block.at(engine::linear_role::attn_q).forward(x, q.view());
        block.at(engine::linear_role::attn_k).forward(x, k.view());
        block.at(engine::linear_role::attn_v).forward(x, v.view());
        engine::rms_norm(q.view(), block.q_norm, m.config().norm_epsilon, q.view());
        engine::rms_norm(k.view(), block.k_norm, m.config().norm_epsilon, k.view());
        turn.apply(q.view());
        turn.apply(k.view());
        compare("hid_Qcur-0", all(q));
        compare("hid_Kcur-0", all(k));
        compare("hid_Vcur-0", all(v));
      };
      engine::forward_block(m.config(), layer, block, hidden.view(), n, watch);
      if (layer == 0 || layer == 5 || layer == 17) compare("hid_l_out-" + std::to_string(layer), all(hidden));
    }
    m.final_norm(hidden.view());
    compare("hid_result_norm", all(hidden));

    engine::matrix logits(4, m.config().vocabulary);
    m.logits(hidden.view().rows_from(n - 4, 4), logits.view());
    const auto want = golden("logits_last4_of_512");
    const double difference = rms_difference(all(logits), want);
    std::printf("logits, last 4 of 512: rms difference %.2e\n", difference);
    CHECK(difference <= 5e-3);
    const auto argmax = read_npy<std::int32_t>(s.golden / "argmax_512.npy");
    for (std::size_t r = 0; r < 4; ++r)
      CHECK(std::max_element(logits.row(r), logits.row(r) + logits.cols()) - logits.row(r) == argmax[n - 4 + r]);

    std::vector<double> nll(n);
    engine::negative_log_likelihood(m, hidden.view(), std::span(tokens).subspan(1, n), nll);
    const auto want_nll = read_npy<double>(s.golden / "nll_512.npy");
    double mean = 0, largest = 0;
    for (std::size_t t = 0; t < n; ++t) {
      mean += (nll[t] - want_nll[t]) / static_cast<double>(n);
      largest = std::max(largest, std::abs(nll[t] - want_nll[t]));
    }
    std::printf("NLL of 512 tokens: mean difference %.2e, largest %.2e\n", mean, largest);
    CHECK(std::abs(mean) <= 1e-4);
    CHECK(largest <= 5e-2);
  }
  SECTION("681 tokens: the sliding window is active") {
    engine::token_windows all_tokens{tokens, tokens.size()};
    engine::matrix hidden = engine::run_blocks(m, all_tokens);
    m.final_norm(hidden.view());
    const std::size_t n = tokens.size() - 1;
    std::vector<double> nll(n);
    engine::negative_log_likelihood(m, hidden.view().rows_from(0, n), std::span(tokens).subspan(1), nll);
    const auto want = read_npy<double>(s.golden / "nll_full.npy");
    double mean = 0;
    for (std::size_t t = 0; t < n; ++t) mean += (nll[t] - want[t]) / static_cast<double>(n);
    std::printf("NLL of 681 tokens: mean difference %.2e\n", mean);
    CHECK(std::abs(mean) <= 1e-4);
  }
  SECTION("greedy continuation") {
    std::vector<engine::block_weights> blocks;
    for (std::size_t layer = 0; layer < m.layers(); ++layer) blocks.push_back(m.load_block(layer));
    CHECK(engine::greedy(m, blocks, std::span(tokens).first(64), 32) ==
          read_npy<engine::token>(s.golden / "greedy32_after64.npy"));
  }
}
