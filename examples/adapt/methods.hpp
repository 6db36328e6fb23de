// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// The methods that `--methods` names, each a way to repair one quantized linear layer.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <qwha/fit/initialize.hpp>

namespace adapt {

bool known_method(std::string_view name);
/// All of them, for messages: "none, qwha-paper, qwha".
std::string method_names();

/// What `initialize` is asked for, or nothing for the method that leaves the quantized layer as it is.
std::optional<qwha::fit_options> options_of(std::string_view method, std::size_t parameters, std::uint64_t seed);

}  // namespace adapt
