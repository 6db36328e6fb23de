// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Text of error messages. Names come from files that may be hostile; terminals should not notice.

#include <concepts>
#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>

#include <qwha/base/config.hpp>

namespace qwha::io::inline QWHA_ISA {

/// Texts and integers one after another.
template <class... Parts>
std::string joined(const Parts&... parts) {
  std::string text;
  const auto append = [&](const auto& part) {
    if constexpr (std::integral<std::remove_cvref_t<decltype(part)>>) {
      text.append(std::to_string(part));
    } else {
      text.append(std::string_view(part));
    }
  };
  (append(parts), ...);
  return text;
}

/// `text` between single quotes: at most 120 bytes of it, control characters and quotes as \xNN.
inline std::string quoted_name(std::string_view text) {
  constexpr std::size_t longest = 120;
  constexpr char digits[] = "0123456789abcdef";
  std::string out = "'";
  for (const char c : text.substr(0, longest)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7f && c != '\'' && c != '\\') {
      out += c;
    } else {
      out += "\\x";
      out += digits[byte >> 4];
      out += digits[byte & 15];
    }
  }
  out += text.size() > longest ? "…'" : "'";
  return out;
}

}  // namespace qwha::io::inline QWHA_ISA
