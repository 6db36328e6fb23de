// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// A model on disk, read block after block: only the block in work is ever dense.

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "block.hpp"
#include "model_config.hpp"
#include "tokenizer.hpp"
#include "weight_file.hpp"

namespace engine {

/// Weights stay in the mapped file; functions are const and may be called from many threads.
class model {
 public:
  /// @param path  a GGUF file, or a Hugging Face directory (config.json, tokenizer.json, safetensors)
  /// @throws qwha::format_error, qwha::io_error
  explicit model(const std::filesystem::path& path);

  const std::string& name() const noexcept { return name_; }  ///< file or folder name, for tables and reports
  const model_config& config() const noexcept { return config_; }
  std::size_t layers() const noexcept { return config_.layers.size(); }
  /// @throws qwha::format_error when the model came without one (a Hugging Face directory without tokenizer.json)
  const tokenizer& text() const;
  bool has_text() const noexcept { return text_ != nullptr; }

  /// One block, every linear dense. Shapes and finiteness are checked: @throws qwha::format_error that names the tensor
  block_weights load_block(std::size_t layer) const;

  /// hidden [tokens, hidden] = scaled embeddings; rows are decoded from the file one by one.
  /// @throws qwha::value_error for an id outside the vocabulary
  void embed(std::span<const token> tokens, rows_view<float> hidden) const;
  /// The norm before the logits, in place.
  void final_norm(rows_view<float> hidden, const executor& where = default_executor()) const;
  /// logits [tokens, vocabulary] of normed hidden states.
  void logits(rows_view<const float> normed, rows_view<float> out, const executor& where = default_executor()) const;
  /// The weights [vocabulary, hidden] behind the logits, still packed as in the file.
  const linear& head() const noexcept { return head_; }

  /// [out, in] of a linear layer.
  std::pair<std::size_t, std::size_t> shape(linear_role role) const noexcept;
  /// Bytes that all weights would take as floats.
  std::size_t dense_bytes() const { return file_.elements() * sizeof(float); }

 private:
  std::vector<float> norm(const std::string& tensor, std::size_t size) const;

  std::string name_;
  weight_file file_;
  model_config config_;
  std::unique_ptr<tokenizer> text_;
  std::string prefix_;  // of Hugging Face names
  std::shared_ptr<const weight_source> embedding_;
  linear head_;
  std::vector<float> final_norm_;
};

}  // namespace engine
