// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// GGUF files, versions 2 and 3: metadata and tensors, mapped, checked before anything large is allocated.

#include <algorithm>
#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/io/dtype.hpp>
#include <qwha/io/gguf_split.hpp>
#include <qwha/io/mapped_file.hpp>
#include <qwha/io/message.hpp>
#include <qwha/io/tensor.hpp>
#include <qwha/io/tensor_file.hpp>
#include <qwha/quant/quantized_matrix.hpp>

namespace qwha::io {

/// Types of metadata values; the numbers are the file's. Source: ggml-org/ggml, docs/gguf.md.
enum class gguf_type : std::int32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };

constexpr std::string_view name(gguf_type t) noexcept {
  constexpr std::array<std::string_view, 13> names{"u8",      "i8",     "u16",   "i16", "u32", "i32", "f32",
                                                   "boolean", "string", "array", "u64", "i64", "f64"};
  const auto i = static_cast<std::uint32_t>(t);
  return i < names.size() ? names[i] : "unknown";
}

/// Bytes of a value of fixed size, 0 for strings and arrays.
constexpr std::size_t size_of(gguf_type t) noexcept {
  constexpr std::array<std::uint8_t, 13> sizes{1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  const auto i = static_cast<std::uint32_t>(t);
  return i < sizes.size() ? sizes[i] : 0;
}

/// Bytes of a tensor's name. Source: ggml-org/ggml, include/ggml.h.
inline constexpr std::size_t gguf_longest_name = 63;

/// One metadata entry as it lies in the file.
struct gguf_value {
  std::string_view key;
  gguf_type type = gguf_type::u8;  ///< of the value, or of an array's elements
  bool is_array = false;
  std::size_t count = 1;             ///< elements of an array
  std::span<const std::byte> bytes;  ///< the elements; strings with their lengths
};

}  // namespace qwha::io

namespace qwha::io::inline QWHA_ISA {

namespace detail {

/// Reads forward through a file; every read is checked against what is left.
class gguf_cursor {
 public:
  gguf_cursor(std::string_view file, std::span<const std::byte> bytes) noexcept : file_(file), bytes_(bytes) {}

  std::size_t position() const noexcept { return position_; }
  std::size_t left() const noexcept { return bytes_.size() - position_; }
  [[noreturn]] void fail(const std::string& rule) const {
    throw format_error(joined(file_, ": ", rule, " (at byte ", position_, ")"));
  }
  std::span<const std::byte> take(std::size_t count, const char* what) {
    if (count > left()) fail(std::string("the file ends inside ") + what);
    const auto taken = bytes_.subspan(position_, count);
    position_ += count;
    return taken;
  }
  template <class T>
  T number(const char* what) {
    return load<T>(take(sizeof(T), what).data());
  }
  std::string_view string(const char* what) {
    const auto length = number<std::uint64_t>(what);
    if (length > left()) fail(joined("the length of ", what, " reaches past the end of the file"));
    const auto text = take(static_cast<std::size_t>(length), what);
    return {reinterpret_cast<const char*>(text.data()), text.size()};
  }

 private:
  std::string_view file_;
  std::span<const std::byte> bytes_;
  std::size_t position_ = 0;
};

inline std::string_view gguf_string_at(std::span<const std::byte>& rest) noexcept {
  const auto length = static_cast<std::size_t>(load<std::uint64_t>(rest.data()));
  const std::string_view text(reinterpret_cast<const char*>(rest.data()) + 8, length);
  rest = rest.subspan(8 + length);
  return text;
}

/// Calls `f(element)` with the number at `p` in its own type (bool for booleans).
template <class F>
bool with_gguf_number(gguf_type type, const std::byte* p, F&& f) {
  switch (type) {
    case gguf_type::u8: return f(load<std::uint8_t>(p));
    case gguf_type::i8: return f(load<std::int8_t>(p));
    case gguf_type::u16: return f(load<std::uint16_t>(p));
    case gguf_type::i16: return f(load<std::int16_t>(p));
    case gguf_type::u32: return f(load<std::uint32_t>(p));
    case gguf_type::i32: return f(load<std::int32_t>(p));
    case gguf_type::f32: return f(load<float>(p));
    case gguf_type::boolean: return f(*p != std::byte{0});
    case gguf_type::u64: return f(load<std::uint64_t>(p));
    case gguf_type::i64: return f(load<std::int64_t>(p));
    case gguf_type::f64: return f(load<double>(p));
    default: return false;
  }
}

template <class T>
inline constexpr bool is_vector = false;
template <class T>
inline constexpr bool is_vector<std::vector<T>> = true;

/// A number of the file as T: integers exactly; floating point from floating point, or from integers with one rounding.
template <class T, class V>
bool metadata_number(T& to, V from) noexcept {
  if constexpr (std::same_as<T, bool> || std::same_as<V, bool>) {
    if constexpr (std::same_as<T, V>) to = from;
    return std::same_as<T, V>;
  } else if constexpr (std::integral<T>) {
    if constexpr (std::integral<V>) return assign(to, from);
    return false;
  } else {
    to = static_cast<T>(from);
    return true;
  }
}

}  // namespace detail

/// A GGUF file, read only: one, or all parts of a split one, whose tensors then stand together and whose metadata is the
/// first part's. Copies share the mappings; tensors and views stay valid while any copy lives.
/// Checked: header, every metadata value, unique keys and names, known types, whole blocks per row, offsets that follow
/// one another without holes, sizes inside the file. Source: ggml-org/ggml, docs/gguf.md and src/gguf.cpp.
class gguf_file : public tensor_file {
 public:
  /// @param path  the file, or the first part of a split one ("…-00001-of-00003.gguf"): the others lie beside it
  /// @throws io_error when a file cannot be mapped; format_error that names file, key or tensor, and the rule
  explicit gguf_file(const std::filesystem::path& path) {
    open(path);
    if (const gguf_split own = split(); own.count > 1) join_parts(path, own);
  }
  /// A file, or a part of one, that lies in memory, which must outlive the object and its copies.
  /// @param file  how messages call it
  static gguf_file from_memory(std::span<const std::byte> bytes, const std::string& file = "GGUF in memory") {
    gguf_file f;
    f.parse(file, bytes);
    return f;
  }

  std::vector<std::string> keys() const {
    std::vector<std::string> keys;
    keys.reserve(values_.size());
    for (const gguf_value& v : values_) keys.emplace_back(v.key);
    return keys;
  }
  /// All entries in file order.
  std::span<const gguf_value> values() const noexcept { return values_; }
  bool has_key(std::string_view key) const noexcept { return by_key_.contains(key); }

  /// The value of a key as T: bool, an integer type, float, double, std::string, std::string_view (into the file), or a
  /// std::vector of one of these for arrays. Integers convert when T holds the value; floating point takes any number.
  /// @throws format_error when the key is missing or holds something else
  template <class T>
  T value(std::string_view key) const {
    const auto it = by_key_.find(key);
    if (it == by_key_.end()) throw format_error(joined(file(), ": has no metadata key ", quoted_name(key)));
    const gguf_value& v = values_[it->second];
    if constexpr (detail::is_vector<T>) {
      if (!v.is_array) wrong_type(v);
      return array<typename T::value_type>(v);
    } else {
      if (v.is_array) wrong_type(v);
      T result{};
      std::span<const std::byte> rest = v.bytes;
      if (!next(v, rest, result)) wrong_type(v);
      return result;
    }
  }
  /// The same, or `fallback` where the key is missing. A value of the wrong type is still an error.
  template <class T>
  T value_or(std::string_view key, T fallback) const {
    return has_key(key) ? value<T>(key) : std::move(fallback);
  }

  /// What the file says of the parts that it was split into.
  /// @throws format_error for values of a wrong type, and a part beyond their number
  gguf_split split() const {
    gguf_split s;
    s.part = value_or<std::uint16_t>("split.no", 0);
    s.count =
        std::max<std::uint16_t>(1, value_or<std::uint16_t>("split.count", 1));  // llama.cpp: 0 is not split either
    if (s.part >= s.count)
      throw format_error(joined(file(), ": metadata key 'split.no' is ", s.part, " of ", s.count, " parts"));
    if (has_key("split.tensors.count")) s.tensors = value<std::uint32_t>("split.tensors.count");
    return s;
  }

 private:
  static constexpr std::size_t longest = std::size_t{1} << 30;  ///< of a string or an array, as in ggml

  gguf_file() = default;

  void open(const std::filesystem::path& path) {
    auto map = std::make_shared<const mapped_file>(path);
    parse(path.string(), map->bytes());
    maps_.push_back(std::move(map));
  }

  /// Adds the tensors of the other parts.
  void join_parts(const std::filesystem::path& path, const gguf_split& own) {
    const auto fail = [](const std::string& part, const std::string& rule) {
      throw format_error(joined(part, ": ", rule));
    };
    if (own.part != 0) fail(file(), joined("is part ", own.part + 1, " of ", own.count, ": open the first"));
    std::vector<tensor> all(tensors().begin(), tensors().end());
    for (std::size_t part = 1; part < own.count; ++part) {
      gguf_file next;
      next.open(gguf_part_path(path, part, own.count));
      const gguf_split found = next.split();
      if (found.part != part || found.count != own.count)
        fail(next.file(), joined("says it is part ", found.part + 1, " of ", found.count, ", its name says ", part + 1,
                                 " of ", own.count));
      all.insert(all.end(), next.tensors().begin(), next.tensors().end());
      maps_.push_back(std::move(next.maps_.front()));
    }
    if (own.tensors && *own.tensors != all.size())
      fail(file(),
           joined("says that its ", own.count, " parts hold ", *own.tensors, " tensors, they hold ", all.size()));
    table_ = tensor_table(std::string(file()), std::move(all));  // refuses a tensor in two parts
  }

  [[noreturn]] void wrong_type(const gguf_value& v) const {
    throw format_error(joined(file(), ": metadata key ", quoted_name(v.key), " holds ",
                              (v.is_array ? "an array of " : ""), io::name(v.type),
                              ", which is not of the type wanted or out of its range"));
  }

  /// The next element of `rest` as T; false when it is of another kind or does not fit.
  template <class T>
  static bool next(const gguf_value& v, std::span<const std::byte>& rest, T& result) {
    if constexpr (std::same_as<T, std::string> || std::same_as<T, std::string_view>) {
      if (v.type != gguf_type::string) return false;
      result = T(detail::gguf_string_at(rest));
      return true;
    } else {
      const bool ok = detail::with_gguf_number(v.type, rest.data(),
                                               [&](auto number) { return detail::metadata_number(result, number); });
      rest = rest.subspan(size_of(v.type));
      return ok;
    }
  }
  template <class T>
  std::vector<T> array(const gguf_value& v) const {
    std::vector<T> result;
    result.reserve(v.count);  // the elements are there: each takes at least one byte of the file
    std::span<const std::byte> rest = v.bytes;
    for (std::size_t i = 0; i < v.count; ++i) {
      T element{};
      if (!next(v, rest, element)) wrong_type(v);
      result.push_back(std::move(element));
    }
    return result;
  }

  void parse(const std::string& file, std::span<const std::byte> bytes) {
    detail::gguf_cursor in(file, bytes);
    if (bytes.size() < 4 || std::memcmp(bytes.data(), "GGUF", 4) != 0)
      throw format_error(joined(file, ": does not start with \"GGUF\""));
    in.take(4, "the magic");
    const auto version = in.number<std::uint32_t>("the version");
    if (version != 0 && (version & 0xffffu) == 0) in.fail("is big-endian, only little-endian files are read");
    if (version != 2 && version != 3) in.fail(joined("has version ", version, ", only 2 and 3 are read"));
    const auto tensor_count = in.number<std::uint64_t>("the number of tensors");
    const auto value_count = in.number<std::uint64_t>("the number of metadata entries");
    // The shortest entry has an 8-byte length and a byte of key, a 4-byte type and a byte of value; the shortest tensor
    // a name of the same kind, 4 bytes of rank, 4 of type and 8 of offset.
    if (value_count > in.left() / 14) in.fail("says it has more metadata entries than fit in it");
    for (std::uint64_t i = 0; i < value_count; ++i) parse_value(in);
    if (tensor_count > in.left() / 24) in.fail("says it has more tensors than fit in it");
    parse_tensors(in, file, bytes, static_cast<std::size_t>(tensor_count));
  }

  void parse_value(detail::gguf_cursor& in) {
    gguf_value v;
    v.key = in.string("a metadata key");
    if (v.key.empty()) in.fail("has an empty metadata key");
    v.type = gguf_type{in.number<std::int32_t>("a metadata type")};
    const std::string what = joined("metadata key ", quoted_name(v.key));
    if (v.type == gguf_type::array) {
      v.is_array = true;
      v.type = gguf_type{in.number<std::int32_t>("an array's element type")};
      const auto count = in.number<std::uint64_t>("an array's length");
      if (v.type == gguf_type::array) in.fail(joined(what, ": arrays of arrays are not allowed"));
      const std::size_t smallest = v.type == gguf_type::string ? 8 : size_of(v.type);
      if (smallest == 0) in.fail(joined(what, " has an unknown element type"));
      if (count > longest || count > in.left() / smallest)
        in.fail(joined(what, ": the array reaches past the end of the file"));
      v.count = static_cast<std::size_t>(count);
    }
    const std::size_t begin = in.position();
    if (v.type == gguf_type::string) {
      const std::span<const std::byte> all = in.take(0, "a string");
      for (std::size_t i = 0; i < v.count; ++i)
        if (in.string("a metadata string").size() > longest)
          in.fail(joined(what, ": a string is longer than 2^30 bytes"));
      v.bytes = {all.data(), in.position() - begin};
    } else {
      if (size_of(v.type) == 0) in.fail(joined(what, " has an unknown type"));
      v.bytes = in.take(v.count * size_of(v.type), "a metadata value");
    }
    if (!by_key_.emplace(v.key, values_.size()).second) in.fail(joined(what, " appears twice"));
    values_.push_back(v);
  }

  void parse_tensors(detail::gguf_cursor& in, const std::string& file, std::span<const std::byte> bytes,
                     std::size_t count) {
    // Names and offsets come first, the data behind them: where it starts is known only after the last.
    std::vector<tensor> tensors;
    std::vector<std::size_t> sizes;
    const std::size_t alignment = read_alignment(in);
    std::size_t data_size = 0;
    for (std::size_t i = 0; i < count; ++i) {
      tensor t;
      t.name = in.string("a tensor's name");
      const std::string what = joined("tensor ", quoted_name(t.name));
      if (t.name.empty() || t.name.size() > gguf_longest_name) in.fail(joined(what, ": names have 1 to 63 bytes"));
      const auto rank = in.number<std::uint32_t>("a tensor's rank");
      if (rank > 4) in.fail(joined(what, " has ", rank, " dimensions, at most 4 are allowed"));
      for (std::uint32_t d = 0; d < rank; ++d) {
        const auto extent = in.number<std::int64_t>("a tensor's shape");
        if (extent < 0) in.fail(joined(what, " has a negative dimension"));
        t.shape.insert(t.shape.begin(), static_cast<std::size_t>(extent));
      }
      const std::optional<std::size_t> elements = element_count(t.shape);
      constexpr std::size_t most = std::numeric_limits<std::size_t>::max() / 2;
      if (!elements || *elements > most) in.fail(joined(what, ": the number of elements overflows"));
      const auto id = in.number<std::int32_t>("a tensor's type");
      const std::optional<dtype> type = dtype_of_ggml(id);
      if (!type) in.fail(joined(what, " has the unknown type ", id));
      t.dtype = *type;
      if (t.cols() % info(t.dtype).block_size != 0)
        in.fail(joined(what, ": rows of ", t.cols(), " elements are not whole blocks of ", name(t.dtype)));
      const std::optional<std::size_t> size = bytes_of(t.dtype, *elements);
      if (!size) in.fail(joined(what, ": the number of bytes overflows"));
      const auto offset = in.number<std::uint64_t>("a tensor's offset");
      if (offset != data_size)
        in.fail(joined(what, " has offset ", offset, ", but the tensors before it end at ", data_size));
      if (*size > bytes.size() || data_size > bytes.size()) in.fail(joined(what, " reaches past the end of the file"));
      data_size += padded(*size, alignment);
      sizes.push_back(*size);
      tensors.push_back(std::move(t));
    }
    std::size_t begin = padded(in.position(), alignment);
    for (std::size_t i = 0; i < count; ++i) {
      if (begin > bytes.size() || sizes[i] > bytes.size() - begin)
        in.fail(joined("tensor ", quoted_name(tensors[i].name), " reaches past the end of the file"));
      tensors[i].bytes = bytes.subspan(begin, sizes[i]);
      begin += padded(sizes[i], alignment);
    }
    table_ = tensor_table(file, std::move(tensors));
  }

  std::size_t read_alignment(const detail::gguf_cursor& in) const {
    constexpr std::string_view key = "general.alignment";
    const auto it = by_key_.find(key);
    if (it == by_key_.end()) return 32;
    const gguf_value& v = values_[it->second];
    const bool right_type = v.type == gguf_type::u32 && !v.is_array;
    const auto alignment = right_type ? detail::load<std::uint32_t>(v.bytes.data()) : 0;
    if (!std::has_single_bit(alignment)) in.fail("general.alignment must be a power of two of type u32");
    return alignment;
  }

  /// @pre  size is at most that of a file in memory, so that adding an alignment of 2^31 cannot overflow
  static constexpr std::size_t padded(std::size_t size, std::size_t alignment) noexcept {
    return (size + alignment - 1) / alignment * alignment;
  }

  std::vector<std::shared_ptr<const mapped_file>> maps_;
  std::vector<gguf_value> values_;
  std::unordered_map<std::string_view, std::size_t> by_key_;
};

/// The `dtype` whose bytes a GGUF block quantizer decodes.
template <class Q>
constexpr std::optional<dtype> dtype_of() {
  for (const dtype_info& i : dtypes) {
    bool same = false;
    detail::with_block_format(i.type, [&]<class Known>(Known) { same = std::same_as<Known, Q>; });
    if (same) return i.type;
  }
  return std::nullopt;
}

/// A GGUF tensor as quantized matrix [rows(), cols()] that refers to the file's memory: no copy. The file, or a copy of
/// the object, must outlive it.
/// @throws format_error when the tensor is not of type Q
template <class Q>
quantized_matrix<Q> gguf_matrix(const gguf_file& file, std::string_view name) {
  const tensor& t = file.at(name);
  if (dtype_of<Q>() != t.dtype)
    throw format_error(
        joined(file.file(), ": tensor ", quoted_name(name), " is of type ", io::name(t.dtype), ", not ", Q::name()));
  return quantized_matrix<Q>::refer(t.rows(), t.cols(), t.bytes);
}

}  // namespace qwha::io::inline QWHA_ISA
