// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Names of files that stand in other files: they must not lead out of the folder.

#include <string_view>

#include <qwha/base/config.hpp>

namespace qwha::io::inline QWHA_ISA {

/// Is this the name of a file in the same folder, on every system?
constexpr bool plain_file_name(std::string_view name) noexcept {
  return !name.empty() && name != "." && name != ".." && name.find_first_of(std::string_view("/\\:\0", 4)) == name.npos;
}

}  // namespace qwha::io::inline QWHA_ISA
