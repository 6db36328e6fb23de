// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Names from files inside error messages: files may be hostile, terminals should not notice.

#include <cstddef>
#include <string>
#include <string_view>

#include <qwha/base/config.hpp>

namespace qwha::io::inline QWHA_ISA {

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
  return out + (text.size() > longest ? "…'" : "'");
}

}  // namespace qwha::io::inline QWHA_ISA
