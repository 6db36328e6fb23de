// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// JSON from files that may be hostile: depth limited, no repeated keys, errors that name the file.

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include <nlohmann/json.hpp>

#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/io/message.hpp>

namespace qwha::io::inline QWHA_ISA {

/// Parses one JSON value that fills `text`.
/// @param file  how messages call the file
/// @throws format_error for bad syntax, bad UTF-8, a zero byte, a key repeated inside its object, or nesting beyond
///         `deepest` levels
inline nlohmann::json parse_json(std::string_view file, std::string_view text, int deepest = 64) {
  using json = nlohmann::json;
  if (text.find('\0') != std::string_view::npos) throw format_error(joined(file, ": holds a zero byte, so is no JSON"));
  std::vector<std::unordered_set<std::string>> keys;
  const auto check = [&](int depth, json::parse_event_t event, json& parsed) {
    switch (event) {
      case json::parse_event_t::object_start:
      case json::parse_event_t::array_start:
        if (depth >= deepest) throw format_error(joined(file, ": JSON nested deeper than ", deepest, " levels"));
        if (event == json::parse_event_t::object_start) keys.emplace_back();
        break;
      case json::parse_event_t::object_end: keys.pop_back(); break;
      case json::parse_event_t::key:
        if (!keys.back().insert(parsed.get_ref<const std::string&>()).second)
          throw format_error(joined(file, ": JSON key ", quoted_name(parsed.get_ref<const std::string&>()),
                                    " appears twice in one object"));
        break;
      default: break;
    }
    return true;
  };
  try {
    return json::parse(text.begin(), text.end(), check);
  } catch (const json::exception& e) {
    throw format_error(joined(file, ": bad JSON: ", e.what()));
  }
}

/// The same for a file's bytes.
inline nlohmann::json parse_json(std::string_view file, std::span<const std::byte> bytes, int deepest = 64) {
  return parse_json(file, {reinterpret_cast<const char*>(bytes.data()), bytes.size()}, deepest);
}

}  // namespace qwha::io::inline QWHA_ISA
