// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Instructions per element of the hot kernels: what callgrind counted against what is committed.

#include <iosfwd>
#include <map>
#include <string>

#include <nlohmann/json.hpp>

namespace bench {

/// By case.
using instructions_per_element = std::map<std::string, double>;

/// The dumps that kernels.cpp asked callgrind for. A dump is named "case @ elements"; one named "case minus other @
/// elements" stands for what `case` adds to the case `other`.
/// @throws std::runtime_error saying what is missing
instructions_per_element read_callgrind(std::istream& in);

enum class verdict { same, differs, unknown_compiler };

/// Prints a line for every case that differs by more than values["tolerance"] either way, is new, or is gone.
/// @param values    {"tolerance": 0.05, "compilers": {"GNU 12": {case: instructions per element, …}, …}}
/// @param only      part of a name: committed cases without it are not missed
verdict compare(const instructions_per_element& counted, const nlohmann::ordered_json& values,
                const std::string& compiler, std::ostream& out, const std::string& only = {});

/// `values` with this compiler's counts replaced.
nlohmann::ordered_json refreshed(nlohmann::ordered_json values, const std::string& compiler,
                                 const instructions_per_element& counted);

}  // namespace bench
