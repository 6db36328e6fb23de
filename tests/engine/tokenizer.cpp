// SPDX-License-Identifier: MIT
// Tokenizers: small ones trained and run by Hugging Face's tokenizers 0.23 (data/tokenizers.json: rules, vocabulary and
// ids), a naive SentencePiece oracle, and broken files.

#include <algorithm>
#include <map>

#include <nlohmann/json.hpp>
#include <qwha/base/error.hpp>
#include <qwha/base/random.hpp>
#include <qwha/io/gguf_writer.hpp>

#include <engine/tokenizer.hpp>

#include "catch.hpp"
#include "support.hpp"

namespace {

using namespace engine_test;
using engine::token;
using engine::tokenizer;
using nlohmann::json;
using ids_t = std::vector<token>;

void write_text(const fs::path& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

tokenizer load_json(const json& rules, const json& config = nullptr) {
  const temporary_folder folder;
  write_text(folder.path() / "tokenizer.json", rules.dump());
  if (!config.is_null()) write_text(folder.path() / "tokenizer_config.json", config.dump());
  return tokenizer::of_json(folder.path() / "tokenizer.json");
}

tokenizer load_gguf(const qwha::io::gguf_writer& writer) {
  const temporary_folder folder;
  writer.save(folder.path() / "t.gguf");
  return tokenizer::of_gguf(qwha::io::gguf_file(folder.path() / "t.gguf"));
}

// The same byte-level tokenizer as GGUF metadata.
qwha::io::gguf_writer as_gguf(const json& rules, const std::string& pre) {
  std::vector<std::string> pieces(rules.at("model").at("vocab").size() + rules.at("added_tokens").size());
  std::size_t size = 0;
  std::vector<std::int32_t> kinds(pieces.size(), 1);
  const auto put = [&](const std::string& piece, std::size_t id, std::int32_t kind) {
    pieces.at(id) = piece;
    kinds.at(id) = kind;
    size = std::max(size, id + 1);
  };
  for (const auto& [piece, id] : rules.at("model").at("vocab").items()) put(piece, id, 1);
  for (const json& a : rules.at("added_tokens")) put(a.at("content"), a.at("id"), a.at("special") ? 3 : 4);
  pieces.resize(size);
  kinds.resize(size);
  std::vector<std::string> merges;
  for (const json& m : rules.at("model").at("merges"))
    merges.push_back(m[0].get<std::string>() + " " + m[1].get<std::string>());
  qwha::io::gguf_writer w;
  w.set("tokenizer.ggml.model", std::string("gpt2"));
  w.set("tokenizer.ggml.pre", pre);
  w.set("tokenizer.ggml.tokens", pieces);
  w.set("tokenizer.ggml.token_type", kinds);
  w.set("tokenizer.ggml.merges", merges);
  return w;
}

// SentencePiece vocabulary: <unk>, <s>, </s>, 256 bytes, then pieces with scores.
struct piece {
  std::string text;
  float score;
};
qwha::io::gguf_writer sentence_piece(const std::vector<piece>& pieces, bool space_prefix,
                                     const std::vector<std::string>& user = {}) {
  std::vector<std::string> texts{"<unk>", "<s>", "</s>"};
  std::vector<float> scores{0, 0, 0};
  std::vector<std::int32_t> kinds{2, 3, 3};
  for (int b = 0; b < 256; ++b) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", static_cast<unsigned>(b));
    texts.emplace_back(name), scores.push_back(0), kinds.push_back(6);
  }
  for (const piece& p : pieces) texts.push_back(p.text), scores.push_back(p.score), kinds.push_back(1);
  for (const std::string& u : user) texts.push_back(u), scores.push_back(-1000), kinds.push_back(4);
  qwha::io::gguf_writer w;
  w.set("tokenizer.ggml.model", std::string("llama"));
  w.set("tokenizer.ggml.tokens", texts);
  w.set("tokenizer.ggml.scores", scores);
  w.set("tokenizer.ggml.token_type", kinds);
  w.set("tokenizer.ggml.bos_token_id", std::uint32_t{1});
  w.set("tokenizer.ggml.add_space_prefix", space_prefix);
  return w;
}

// Merge the best neighbours, leftmost of equals, until none is a piece: quadratic, from the definition.
ids_t naive_merge(const std::vector<piece>& pieces, std::vector<std::string> symbols) {
  std::map<std::string, std::pair<float, token>> table;
  for (std::size_t i = 0; i < pieces.size(); ++i)
    table[pieces[i].text] = {pieces[i].score, static_cast<token>(259 + i)};
  for (;;) {
    std::size_t best = symbols.size();
    for (std::size_t i = 0; i + 1 < symbols.size(); ++i)
      if (const auto it = table.find(symbols[i] + symbols[i + 1]); it != table.end())
        if (best == symbols.size() || it->second.first > table.at(symbols[best] + symbols[best + 1]).first) best = i;
    if (best == symbols.size()) break;
    symbols[best] += symbols[best + 1];
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
  ids_t ids;
  for (const std::string& s : symbols)
    if (const auto it = table.find(s); it != table.end())
      ids.push_back(it->second.second);
    else
      for (const char c : s) ids.push_back(3 + static_cast<unsigned char>(c));
  return ids;
}

}  // namespace

TEST_CASE("ids are those of Hugging Face's tokenizers") {
  const json all = json::parse(read_text(fs::path(QWHA_TEST_SOURCE_DIR) / "engine/data/tokenizers.json"));
  REQUIRE(all.size() == 6);
  for (const json& t : all) {
    std::vector<tokenizer> same{load_json(t.at("tokenizer"))};
    if (t.at("gguf_pre").is_string()) same.push_back(load_gguf(as_gguf(t.at("tokenizer"), t.at("gguf_pre"))));
    for (const tokenizer& text : same)
      for (const json& c : t.at("cases")) {
        INFO(t.at("name") << ", " << c.at("text").dump());
        const auto want = c.at("ids").get<ids_t>();
        CHECK(text.encode(c.at("text").get<std::string>(), false) == want);
        CHECK(text.decode(want) == c.at("text").get<std::string>());
      }
  }
}

TEST_CASE("BOS and EOS come from the files") {
  json all = json::parse(read_text(fs::path(QWHA_TEST_SOURCE_DIR) / "engine/data/tokenizers.json"));
  const json& llama2 = all.at(4).at("tokenizer");
  REQUIRE(all.at(4).at("name") == "llama-2");
  const tokenizer text = load_json(llama2, {{"eos_token", {{"content", "</s>"}}}});
  CHECK(text.bos() == 1);
  CHECK(text.eos() == 2);
  CHECK(text.encode("a", true).front() == 1);
  CHECK(load_json(llama2, {{"eos_token", "</s>"}}).eos() == 2);
  CHECK(load_json(llama2).eos() == -1);
  CHECK(load_json(all.at(0).at("tokenizer")).bos() == -1);
}

TEST_CASE("SentencePiece merges are those of the definition") {
  // Every string of length 2 to 4 over {a, b, ▁} is a piece with a chance of 2/3, scores collide on purpose.
  const qwha::counter_random random(7);
  const std::vector<std::string> letters{"a", "b", "\xe2\x96\x81"};
  std::vector<piece> pieces{{"a", -50}, {"b", -50}};  // ▁ alone is no piece: it becomes three bytes
  std::uint64_t draw = 0;
  std::vector<std::string> words = letters;
  for (int length = 2; length <= 4; ++length) {
    std::vector<std::string> longer;
    for (const std::string& w : words)
      for (const std::string& l : letters) longer.push_back(w + l);
    words = longer;
    for (const std::string& w : words)
      if (random.below(3, draw++) != 0) pieces.push_back({w, -static_cast<float>(random.below(8, draw++))});
  }
  const tokenizer text = load_gguf(sentence_piece(pieces, false));
  for (std::uint64_t trial = 0; trial < 300; ++trial) {
    std::string plain;
    std::vector<std::string> symbols;
    for (std::uint32_t i = 0, n = random.below(40, draw++); i < n; ++i) {
      const std::uint32_t l = random.below(3, draw++);
      plain += l == 2 ? " " : letters[l];
      symbols.push_back(letters[l]);
    }
    INFO("'" << plain << "'");
    REQUIRE(text.encode(plain, false) == naive_merge(pieces, symbols));
    REQUIRE(text.decode(text.encode(plain, false)) == plain);
  }
}

TEST_CASE("special pieces and spaces in front") {
  const std::vector<piece> pieces{{"a", -1},
                                  {"\xe2\x96\x81", -2},
                                  {"\xe2\x96\x81"
                                   "a",
                                   -3},
                                  {"<", -9}};                                             // 259 …
  const tokenizer text = load_gguf(sentence_piece(pieces, true, {"\n", "\n\n", "<t>"}));  // 263, 264, 265
  CHECK(text.encode("", true) == ids_t{1});
  CHECK(text.encode("a", true) == ids_t{1, 261});
  CHECK(text.encode("a<t>a", false) == ids_t{261, 265, 261});  // a space before each text after a special piece
  CHECK(text.encode("\n\n\n", false) == ids_t{264, 263});      // the longest first
  CHECK(text.encode("<s>", false, true) == ids_t{1});
  CHECK(text.encode("<s>", false) == ids_t{260, 262, 3 + 's', 3 + '>'});
  CHECK(text.encode("\xff", false) == ids_t{260, 3 + 0xff});
  CHECK(text.encode("\xe2\x82", false) == ids_t{260, 3 + 0xe2, 3 + 0x82});
  CHECK(text.decode({1, 261, 265, 261, 3 + 0xc3, 3 + 0xa9}) == "a<t> a\xc3\xa9");
  CHECK_THROWS_AS(text.decode({-1}), qwha::value_error);
  CHECK_THROWS_AS(text.decode({1000}), qwha::value_error);
  const tokenizer end = load_gguf(sentence_piece(pieces, false, {"<end_of_turn>"}));
  CHECK(end.encode("<end_of_turn>", false).size() > 1);  // a control token, whatever the file says
}

TEST_CASE("broken tokenizers are refused with the file and the rule") {
  const json all = json::parse(read_text(fs::path(QWHA_TEST_SOURCE_DIR) / "engine/data/tokenizers.json"));
  const json& good = all.at(0).at("tokenizer");
  const auto refused = [&](const json& change, const char* rule) {
    json broken = good;
    broken.merge_patch(change);
    INFO(change.dump());
    try {
      load_json(broken);
      FAIL("was accepted");
    } catch (const qwha::format_error& e) {
      INFO(e.what());
      CHECK(std::string(e.what()).find("tokenizer.json: ") != std::string::npos);
      CHECK(std::string(e.what()).find(rule) != std::string::npos);
    }
  };
  refused({{"model", {{"type", "Unigram"}}}}, "tokenizer model");
  refused({{"model", {{"merges", {"a"}}}}}, "merge 0 is not two pieces");
  refused({{"model", {{"merges", {"qqq zzz"}}}}}, "merge 0 names a piece");
  refused({{"model", {{"merges", 3}}}}, "merge");
  refused({{"model", {{"vocab", {{"x", -1}}}}}}, "token id -1");
  refused({{"model", {{"vocab", {{"x", 1e18}}}}}}, "token id");
  refused({{"model", {{"vocab", {{"a", nullptr}}}}}}, "for byte 97");
  refused({{"normalizer", {{"type", "Lowercase"}}}}, "normalizer");
  refused({{"pre_tokenizer", {{"type", "Split"}, {"pattern", {{"Regex", "x+"}}}}}}, "pattern");
  refused({{"pre_tokenizer", {{"type", "Whitespace"}}}}, "pre-tokenizer");

  const auto refused_gguf = [](const qwha::io::gguf_writer& w, const char* rule) {
    try {
      load_gguf(w);
      FAIL("was accepted");
    } catch (const qwha::format_error& e) {
      INFO(e.what());
      CHECK(std::string(e.what()).find(rule) != std::string::npos);
    }
  };
  qwha::io::gguf_writer unknown;
  unknown.set("tokenizer.ggml.model", std::string("t5"));
  refused_gguf(unknown, "tokenizer model 't5'");
  refused_gguf(as_gguf(good, "martian"), "pre-tokenizer 'martian'");
  qwha::io::gguf_writer short_scores;
  short_scores.set("tokenizer.ggml.model", std::string("llama"));
  short_scores.set("tokenizer.ggml.tokens", std::vector<std::string>{"a", "b", "c"});
  short_scores.set("tokenizer.ggml.scores", std::vector<float>{1});
  refused_gguf(short_scores, "tokenizer.ggml.scores");
  qwha::io::gguf_writer empty;
  empty.set("tokenizer.ggml.model", std::string("llama"));
  empty.set("tokenizer.ggml.tokens", std::vector<std::string>{});
  refused_gguf(empty, "empty");
  qwha::io::gguf_writer bad_bos = sentence_piece({}, false);
  bad_bos.set("tokenizer.ggml.eos_token_id", std::uint32_t{259});
  refused_gguf(bad_bos, "tokenizer.ggml.eos_token_id 259 is outside");
}
