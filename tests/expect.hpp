// SPDX-License-Identifier: MIT
#pragma once
/// What an exception says.

#include <initializer_list>
#include <string>
#include <string_view>
#include <typeinfo>

namespace qwha::test {

/// Calls `f` and returns what its exception of type E (exactly) says; empty when it throws nothing of the kind.
template <class E, class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const E& e) {
    return typeid(e) == typeid(E) ? e.what() : "";
  } catch (...) {
  }
  return {};
}

/// Are all `parts` in a text that is not empty?
inline bool mentions(std::string_view text, std::initializer_list<std::string_view> parts) {
  for (const std::string_view part : parts)
    if (text.find(part) == text.npos) return false;
  return !text.empty();
}
inline bool mentions(std::string_view text, std::string_view part) { return mentions(text, {part}); }

}  // namespace qwha::test
