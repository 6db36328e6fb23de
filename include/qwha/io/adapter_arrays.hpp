// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// The tensors that stand for a spectrum in adapter files, safetensors and GGUF alike.

#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/io/adapter_module.hpp>
#include <qwha/io/convert.hpp>
#include <qwha/io/message.hpp>
#include <qwha/io/tensor.hpp>

namespace qwha::io::inline QWHA_ISA::detail {

inline constexpr std::string_view adapter_offsets_suffix = ".qwha_row_ptr";
inline constexpr std::string_view adapter_columns_suffix = ".qwha_col";
inline constexpr std::string_view adapter_values_suffix = ".qwha_val";

/// Version of our adapter files; readers refuse a higher one.
inline constexpr std::uint32_t adapter_version = 1;

/// Three tensors a module: row starts i64 [out + 1], columns i32 [p], values f32 [p]. The integers live here, the
/// values in the adapter.
class adapter_arrays {
 public:
  adapter_arrays(const adapter_file& adapter, std::string_view name_suffix) {
    for (const adapter_module& m : adapter.modules) {
      const std::string base = m.name + std::string(name_suffix);
      const auto& offsets = offsets_.emplace_back(m.spectrum.offsets().begin(), m.spectrum.offsets().end());
      const auto& columns = columns_.emplace_back(m.spectrum.columns().begin(), m.spectrum.columns().end());
      const std::size_t p = m.spectrum.size();
      tensors_.push_back(
          tensor_of<std::int64_t>(base + std::string(adapter_offsets_suffix), {offsets.size()}, offsets));
      tensors_.push_back(tensor_of<std::int32_t>(base + std::string(adapter_columns_suffix), {p}, columns));
      tensors_.push_back(tensor_of<float>(base + std::string(adapter_values_suffix), {p}, m.spectrum.values()));
    }
  }
  std::span<const tensor> tensors() const noexcept { return tensors_; }

 private:
  std::deque<std::vector<std::int64_t>> offsets_;
  std::deque<std::vector<std::int32_t>> columns_;
  std::vector<tensor> tensors_;
};

/// Reads a module back from a file with `at` and `file` (safetensors_file or gguf_file).
template <class File>
adapter_module read_module(const File& from, const std::string& name, std::string_view name_suffix,
                           std::string_view order_name, std::uint64_t out, std::uint64_t in) {
  const std::string base = name + std::string(name_suffix);
  const auto array = [&](std::string_view suffix, std::size_t length) -> const tensor& {
    const tensor& t = from.at(base + std::string(suffix));
    if (t.shape.size() != 1 || t.size() != length)
      throw format_error(joined(from.file(), ": tensor ", quoted_name(t.name), " has the shape ", shape_text(t.shape),
                                " instead of [", length, "]"));
    return t;
  };
  const tensor& values = from.at(base + std::string(adapter_values_suffix));
  if (out >= std::numeric_limits<std::uint32_t>::max() || in > std::numeric_limits<std::uint32_t>::max())
    throw format_error(joined(from.file(), ": module ", quoted_name(name), " has an impossible shape"));
  const auto serial = executor::serial();
  try {
    return make_module(
        from.file(), name, order_name, static_cast<std::size_t>(out), static_cast<std::size_t>(in),
        read<std::size_t>(from.file(), array(adapter_offsets_suffix, static_cast<std::size_t>(out) + 1), serial),
        read<std::uint32_t>(from.file(), array(adapter_columns_suffix, values.size()), serial),
        read<float>(from.file(), array(adapter_values_suffix, values.size()), serial));
  } catch (const value_error& e) {  // a negative index
    throw format_error(e.what());
  }
}

}  // namespace qwha::io::inline QWHA_ISA::detail
