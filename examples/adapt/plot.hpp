// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// The error of every layer under every method, drawn as SVG.

#include <filesystem>
#include <string>

#include "report.hpp"

namespace adapt {

/// Small multiples: a panel for each kind of linear layer, depth to the right, relative error upwards, a line a method.
/// Legible on light and on dark pages: the drawing follows the reader's colour scheme.
std::string draw_layer_errors(const run_figures& run);

/// @throws qwha::io_error; nothing is left half-written
void write_plot(const std::filesystem::path& file, const run_figures& run);

}  // namespace adapt
