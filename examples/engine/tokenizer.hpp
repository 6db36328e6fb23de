// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Text to token ids and back, as llama.cpp does it: SentencePiece-style BPE with byte fallback, and byte-level BPE.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <qwha/io/gguf.hpp>

#include "matrix.hpp"

namespace engine {

/// Immutable; copies share their tables.
class tokenizer {
 public:
  /// @throws qwha::format_error that names the file and the key
  static tokenizer of_gguf(const qwha::io::gguf_file& file);
  /// @param path  tokenizer.json of a Hugging Face model (model type BPE)
  static tokenizer of_json(const std::filesystem::path& path);

  /// Any bytes; what is not UTF-8 becomes byte tokens. Cost: n log n.
  /// @param add_bos  puts BOS first if the model asks for one
  /// @param parse_special  whether control tokens written in the text ("<bos>") become their ids
  std::vector<token> encode(std::string_view text, bool add_bos, bool parse_special = false) const;
  /// Control tokens give nothing. @throws qwha::value_error for an id outside the vocabulary
  std::string decode(const std::vector<token>& tokens) const;

  std::size_t size() const noexcept;
  token bos() const noexcept;  ///< -1: the model has none
  token eos() const noexcept;

 private:
  struct tables;
  explicit tokenizer(std::shared_ptr<const tables> t) : tables_(std::move(t)) {}
  std::shared_ptr<const tables> tables_;
};

}  // namespace engine
