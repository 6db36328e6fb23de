// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// How many coefficients each linear layer gets.

#include <array>
#include <cstddef>
#include <utility>
#include <vector>

#include "engine/block.hpp"
#include "engine/model_config.hpp"
#include "options.hpp"

namespace adapt {

/// [out, in] of a linear layer.
std::pair<std::size_t, std::size_t> shape_of(const engine::model_config& config, engine::linear_role role);

/// Coefficients by block and role.
using budget_table = std::vector<std::array<std::size_t, engine::all_roles.size()>>;

/// With --rank, rank (in + out) for each layer; with --parameters, that many in all, shared out in proportion to in + out.
/// @throws qwha::value_error when a layer would get more coefficients than it has weights, or none;
///         qwha::unsupported_order when a layer's width has no Hadamard matrix
budget_table share_out(const options& options, const engine::model_config& config);

}  // namespace adapt
