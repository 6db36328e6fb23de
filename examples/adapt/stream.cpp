// SPDX-License-Identifier: MIT
#include "stream.hpp"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

#include <qwha/base/error.hpp>

namespace adapt {
namespace {

std::string read_text(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::string text(std::istreambuf_iterator<char>(in), {});
  if (!in.good() && !in.eof()) throw qwha::io_error(path.string() + ": cannot be read");
  if (text.empty()) throw qwha::value_error(path.string() + ": the text is empty");
  return text;
}

}  // namespace

engine::token_windows read_windows(const engine::model& model, const std::filesystem::path& path, std::size_t context,
                                   std::size_t max_tokens) {
  const std::string text = read_text(path);
  // No language has fewer than a token in 16 bytes by much: what lies beyond is never looked at.
  const std::string_view head(text.data(), std::min(text.size(), 16 * max_tokens + 65536));
  try {
    return engine::make_windows(model.text().encode(head, true), context, model.text().bos(), max_tokens);
  } catch (const qwha::value_error& e) {
    throw qwha::value_error(path.string() + ": " + e.what());
  }
}

}  // namespace adapt
