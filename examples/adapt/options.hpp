// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// What the user asked for on the command line, checked.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

namespace adapt {

/// How weights are quantized: `--quantizer` names a solver for integers in groups, or a format that brings its own shape.
enum class solver { rtn, gptq, gptq_magr };
enum class format { affine, nf4, nf4_dq, fp4, fp4_dq, mxfp4, nvfp4, int8, q4_0, q8_0, q4_k };

struct options {
  std::filesystem::path model;
  std::filesystem::path calibration;                ///< text that everything is fitted to
  std::optional<std::filesystem::path> evaluation;  ///< text that everything is judged on; none: the calibration text
  int bits = 2;
  std::size_t group = 64;  ///< weights that share a scale; 0: a whole row
  std::string quantizer = "gptq";
  adapt::solver solver = solver::gptq;
  adapt::format format = format::affine;
  std::size_t descent = 0;                ///< passes of coordinate descent on codes and scales after GPTQ
  double magr_alpha = 1e-3;               ///< weight of MagR's l-infinity norm
  bool sequential = false;                ///< each layer is fitted to what the repaired layers before it produce
  std::optional<std::size_t> rank = 16;   ///< a budget of rank (in + out) coefficients for every linear layer
  std::optional<std::size_t> parameters;  ///< or one for the whole model, shared out in proportion to in + out
  std::vector<std::string> methods{"none", "qwha-paper", "qwha"};
  std::size_t calibration_tokens = 32768;
  std::size_t evaluation_tokens = 8192;
  std::size_t context = 512;
  std::optional<std::filesystem::path> output;
  std::optional<std::filesystem::path> report;
  std::optional<std::filesystem::path> plot;
  int threads = 0;  ///< 0: all of the machine
  std::uint64_t seed = 0;
};

/// Whether two jobs make the same quantized layers of the same inputs.
inline bool quantize_alike(const options& a, const options& b) {
  const auto settings = [](const options& o) {
    return std::tie(o.bits, o.group, o.solver, o.format, o.descent, o.magr_alpha);
  };
  return settings(a) == settings(b);
}

/// The command line was not understood; `status` is what the program returns (0 for --help).
struct usage_error : std::runtime_error {
  usage_error(const std::string& text, int exit_status) : std::runtime_error(text), status(exit_status) {}
  int status;
};

/// @throws usage_error for words that the program does not know, qwha::value_error for values that it cannot use
options parse_options(int argc, const char* const* argv);

/// The folder that holds the default model and texts: $QWHA_CACHE, else $XDG_CACHE_HOME/qwha, else ~/.cache/qwha.
std::filesystem::path cache_folder();

}  // namespace adapt
