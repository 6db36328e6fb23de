// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// The main job: calibrate, quantize, repair and judge a model, block after block.

#include <span>
#include <vector>

#include "options.hpp"
#include "report.hpp"

namespace adapt {

/// Runs the job and writes the adapters to `options.output`; progress on stderr.
///
/// Every method keeps its own copy of the evaluation text's hidden states, and with sequential calibration of the
/// calibration text's, so each block of the model is dense only while it is in work: memory is the hidden states, one
/// block, and its second moments.
/// @throws qwha::error for bad input, `interrupted` after Ctrl-C
run_figures run(const options& options);

/// Several jobs at once, which share the passes of the texts through the model as it is: the figures of each are those
/// that it has alone, except for its seconds.
/// @pre at least one job; all have the model, texts, token counts and context of the first
std::vector<run_figures> run_together(std::span<const options> jobs);

}  // namespace adapt
