// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// The main job: calibrate, quantize, repair and judge a model, block after block.

#include "options.hpp"
#include "report.hpp"

namespace adapt {

/// Runs the job and writes the adapters to `options.output`; progress on stderr.
///
/// Every method keeps its own copy of the evaluation text's hidden states, so each block of the model is dense only while
/// it is in work: memory is the hidden states, one block, and its second moments.
/// @throws qwha::error for bad input, `interrupted` after Ctrl-C
run_figures run(const options& options);

}  // namespace adapt
