// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Writes safetensors files, byte for byte as the official writer would.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include <nlohmann/json.hpp>

#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/io/atomic_file.hpp>
#include <qwha/io/dtype.hpp>
#include <qwha/io/message.hpp>
#include <qwha/io/safetensors.hpp>
#include <qwha/io/tensor.hpp>

namespace qwha::io::inline QWHA_ISA {

namespace detail {

/// JSON text of a string. @throws format_error when it is not UTF-8
inline std::string json_text(const std::string& file, const std::string& text) {
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception&) {
    throw format_error(joined(file, ": ", quoted_name(text), " is not UTF-8"));
  }
}

}  // namespace detail

/// Writes to `sink(const void* data, std::size_t size)`: widest type first, then by name; the header padded with spaces
/// to a multiple of 8, so that every tensor lies aligned.
/// @param file  how messages call the file
/// @throws format_error for a repeated name, a type that the format lacks, bytes that do not fit their shape, text that
/// is
///         not UTF-8, or a header above 100 MB
template <class Sink>
void emit_safetensors(Sink&& sink, const std::string& file, std::span<const tensor> tensors,
                      const std::map<std::string, std::string>& metadata = {}) {
  std::vector<const tensor*> order;
  order.reserve(tensors.size());
  for (const tensor& t : tensors) order.push_back(&t);
  std::sort(order.begin(), order.end(), [](const tensor* a, const tensor* b) {
    const int rank_a = info(a->dtype).safetensors_order, rank_b = info(b->dtype).safetensors_order;
    return std::tie(rank_b, a->name) < std::tie(rank_a, b->name);
  });

  std::string header = "{";
  if (!metadata.empty()) {
    header += "\"__metadata__\":{";
    for (const auto& [key, text] : metadata)
      header +=
          joined(header.ends_with('{') ? "" : ",", detail::json_text(file, key), ":", detail::json_text(file, text));
    header += "}";
  }
  std::size_t end = 0;
  for (const tensor* t : order) {
    const std::string_view type = info(t->dtype).safetensors;
    if (type.empty())
      throw format_error(joined(file, ": tensor ", quoted_name(t->name), ": safetensors has no type ", name(t->dtype)));
    if (t->name == "__metadata__") throw format_error(joined(file, ": a tensor cannot be named '__metadata__'"));
    header += joined((header.size() == 1 ? "" : ","), detail::json_text(file, t->name), ":{\"dtype\":\"", type,
                     "\",\"shape\":[");
    for (std::size_t i = 0; i < t->shape.size(); ++i) header += joined(i == 0 ? "" : ",", t->shape[i]);
    header += joined("],\"data_offsets\":[", end);
    end += checked_size(file, *t);
    header += joined(",", end, "]}");
  }
  header += "}";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  if (header.size() > safetensors_header_limit)
    throw format_error(joined(file, ": the header would be longer than 100 MB"));
  const tensor_table names_are_unique(file, {tensors.begin(), tensors.end()});

  const std::uint64_t length = header.size();
  sink(&length, sizeof length);
  sink(header.data(), header.size());
  for (const tensor* t : order) sink(t->bytes.data(), t->bytes.size());
}

/// Writes a file, whole or not at all. @throws as emit_safetensors; io_error
inline void write_safetensors(const std::filesystem::path& path, std::span<const tensor> tensors,
                              const std::map<std::string, std::string>& metadata = {}) {
  atomic_file file(path);
  emit_safetensors([&](const void* data, std::size_t size) { file.write(data, size); }, path.string(), tensors,
                   metadata);
  file.commit();
}

}  // namespace qwha::io::inline QWHA_ISA
