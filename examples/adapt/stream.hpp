// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Texts on their way through the model, and what the layers that they pass see of them.

#include <cstddef>
#include <filesystem>
#include <map>
#include <optional>

#include <qwha/fit/gptq_factor.hpp>
#include <qwha/fit/second_moment.hpp>
#include <qwha/fit/spectral_moment.hpp>

#include "engine/evaluate.hpp"
#include "engine/graph.hpp"
#include "engine/model.hpp"

namespace adapt {

/// The first `max_tokens` tokens of a text in whole windows.
/// @throws qwha::io_error, qwha::value_error that name the file: unreadable, empty, fewer tokens than one window
engine::token_windows read_windows(const engine::model& model, const std::filesystem::path& path, std::size_t context,
                                   std::size_t max_tokens);

/// Hidden states of windows on their way through the blocks.
struct stream {
  engine::token_windows windows;
  engine::matrix hidden;

  stream(const engine::model& model, engine::token_windows w)
      : windows(std::move(w)), hidden(windows.tokens.size(), model.config().hidden) {
    model.embed(windows.tokens, hidden.view());
  }
  stream(const stream& other) : windows(other.windows), hidden(other.hidden.view()) {}
  stream(stream&&) noexcept = default;
};

/// The second moment of what one or more linear layers read. What can be derived from it is made when first asked for.
class layer_input {
 public:
  explicit layer_input(std::size_t width) : moment_(width) {}

  void accumulate(qwha::rows_view<const float> x) { moment_.accumulate(x); }
  const qwha::second_moment& moment() const noexcept { return moment_; }
  const qwha::gptq_factor& factor() { return factor_ ? *factor_ : factor_.emplace(moment_); }
  const qwha::spectral_moment<>& spectral() { return spectral_ ? *spectral_ : spectral_.emplace(moment_); }

 private:
  qwha::second_moment moment_;
  std::optional<qwha::gptq_factor> factor_;
  std::optional<qwha::spectral_moment<>> spectral_;
};

/// The inputs of one block's linear layers, by the first role that reads each.
class block_inputs {
 public:
  engine::observer watch() {
    return [this](engine::linear_role role, qwha::rows_view<const float> x) {
      inputs_.try_emplace(role, x.cols).first->second.accumulate(x);
    };
  }
  layer_input& of(engine::linear_role role) { return inputs_.at(engine::input_of(role)); }
  const layer_input& of(engine::linear_role role) const { return inputs_.at(engine::input_of(role)); }

 private:
  std::map<engine::linear_role, layer_input> inputs_;
};

}  // namespace adapt
