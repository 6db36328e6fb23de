// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Results as tables for the reader and as figures.

#include <string>
#include <vector>

#include <drawing/chart.hpp>

#include "results.hpp"

namespace bench {

/// "AMD EPYC · GNU 12.2.0 · 2026-11-22 · 4b2fa83"
std::string origin(const results& r);

/// A file name of a processor: "AMD EPYC (family 26, model 2)" → "amd-epyc-family-26-model-2".
std::string slug(const std::string& cpu);

/// Markdown: a head with machine, and date, compiler and commit of every bench, then a table for every contest. Times are medians; beside them
/// the ratio to the contest's reference, the share of the copy's bandwidth, and half the distance of the quartiles where
/// that is more than 2 %.
/// @pre all were measured on one processor
std::string tables(const std::vector<results>& all);

struct figure {
  std::string name;  ///< of the file, without ".svg"
  drawing::chart chart;
};

/// Time over N for every peer, share of bandwidth over N, adapter cost over tokens: those that the results have.
std::vector<figure> figures(const std::vector<results>& all);

}  // namespace bench
