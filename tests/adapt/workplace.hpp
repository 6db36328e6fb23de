// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// A folder with a tiny random Llama in Hugging Face's layout and two texts, for tests of the main job.

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>

#include "../engine/tiny_model.hpp"

namespace adapt_test {

namespace fs = std::filesystem;

inline std::string slurp(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// Byte-level BPE without merges: a byte is a token. Bytes that are no visible Latin-1 characters are written as U+0100,
/// U+0101, … in their order.
inline void write_tokenizer(const fs::path& folder) {
  nlohmann::json vocabulary = nlohmann::json::object();
  unsigned invisible = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const bool visible = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte != 0xad);
    const unsigned code = visible ? byte : invisible++;
    std::string piece;
    if (code >= 0x80) piece += static_cast<char>(0xc0 | (code >> 6));
    piece += static_cast<char>(code < 0x80 ? code : 0x80 | (code & 0x3f));
    vocabulary[piece] = byte;
  }
  const nlohmann::json bytes{{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}};
  const nlohmann::json root{{"added_tokens", nlohmann::json::array()},
                            {"pre_tokenizer", bytes},
                            {"decoder", bytes},
                            {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", nlohmann::json::array()}}}};
  std::ofstream(folder / "tokenizer.json") << root.dump();
}

/// A tiny Llama with a token for each byte.
inline engine_test::tiny_model byte_model() {
  engine_test::tiny_model m = engine_test::make_tiny("llama", 7);
  m.vocabulary = 256;
  std::uint64_t stream = 0;
  for (const char* name : {"model.embed_tokens.weight", "lm_head.weight"}) {
    const qwha::counter_random random(7, ++stream);
    auto& w = m.weights.at(name);
    w.shape = {m.vocabulary, m.hidden};
    w.values.resize(m.vocabulary * m.hidden);
    for (std::size_t i = 0; i < w.values.size(); ++i) w.values[i] = static_cast<float>(random.uniform(i) - 0.5);
  }
  return m;
}

inline std::string letters(std::size_t count, std::uint64_t seed) {
  const qwha::counter_random random(seed);
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text += i % 7 == 6 ? ' ' : static_cast<char>('a' + random.below(26, i));
  return text;
}

struct workplace {
  fs::path folder = fs::temp_directory_path() / ("qwha_adapt_test_" + std::to_string(::getpid()));
  engine_test::tiny_model model = byte_model();

  workplace() {
    engine_test::write_hugging_face(model, folder / "model");
    write_tokenizer(folder / "model");
    std::ofstream(folder / "calibration.txt") << letters(4000, 1);
    std::ofstream(folder / "evaluation.txt") << letters(2000, 2);
  }
  ~workplace() { fs::remove_all(folder); }
  workplace(const workplace&) = delete;
  workplace& operator=(const workplace&) = delete;

  std::string path(const std::string& name) const { return (folder / name).string(); }
};

}  // namespace adapt_test
