// SPDX-License-Identifier: MIT
#include "tokenizer.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <queue>
#include <unordered_map>
#include <utility>

#include <nlohmann/json.hpp>
#include <qwha/base/error.hpp>
#include <qwha/io/json.hpp>
#include <qwha/io/mapped_file.hpp>
#include <qwha/io/message.hpp>

#include "unicode.hpp"

namespace engine {
namespace {

constexpr std::string_view meta_space = "\xe2\x96\x81";  // U+2581 stands for a space in SentencePiece vocabularies

enum class piece_kind : std::uint8_t {
  normal = 1,
  unknown,
  control,
  user_defined,
  unused,
  byte
};  // as GGUF numbers them
enum class space_prefix { never, at_start, after_special };

/// How text is cut into words before byte-level merging. Each rule is a regular expression in the files; here it is
/// code.
struct split_rule {
  bool modern = false;  ///< Llama 3 and Qwen: any contraction, a letter run takes one sign before it, newlines end runs
  std::size_t digits = 0;      ///< longest run of numbers; 0: any
  bool numbers_apart = false;  ///< every number on its own before all else
};

// --- UTF-8 --------------------------------------------------------------------------------------------------------

void append_utf8(std::string& out, char32_t c) {
  const auto put = [&](char32_t byte) { out += static_cast<char>(static_cast<unsigned char>(byte)); };
  if (c < 0x80) return put(c);
  if (c < 0x800) return put(0xc0 | (c >> 6)), put(0x80 | (c & 63));
  if (c < 0x10000) return put(0xe0 | (c >> 12)), put(0x80 | (c >> 6 & 63)), put(0x80 | (c & 63));
  put(0xf0 | (c >> 18)), put(0x80 | (c >> 12 & 63)), put(0x80 | (c >> 6 & 63)), put(0x80 | (c & 63));
}

// Bytes of the character that starts with `lead`, by its high bits alone.
std::size_t utf8_length(char lead) noexcept {
  const auto b = static_cast<unsigned char>(lead);
  return b < 0xc0 ? 1 : b < 0xe0 ? 2 : b < 0xf0 ? 3 : 4;
}

// Code points of a text; a byte that starts no whole character becomes U+FFFD, as in llama.cpp.
std::u32string decode_utf8(std::string_view text) {
  std::u32string out;
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const std::size_t length = utf8_length(text[i]);
    bool whole = lead < 0x80 || (lead >= 0xc0 && lead < 0xf8 && i + length <= text.size());
    char32_t c = length == 1 ? lead : static_cast<char32_t>(lead & (0x7fu >> length));
    for (std::size_t k = 1; whole && k < length; ++k) {
      const auto b = static_cast<unsigned char>(text[i + k]);
      whole = (b & 0xc0) == 0x80;
      c = (c << 6) | (b & 0x3f);
    }
    out += whole ? c : U'\xfffd';
    i += whole ? length : 1;
  }
  return out;
}

// GPT-2 writes each byte as a printable character: printable ones as themselves, the rest from U+0100 on.
std::array<char32_t, 256> byte_characters() {
  std::array<char32_t, 256> map{};
  char32_t next = 0x100;
  for (unsigned b = 0; b < 256; ++b) {
    const bool printable = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
    map[b] = printable ? static_cast<char32_t>(b) : next++;
  }
  return map;
}

// --- words --------------------------------------------------------------------------------------------------------

// Length of a contraction such as 'll at the start of `t`; 0: none.
std::size_t contraction(std::u32string_view t, bool any_case) {
  if (t.size() < 2 || t[0] != U'\'') return 0;
  const auto lower = [&](std::size_t i) { return any_case && t[i] >= U'A' && t[i] <= U'Z' ? t[i] + 32 : t[i]; };
  const char32_t a = lower(1);
  if (a == U's' || a == U't' || a == U'm' || a == U'd') return 2;
  if (t.size() < 3) return 0;
  const char32_t b = lower(2);
  return (a == U'r' && b == U'e') || (a == U'v' && b == U'e') || (a == U'l' && b == U'l') ? 3 : 0;
}

// Length of the first word of `t`, which is not empty. The order of the cases is that of the alternatives in the files'
// regular expressions.
std::size_t first_word(std::u32string_view t, const split_rule& rule) {
  const auto run = [&](std::size_t from, auto&& is, std::size_t most = std::u32string_view::npos) {
    std::size_t n = from;
    while (n < t.size() && n - from < most && is(t[n])) ++n;
    return n;
  };
  const auto is_sign = [](char32_t c) { return !is_space(c) && !is_letter(c) && !is_number(c); };
  const auto is_newline = [](char32_t c) { return c == U'\r' || c == U'\n'; };
  if (const std::size_t n = contraction(t, rule.modern)) return n;

  const bool lead_space = t[0] == U' ';
  const bool lead = rule.modern ? !is_newline(t[0]) && !is_letter(t[0]) && !is_number(t[0]) : lead_space;
  if (const std::size_t from = lead ? 1 : 0; from < t.size() && is_letter(t[from])) return run(from, is_letter);
  if (const std::size_t from = lead_space && !rule.modern ? 1 : 0; from < t.size() && is_number(t[from]))
    return run(from, is_number, rule.digits == 0 ? std::u32string_view::npos : rule.digits);
  if (const std::size_t from = lead_space ? 1 : 0; from < t.size() && is_sign(t[from])) {
    const std::size_t n = run(from, is_sign);
    return rule.modern ? run(n, is_newline) : n;
  }
  const std::size_t spaces = run(0, is_space);
  if (rule.modern)
    for (std::size_t n = spaces; n > 0; --n)
      if (is_newline(t[n - 1])) return n;  // spaces up to the last newline
  return spaces == t.size() || spaces < 2 ? std::max<std::size_t>(spaces, 1)
                                          : spaces - 1;  // leaves one for the next word
}

template <class F>
void for_each_word(std::u32string_view text, const split_rule& rule, F&& use) {
  while (!text.empty()) {
    if (rule.numbers_apart && is_number(text[0])) {
      use(text.substr(0, 1));
      text.remove_prefix(1);
      continue;
    }
    const auto end = rule.numbers_apart ? std::find_if(text.begin(), text.end(), is_number) : text.end();
    std::u32string_view words = text.substr(0, static_cast<std::size_t>(end - text.begin()));
    text.remove_prefix(words.size());
    while (!words.empty()) {
      const std::size_t n = first_word(words, rule);
      use(words.substr(0, n));
      words.remove_prefix(n);
    }
  }
}

// --- merging ------------------------------------------------------------------------------------------------------

struct symbol {
  std::size_t begin, size;  // bytes of the text; size 0: merged into its left neighbour
  token id;                 // -1: not in the vocabulary
  std::ptrdiff_t previous, next;
};
struct merge_result {
  double priority;  // the largest is merged first; of equals the leftmost
  token id;
};

// Merges neighbours until none can be: `join(left, right)` says what two symbols become. n log n.
template <class Join>
void merge_symbols(std::vector<symbol>& symbols, Join&& join) {
  struct candidate {
    merge_result result;
    std::size_t left, right, left_size, right_size;
    bool operator<(const candidate& o) const noexcept {
      return result.priority < o.result.priority || (result.priority == o.result.priority && left > o.left);
    }
  };
  std::priority_queue<candidate> queue;
  const auto consider = [&](std::ptrdiff_t left, std::ptrdiff_t right) {
    if (left < 0 || right < 0) return;
    const auto l = static_cast<std::size_t>(left), r = static_cast<std::size_t>(right);
    if (const std::optional<merge_result> m = join(symbols[l], symbols[r]))
      queue.push({*m, l, r, symbols[l].size, symbols[r].size});
  };
  for (std::size_t i = 0; i + 1 < symbols.size(); ++i)
    consider(static_cast<std::ptrdiff_t>(i), static_cast<std::ptrdiff_t>(i + 1));
  while (!queue.empty()) {
    const candidate c = queue.top();
    queue.pop();
    symbol& left = symbols[c.left];
    symbol& right = symbols[c.right];
    if (left.size != c.left_size || right.size != c.right_size) continue;  // one of them has been merged since
    left.size += right.size;
    left.id = c.result.id;
    right.size = 0;
    left.next = right.next;
    if (right.next >= 0) symbols[static_cast<std::size_t>(right.next)].previous = static_cast<std::ptrdiff_t>(c.left);
    consider(left.previous, static_cast<std::ptrdiff_t>(c.left));
    consider(static_cast<std::ptrdiff_t>(c.left), left.next);
  }
}

constexpr std::uint64_t pair_key(token a, token b) noexcept {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(a)) << 32 | static_cast<std::uint32_t>(b);
}

}  // namespace

struct tokenizer::tables {
  std::string file;  // for messages
  std::vector<std::string> pieces;
  std::vector<piece_kind> kinds;
  std::unordered_map<std::string_view, token> ids;
  std::vector<float> scores;                               // SentencePiece: of every piece; else empty, and
  std::unordered_map<std::uint64_t, merge_result> merges;  // pairs of ids that may be joined
  std::array<token, 256> bytes{};                          // -1: no token for this byte
  std::vector<token> specials;                             // control, unknown and user-defined pieces, longest first
  bool byte_level = false, ignore_merges = false, escape_spaces = true;
  space_prefix prefix = space_prefix::never;
  split_rule split;
  token bos = -1, eos = -1, unknown = -1;
  bool add_bos = false;

  [[noreturn]] void fail(const std::string& rule) const { throw qwha::format_error(file + ": " + rule); }

  std::optional<token> find(std::string_view piece) const {
    const auto it = ids.find(piece);
    return it == ids.end() ? std::nullopt : std::optional(it->second);
  }
  token checked_id(std::int64_t id, const char* what) const {
    if (id < 0 || static_cast<std::size_t>(id) >= pieces.size())
      fail(std::string(what) + " " + std::to_string(id) + " is outside the vocabulary of " +
           std::to_string(pieces.size()));
    return static_cast<token>(id);
  }

  /// Pieces and kinds are there: ids, byte tokens and the list of special pieces follow.
  void index() {
    if (pieces.empty()) fail("the tokenizer's vocabulary is empty");
    ids.reserve(pieces.size());
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      ids.insert_or_assign(pieces[i], static_cast<token>(i));  // of equal pieces the last, as in llama.cpp
      if (kinds[i] == piece_kind::control || kinds[i] == piece_kind::unknown || kinds[i] == piece_kind::user_defined)
        if (!pieces[i].empty()) specials.push_back(static_cast<token>(i));
    }
    std::sort(specials.begin(), specials.end(), [this](token a, token b) {
      return piece(a).size() != piece(b).size() ? piece(a).size() > piece(b).size() : a < b;
    });
    const auto characters = byte_characters();
    for (unsigned b = 0; b < 256; ++b) {
      std::string name;
      constexpr const char* digits = "0123456789ABCDEF";
      if (byte_level)
        append_utf8(name, characters[b]);
      else
        name = std::string("<0x") + digits[b >> 4] + digits[b & 15] + ">";
      bytes[b] = find(name).value_or(unknown);
      if (bytes[b] < 0)
        fail("the vocabulary has no piece " + qwha::io::quoted_name(name) + " for byte " + std::to_string(b));
    }
  }
  const std::string& piece(token id) const { return pieces[static_cast<std::size_t>(id)]; }

  void add_merge(std::string_view left, std::string_view right, std::size_t rank) {
    const auto l = find(left), r = find(right), both = find(std::string(left) + std::string(right));
    if (!l || !r || !both) fail("merge " + std::to_string(rank) + " names a piece that is not in the vocabulary");
    merges.try_emplace(pair_key(*l, *r), merge_result{-static_cast<double>(rank), *both});
  }

  void encode_part(std::string_view text, bool at_start, bool after_special, std::vector<token>& out) const;
  void encode_words(std::string_view text, std::vector<token>& out) const;
  void merge_pairs(std::vector<symbol>& symbols, std::vector<token>& out) const;
};

// Joins by rank of the pair of ids; every symbol has one.
void tokenizer::tables::merge_pairs(std::vector<symbol>& symbols, std::vector<token>& out) const {
  merge_symbols(symbols, [this](const symbol& l, const symbol& r) -> std::optional<merge_result> {
    const auto it = merges.find(pair_key(l.id, r.id));
    return it == merges.end() ? std::nullopt : std::optional(it->second);
  });
  for (const symbol& s : symbols)
    if (s.size != 0) out.push_back(s.id);
}

// Byte-level BPE: words first, then merges inside each.
void tokenizer::tables::encode_words(std::string_view text, std::vector<token>& out) const {
  static const auto characters = byte_characters();
  std::vector<symbol> symbols;
  for_each_word(decode_utf8(text), split, [&](std::u32string_view word) {
    std::string utf8, spelled;
    for (const char32_t c : word) append_utf8(utf8, c);
    if (ignore_merges) {
      for (const char b : utf8) append_utf8(spelled, characters[static_cast<unsigned char>(b)]);
      if (const auto whole = find(spelled)) return out.push_back(*whole);
    }
    symbols.clear();
    for (std::size_t i = 0; i < utf8.size(); ++i) {
      const auto n = static_cast<std::ptrdiff_t>(i);
      symbols.push_back({i, 1, bytes[static_cast<unsigned char>(utf8[i])], n - 1, i + 1 < utf8.size() ? n + 1 : -1});
    }
    merge_pairs(symbols, out);
  });
}

// SentencePiece-style BPE: characters are merged over the whole text; what is not in the vocabulary becomes bytes.
void tokenizer::tables::encode_part(std::string_view text, bool at_start, bool after_special,
                                    std::vector<token>& out) const {
  if (text.empty()) return;
  if (byte_level) return encode_words(text, out);
  std::string escaped;
  const bool prefixed =
      prefix == space_prefix::after_special ? after_special : prefix == space_prefix::at_start && at_start;
  if (prefixed) escaped += meta_space;
  for (const char c : text)
    if (c == ' ' && escape_spaces)
      escaped += meta_space;
    else
      escaped += c;

  std::vector<symbol> symbols;
  const auto push = [&](std::size_t begin, std::size_t size, token id) {
    const auto n = static_cast<std::ptrdiff_t>(symbols.size());
    symbols.push_back({begin, size, id, n - 1, begin + size < escaped.size() ? n + 1 : -1});
  };
  for (std::size_t i = 0; i < escaped.size();) {
    const std::size_t size = std::min(utf8_length(escaped[i]), escaped.size() - i);
    const auto id = find(std::string_view(escaped).substr(i, size));
    if (!id && !merges.empty())  // merges by id: unknown characters are bytes from the start
      for (std::size_t k = i; k < i + size; ++k) push(k, 1, bytes[static_cast<unsigned char>(escaped[k])]);
    else
      push(i, size, id.value_or(-1));
    i += size;
  }
  if (scores.empty()) return merge_pairs(symbols, out);

  merge_symbols(symbols, [&](const symbol& l, const symbol& r) -> std::optional<merge_result> {
    const auto id = find(std::string_view(escaped).substr(l.begin, l.size + r.size));
    if (!id) return std::nullopt;
    return merge_result{static_cast<double>(scores[static_cast<std::size_t>(*id)]), *id};
  });
  for (const symbol& s : symbols)
    if (s.id >= 0 && s.size != 0)
      out.push_back(s.id);
    else
      for (std::size_t k = s.begin; k < s.begin + s.size; ++k)
        out.push_back(bytes[static_cast<unsigned char>(escaped[k])]);
}

std::vector<token> tokenizer::encode(std::string_view text, bool add_bos, bool parse_special) const {
  const tables& t = *tables_;
  struct part {
    std::string_view text;
    token special;  // -1: text
  };
  std::vector<part> parts{{text, -1}}, cut;
  for (const token id : t.specials) {  // longest first, each through all that is still text
    const std::string& piece = t.piece(id);
    if (!parse_special && t.kinds[static_cast<std::size_t>(id)] != piece_kind::user_defined) continue;
    if (text.find(piece) == std::string_view::npos) continue;
    cut.clear();
    for (part p : parts) {
      if (p.special < 0)
        for (std::size_t at; (at = p.text.find(piece)) != std::string_view::npos;
             p.text.remove_prefix(at + piece.size())) {
          cut.push_back({p.text.substr(0, at), -1});
          cut.push_back({piece, id});
        }
      cut.push_back(p);
    }
    parts.swap(cut);
  }
  std::vector<token> out;
  if (add_bos && t.add_bos && t.bos >= 0) out.push_back(t.bos);
  bool at_start = true, after_special = true;
  for (const part& p : parts) {
    if (p.special >= 0)
      out.push_back(p.special);
    else
      t.encode_part(p.text, at_start, after_special, out);
    if (p.special >= 0 || !p.text.empty()) {
      after_special = p.special >= 0;
      at_start = false;
    }
  }
  return out;
}

std::string tokenizer::decode(const std::vector<token>& tokens) const {
  const tables& t = *tables_;
  static const auto from_character = [] {
    std::unordered_map<char32_t, char> map;
    const auto characters = byte_characters();
    for (unsigned b = 0; b < 256; ++b) map[characters[b]] = static_cast<char>(static_cast<unsigned char>(b));
    return map;
  }();
  std::string out;
  for (const token id : tokens) {
    if (id < 0 || static_cast<std::size_t>(id) >= t.pieces.size())
      throw qwha::value_error("tokenizer: id " + std::to_string(id) + " is outside the vocabulary of " +
                              std::to_string(t.pieces.size()));
    const std::string& piece = t.piece(id);
    const piece_kind kind = t.kinds[static_cast<std::size_t>(id)];
    if (kind == piece_kind::control || kind == piece_kind::unknown) continue;
    if (kind == piece_kind::user_defined) {
      out += piece;
    } else if (t.byte_level) {
      for (const char32_t c : decode_utf8(piece))
        if (const auto it = from_character.find(c); it != from_character.end()) out += it->second;
    } else if (const auto byte = std::find(t.bytes.begin(), t.bytes.end(), id);
               kind == piece_kind::byte && byte != t.bytes.end()) {
      out += static_cast<char>(static_cast<unsigned char>(byte - t.bytes.begin()));
    } else {
      out += piece;
    }
  }
  if (!t.byte_level) {
    std::string plain;
    for (std::string_view rest = out; !rest.empty();) {
      const bool space = rest.starts_with(meta_space);
      plain += space ? ' ' : rest.front();
      rest.remove_prefix(space ? meta_space.size() : 1);
    }
    out.swap(plain);
  }
  const bool starts_with_text = !tokens.empty() && t.prefix != space_prefix::never;
  return starts_with_text && out.starts_with(' ') ? out.substr(1) : out;
}

std::size_t tokenizer::size() const noexcept { return tables_->pieces.size(); }
token tokenizer::bos() const noexcept { return tables_->add_bos ? tables_->bos : -1; }
token tokenizer::eos() const noexcept { return tables_->eos; }

// --- GGUF ---------------------------------------------------------------------------------------------------------

tokenizer tokenizer::of_gguf(const qwha::io::gguf_file& file) {
  auto t = std::make_shared<tables>();
  t->file = file.file();
  const auto model = file.value<std::string>("tokenizer.ggml.model");
  if (model != "llama" && model != "gpt2")
    t->fail("tokenizer model " + qwha::io::quoted_name(model) + " is not known; 'llama' and 'gpt2' are");
  t->byte_level = model == "gpt2";
  t->pieces = file.value<std::vector<std::string>>("tokenizer.ggml.tokens");
  t->kinds.assign(t->pieces.size(), piece_kind::normal);
  if (file.has_key("tokenizer.ggml.token_type")) {
    const auto types = file.value<std::vector<std::int32_t>>("tokenizer.ggml.token_type");
    if (types.size() != t->pieces.size()) t->fail("tokenizer.ggml.token_type has another length than the vocabulary");
    for (std::size_t i = 0; i < types.size(); ++i)
      if (types[i] >= 1 && types[i] <= 6) t->kinds[i] = static_cast<piece_kind>(types[i]);
  }
  // Some files call these end marks user-defined; llama.cpp takes them for control tokens by their text.
  for (const std::string_view end :
       {"</s>", "<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>",
        "<|end_of_text|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<end_of_utterance>", "<|return|>", "<|call|>"})
    for (std::size_t i = 0; i < t->pieces.size(); ++i)
      if (t->pieces[i] == end) t->kinds[i] = piece_kind::control;

  const auto id_of = [&](const char* key, token fallback) {
    return file.has_key(key) ? t->checked_id(file.value<std::int64_t>(key), key) : fallback;
  };
  const bool sentence_piece = !t->byte_level;
  const auto size = static_cast<std::int64_t>(t->pieces.size());
  t->bos = id_of("tokenizer.ggml.bos_token_id", sentence_piece && size > 1 ? 1 : -1);
  t->eos = id_of("tokenizer.ggml.eos_token_id", sentence_piece && size > 2 ? 2 : -1);
  t->unknown = id_of("tokenizer.ggml.unknown_token_id", sentence_piece ? 0 : -1);
  t->add_bos = sentence_piece;
  t->index();
  if (sentence_piece) {
    t->scores = file.value<std::vector<float>>("tokenizer.ggml.scores");
    if (t->scores.size() != t->pieces.size()) t->fail("tokenizer.ggml.scores has another length than the vocabulary");
    if (file.value_or<bool>("tokenizer.ggml.add_space_prefix", true)) t->prefix = space_prefix::after_special;
  } else {
    const auto pre = file.value_or<std::string>("tokenizer.ggml.pre", "default");
    if (pre == "llama-bpe" || pre == "llama3" || pre == "llama-v3") {
      t->split = {.modern = true, .digits = 3};
      t->ignore_merges = t->add_bos = true;
    } else if (pre == "qwen2") {
      t->split = {.modern = true, .digits = 1};
    } else if (pre == "smollm") {
      t->split = {.numbers_apart = true};
    } else if (pre != "default" && pre != "gpt-2") {
      t->fail("pre-tokenizer " + qwha::io::quoted_name(pre) + " is not known");
    }
    std::size_t rank = 0;
    for (const std::string& merge : file.value<std::vector<std::string>>("tokenizer.ggml.merges")) {
      const std::size_t space = merge.find(' ', 1);
      if (space == std::string::npos) t->fail("merge " + std::to_string(rank) + " is not two pieces");
      t->add_merge(std::string_view(merge).substr(0, space), std::string_view(merge).substr(space + 1), rank);
      ++rank;
    }
  }
  t->add_bos = file.value_or<bool>("tokenizer.ggml.add_bos_token", t->add_bos);
  return tokenizer(std::move(t));
}

// --- Hugging Face -------------------------------------------------------------------------------------------------

namespace {

using json = nlohmann::json;

// The steps of a normalizer, pre_tokenizer or post_processor: a sequence, a single one, or none.
std::vector<json> steps(const json& root, const char* key, const char* list) {
  if (!root.contains(key) || root.at(key).is_null()) return {};
  const json& step = root.at(key);
  if (step.at("type") != "Sequence") return {step};
  return step.at(list).get<std::vector<json>>();
}

split_rule split_of(const std::string& pattern, const std::string& file) {
  const std::string head = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})";
  const std::string tail = R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  if (pattern == head + "{1,3}" + tail) return {.modern = true, .digits = 3};
  if (pattern == head + tail) return {.modern = true, .digits = 1};
  throw qwha::format_error(
      file + ": the pre-tokenizer splits by a pattern that is not known: " + qwha::io::quoted_name(pattern));
}

}  // namespace

tokenizer tokenizer::of_json(const std::filesystem::path& path) {
  auto t = std::make_shared<tables>();
  t->file = path.string();
  const qwha::io::mapped_file map(path);
  const json root = qwha::io::parse_json(t->file, map.bytes());
  try {
    const json& model = root.at("model");
    if (model.value("type", "BPE") != "BPE")
      t->fail("tokenizer model " + model.at("type").dump() + " is not known; BPE is");
    constexpr std::int64_t most = 1 << 24;
    const auto put = [&](const std::string& piece, std::int64_t id, piece_kind kind) {
      if (id < 0 || id >= most) t->fail("token id " + std::to_string(id) + " is outside [0, 2^24)");
      const auto i = static_cast<std::size_t>(id);
      if (i >= t->pieces.size()) t->pieces.resize(i + 1), t->kinds.resize(i + 1, piece_kind::unused);
      t->pieces[i] = piece;
      t->kinds[i] = kind;
    };
    for (const auto& [piece, id] : model.at("vocab").items()) {
      const bool byte = piece.size() == 6 && piece.starts_with("<0x") && piece.ends_with('>');
      put(piece, id.get<std::int64_t>(), byte ? piece_kind::byte : piece_kind::normal);
    }
    for (const json& added : root.value("added_tokens", json::array()))
      put(added.at("content"), added.at("id"),
          added.value("special", false) ? piece_kind::control : piece_kind::user_defined);

    t->escape_spaces = false;
    for (const json& step : steps(root, "normalizer", "normalizers")) {
      const std::string type = step.at("type");
      if (type == "Prepend" && step.at("prepend") == meta_space)
        t->prefix = space_prefix::after_special;
      else if (type == "Replace" && step.at("pattern").value("String", "") == " " && step.at("content") == meta_space)
        t->escape_spaces = true;
      else if (type != "NFC")  // llama.cpp does not compose characters either
        t->fail("normalizer " + qwha::io::quoted_name(type) + " is not known");
    }
    for (const json& step : steps(root, "pre_tokenizer", "pretokenizers")) {
      const std::string type = step.at("type");
      if (type == "ByteLevel") {
        t->byte_level = true;
      } else if (type == "Digits" && step.value("individual_digits", false)) {
        t->split.numbers_apart = true;
      } else if (type == "Metaspace") {
        t->escape_spaces = true;
        const std::string scheme =
            step.value("prepend_scheme", step.value("add_prefix_space", true) ? "always" : "never");
        t->prefix = scheme == "never"   ? space_prefix::never
                    : scheme == "first" ? space_prefix::at_start
                                        : space_prefix::after_special;
      } else if (type == "Split" && step.at("pattern").contains("Regex")) {
        t->split = split_of(step.at("pattern").at("Regex"), t->file);
      } else if (type != "Split" || step.at("pattern").value("String", "") != " " || !t->escape_spaces) {
        t->fail("pre-tokenizer " + qwha::io::quoted_name(type) +
                " is not known");  // Gemma's splits at spaces, but none are left
      }
    }
    t->ignore_merges = model.value("ignore_merges", false);
    if (model.contains("unk_token") && model.at("unk_token").is_string())
      for (std::size_t i = 0; i < t->pieces.size(); ++i)
        if (t->pieces[i] == model.at("unk_token").get_ref<const std::string&>()) t->unknown = static_cast<token>(i);
    t->index();
    std::size_t rank = 0;
    for (const json& merge : model.at("merges")) {
      const std::string text = merge.is_string() ? merge.get<std::string>() : "";
      const std::size_t space = text.find(' ', 1);
      if (merge.is_string() && space != std::string::npos)
        t->add_merge(text.substr(0, space), text.substr(space + 1), rank);
      else if (merge.is_array() && merge.size() == 2)
        t->add_merge(merge[0].get<std::string>(), merge[1].get<std::string>(), rank);
      else
        t->fail("merge " + std::to_string(rank) + " is not two pieces");
      ++rank;
    }
    for (const json& step : steps(root, "post_processor", "processors")) {
      if (step.at("type") != "TemplateProcessing" || step.at("single").empty()) continue;
      const json& first = step.at("single").at(0);
      if (!first.contains("SpecialToken")) continue;
      t->bos = t->find(first.at("SpecialToken").at("id").get<std::string>()).value_or(-1);
      t->add_bos = t->bos >= 0;
    }
    if (const auto config = path.parent_path() / "tokenizer_config.json"; std::filesystem::exists(config)) {
      const qwha::io::mapped_file config_map(config);
      const json settings = qwha::io::parse_json(config.string(), config_map.bytes());
      const json& eos = settings.contains("eos_token") ? settings.at("eos_token") : json(nullptr);
      const json& text = eos.is_object() ? eos.at("content") : eos;
      if (text.is_string()) t->eos = t->find(text.get<std::string>()).value_or(-1);
    }
  } catch (const json::exception& e) {
    t->fail(e.what());
  }
  return tokenizer(std::move(t));
}

}  // namespace engine
