// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Writes GGUF files, version 3.

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/io/atomic_file.hpp>
#include <qwha/io/dtype.hpp>
#include <qwha/io/gguf.hpp>
#include <qwha/io/message.hpp>
#include <qwha/io/tensor.hpp>

namespace qwha::io::inline QWHA_ISA {

/// Collects metadata and tensors, then writes them. Keys and tensors keep the order in which they were given.
class gguf_writer {
 public:
  /// @param alignment  of tensors in the file: a power of two, 32 as everywhere else unless there is a reason
  explicit gguf_writer(std::uint32_t alignment = 32) : alignment_(alignment) {
    if (!std::has_single_bit(alignment)) throw value_error("gguf_writer: the alignment must be a power of two");
    if (alignment != 32) set("general.alignment", alignment);
  }

  /// A value: bool, a number, text, or a std::vector of numbers or texts. The file's type is that of the argument.
  /// @throws value_error when the key is empty or was set before
  template <class T>
  void set(const std::string& key, const T& value) {
    if (key.empty() || !keys_.insert(key).second)
      throw value_error(joined("gguf_writer: the metadata key ", quoted_name(key), " is empty or was set before"));
    ++value_count_;
    append_text(values_, key);
    if constexpr (detail::is_vector<T>) {
      using element = typename T::value_type;
      append(values_, static_cast<std::int32_t>(gguf_type::array));
      append(values_, static_cast<std::int32_t>(type_of<element>()));
      append(values_, std::uint64_t{value.size()});
      for (const element& e : value) append_value(e);
    } else {
      append(values_, static_cast<std::int32_t>(type_of<T>()));
      append_value(value);
    }
  }

  /// A tensor; its bytes must live until it is written.
  /// @throws format_error for a name of more than 63 bytes, a repeated name, more than 4 dimensions, a type that GGUF
  ///         lacks, rows that are not whole blocks, or bytes that do not fit the shape
  void add(tensor t) {
    const auto fail = [&](const std::string& rule) {
      throw format_error(joined("gguf_writer: tensor ", quoted_name(t.name), ": ", rule));
    };
    if (t.name.empty() || t.name.size() > gguf_longest_name)
      fail(joined("GGUF names have 1 to 63 bytes, this one has ", t.name.size()));
    if (!names_.insert(t.name).second) fail("the name was given before");
    if (t.shape.size() > 4) fail("GGUF tensors have at most 4 dimensions");
    if (info(t.dtype).ggml < 0) fail(joined("GGUF has no type ", name(t.dtype)));
    if (t.cols() % info(t.dtype).block_size != 0) fail("the rows are not whole blocks");
    checked_size("gguf_writer", t);
    tensors_.push_back(std::move(t));
  }

  /// Writes to `sink(const void* data, std::size_t size)`.
  template <class Sink>
  void emit(Sink&& sink) const {
    std::string head = "GGUF";
    append(head, std::uint32_t{3});
    append(head, std::uint64_t{tensors_.size()});
    append(head, value_count_);
    head += values_;
    std::uint64_t offset = 0;
    for (const tensor& t : tensors_) {
      append_text(head, t.name);
      append(head, static_cast<std::uint32_t>(t.shape.size()));
      for (std::size_t d = t.shape.size(); d-- > 0;) append(head, std::uint64_t{t.shape[d]});
      append(head, std::int32_t{info(t.dtype).ggml});
      append(head, offset);
      offset += t.bytes.size() + padding(t.bytes.size());
    }
    const std::string zeros(alignment_, '\0');
    sink(head.data(), head.size());
    sink(zeros.data(), padding(head.size()));
    for (const tensor& t : tensors_) {
      sink(t.bytes.data(), t.bytes.size());
      sink(zeros.data(), padding(t.bytes.size()));
    }
  }
  /// Writes a file, whole or not at all. @throws io_error
  void save(const std::filesystem::path& path) const {
    atomic_file file(path);
    emit([&](const void* data, std::size_t size) { file.write(data, size); });
    file.commit();
  }

 private:
  template <class T>
  static constexpr gguf_type type_of() {
    if constexpr (std::same_as<T, bool>) {
      return gguf_type::boolean;
    } else if constexpr (std::same_as<T, float>) {
      return gguf_type::f32;
    } else if constexpr (std::same_as<T, double>) {
      return gguf_type::f64;
    } else if constexpr (std::integral<T>) {
      constexpr gguf_type with_sign[] = {gguf_type::i8, gguf_type::i16, gguf_type::i32, gguf_type::i64};
      constexpr gguf_type without[] = {gguf_type::u8, gguf_type::u16, gguf_type::u32, gguf_type::u64};
      return (std::is_signed_v<T> ? with_sign : without)[std::bit_width(sizeof(T)) - 1];
    } else {
      static_assert(std::convertible_to<T, std::string_view>,
                    "gguf_writer::set: a bool, a number, text, or a vector of them");
      return gguf_type::string;
    }
  }
  template <class T>
  static void append(std::string& to, T number) {
    to.append(reinterpret_cast<const char*>(&number), sizeof number);
  }
  static void append_text(std::string& to, std::string_view text) {
    append(to, std::uint64_t{text.size()});
    to += text;
  }
  template <class T>
  void append_value(const T& value) {
    if constexpr (std::is_arithmetic_v<T>) {
      append(values_, value);
    } else {
      append_text(values_, value);
    }
  }
  std::size_t padding(std::size_t size) const noexcept { return (alignment_ - size % alignment_) % alignment_; }

  std::uint32_t alignment_;
  std::string values_;  ///< metadata as it goes into the file
  std::uint64_t value_count_ = 0;
  std::set<std::string> keys_, names_;
  std::vector<tensor> tensors_;
};

}  // namespace qwha::io::inline QWHA_ISA
