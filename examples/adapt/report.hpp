// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Every figure of a run: as a table for people, as JSON for programs.

#include <cstddef>
#include <filesystem>
#include <iosfwd>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace adapt {

/// One linear layer under one method. Errors are ‖(W0 - W) X‖ over the tokens of the evaluation text.
struct layer_figures {
  std::string name;  ///< "blk.0.attn_q"
  double error_before = 0;
  double error_after = 0;
  std::size_t parameters = 0;
};

struct method_figures {
  std::string name;
  std::size_t parameters = 0;
  double perplexity = 0;
  double quantize_seconds = 0;
  double fit_seconds = 0;
  std::vector<layer_figures> layers;

  /// Mean over layers of error_after / error_before; a layer that quantization left exact counts as 1.
  double relative_error() const;
};

struct run_figures {
  std::string model;
  int bits = 0;
  std::string quantizer;
  std::size_t group = 0;
  std::optional<std::size_t> rank;
  bool sequential = false;
  std::size_t calibration_tokens = 0;
  std::size_t evaluation_tokens = 0;
  double reference_perplexity = 0;
  std::vector<method_figures> methods;
};

/// "2 bits in groups of 64", or "8 bits, a scale a row" for group 0.
std::string quantizer_shape(int bits, std::size_t group);

/// A method a row: parameters, average relative layer-output error, perplexity, seconds.
void print_table(std::ostream& out, const run_figures& run);

/// @throws qwha::io_error; nothing is left half-written
void write_report(const std::filesystem::path& file, const run_figures& run);

}  // namespace adapt
