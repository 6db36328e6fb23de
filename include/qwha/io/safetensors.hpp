// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// safetensors files: one file, a sharded folder, or an index; mapped, and checked before anything large is allocated.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/io/dtype.hpp>
#include <qwha/io/file_name.hpp>
#include <qwha/io/json.hpp>
#include <qwha/io/mapped_file.hpp>
#include <qwha/io/message.hpp>
#include <qwha/io/tensor.hpp>
#include <qwha/io/tensor_file.hpp>

namespace qwha::io {

/// Longest header in bytes, for readers and writers. Source: huggingface/safetensors, safetensors/src/tensor.rs.
inline constexpr std::size_t safetensors_header_limit = 100'000'000;

}  // namespace qwha::io

namespace qwha::io::inline QWHA_ISA {

namespace detail {

/// One tensor of a header. `begin` and `end` are relative to the byte buffer.
struct safetensors_entry {
  std::string name;
  std::string dtype;
  std::vector<std::size_t> shape;
  std::vector<std::size_t> offsets;
  bool has_dtype = false, has_shape = false, has_offsets = false;
};

/// Event handler of nlohmann-json that accepts exactly the header's grammar: an object of objects, in which only
/// "shape" and "data_offsets" are arrays. Nothing is built but the entries. Returning false stops the parser.
class safetensors_header {
 public:
  using number_integer_t = nlohmann::json::number_integer_t;
  using number_unsigned_t = nlohmann::json::number_unsigned_t;
  using number_float_t = nlohmann::json::number_float_t;
  using string_t = nlohmann::json::string_t;
  using binary_t = nlohmann::json::binary_t;

  std::vector<safetensors_entry> entries;
  std::map<std::string, std::string> metadata;
  std::string failure;  ///< the rule that was broken

  bool start_object(std::size_t) {
    if (place_ == place::outside) {
      place_ = place::top;
    } else if (place_ == place::top_value) {
      place_ = in_metadata_ ? place::metadata : place::entry;
    } else {
      return fail(joined("an object where ", wanted(), " belongs"));
    }
    return true;
  }
  bool key(string_t& k) {
    switch (place_) {
      case place::top:
        in_metadata_ = k == "__metadata__";
        if (in_metadata_ && std::exchange(seen_metadata_, true)) return fail("\"__metadata__\" appears twice");
        if (!in_metadata_) {
          entries.emplace_back();
          entries.back().name = std::move(k);
        }
        place_ = place::top_value;
        return true;
      case place::metadata:
        if (metadata.contains(k)) return fail(joined("the metadata key ", quoted_name(k), " appears twice"));
        metadata_key_ = std::move(k);
        place_ = place::metadata_value;
        return true;
      default: {
        safetensors_entry& e = entries.back();
        if (k == "dtype") return field(e.has_dtype, place::dtype, k);
        if (k == "shape") return field(e.has_shape, place::shape, k);
        if (k == "data_offsets") return field(e.has_offsets, place::offsets, k);
        return fail(joined(entry_name(), " has the unknown field ", quoted_name(k)));
      }
    }
  }
  bool string(string_t& s) {
    if (place_ == place::metadata_value) {
      metadata.emplace(std::move(metadata_key_), std::move(s));
      place_ = place::metadata;
    } else if (place_ == place::dtype) {
      entries.back().dtype = std::move(s);
      place_ = place::entry;
    } else {
      return fail(joined("a string where ", wanted(), " belongs"));
    }
    return true;
  }
  bool start_array(std::size_t) {
    if (place_ == place::shape) {
      place_ = place::in_shape;
    } else if (place_ == place::offsets) {
      place_ = place::in_offsets;
    } else {
      return fail(joined("an array where ", wanted(), " belongs"));
    }
    return true;
  }
  bool number_unsigned(number_unsigned_t n) {
    if (n > std::numeric_limits<std::size_t>::max()) return fail("a number that is too large");
    if (place_ == place::in_shape) {
      entries.back().shape.push_back(static_cast<std::size_t>(n));
    } else if (place_ == place::in_offsets) {
      if (entries.back().offsets.size() == 2)
        return fail(joined(entry_name(), ": \"data_offsets\" must hold two numbers"));
      entries.back().offsets.push_back(static_cast<std::size_t>(n));
    } else {
      return fail(joined("a number where ", wanted(), " belongs"));
    }
    return true;
  }
  bool end_array() {
    if (place_ == place::in_offsets && entries.back().offsets.size() != 2)
      return fail(joined(entry_name(), ": \"data_offsets\" must hold two numbers"));
    place_ = place::entry;
    return true;
  }
  bool end_object() {
    if (place_ == place::entry) {
      const safetensors_entry& e = entries.back();
      if (!e.has_dtype || !e.has_shape || !e.has_offsets)
        return fail(joined(entry_name(), " lacks one of \"dtype\", \"shape\" and \"data_offsets\""));
    }
    place_ = place_ == place::top ? place::outside : place::top;
    return true;
  }
  bool null() { return fail(joined("null where ", wanted(), " belongs")); }
  bool boolean(bool) { return fail(joined("a truth value where ", wanted(), " belongs")); }
  bool number_integer(number_integer_t) { return fail(joined("a negative number where ", wanted(), " belongs")); }
  bool number_float(number_float_t, const string_t&) {
    return fail(joined("a number that is no 64-bit integer where ", wanted(), " belongs"));
  }
  bool binary(binary_t&) { return fail("binary data"); }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception&) {
    return fail(joined("bad JSON or UTF-8 at byte ", position));
  }

 private:
  enum class place {
    outside,
    top,
    top_value,
    metadata,
    metadata_value,
    entry,
    dtype,
    shape,
    offsets,
    in_shape,
    in_offsets
  };

  bool fail(std::string rule) {
    failure = std::move(rule);
    return false;
  }
  bool field(bool& seen, place next, const std::string& k) {
    if (std::exchange(seen, true)) return fail(joined(entry_name(), " has the field ", quoted_name(k), " twice"));
    place_ = next;
    return true;
  }
  std::string entry_name() const { return joined("tensor ", quoted_name(entries.back().name)); }
  std::string wanted() const {
    switch (place_) {
      case place::metadata_value: return joined("the text of metadata key ", quoted_name(metadata_key_));
      case place::dtype: return joined("the dtype of ", entry_name());
      case place::shape: return joined("the shape of ", entry_name());
      case place::offsets: return joined("the data_offsets of ", entry_name());
      case place::in_shape: return joined("a dimension of ", entry_name());
      case place::in_offsets: return joined("an offset of ", entry_name());
      default: return "an object";
    }
  }

  place place_ = place::outside;
  bool in_metadata_ = false, seen_metadata_ = false;
  std::string metadata_key_;
};

}  // namespace detail

/// safetensors, read only: the tensors of one file or of all shards of a checkpoint. Copies share the mappings; tensors
/// stay valid while any copy lives.
/// Checked: every rule of the format (huggingface/safetensors, README and safetensors/src/tensor.rs), and no repeated
/// keys.
class safetensors_file : public tensor_file {
 public:
  /// @param path  a .safetensors file; a folder with model.safetensors.index.json or model.safetensors; or an index
  /// file
  /// @throws io_error when a file cannot be mapped; format_error that names file, tensor and rule
  explicit safetensors_file(const std::filesystem::path& path) {
    std::error_code ignored;
    std::filesystem::path chosen = path;
    if (std::filesystem::is_directory(path, ignored)) {
      chosen = path / "model.safetensors.index.json";
      if (!std::filesystem::exists(chosen, ignored)) chosen = path / "model.safetensors";
    }
    if (chosen.extension() == ".json") {
      open_index(chosen);
    } else {
      std::vector<tensor> tensors;
      open_file(chosen, tensors);
      table_ = tensor_table(chosen.string(), std::move(tensors));
    }
  }
  /// A file that lies in memory, which must outlive the object and its copies.
  /// @param file  how messages call it
  static safetensors_file from_memory(std::span<const std::byte> bytes,
                                      const std::string& file = "safetensors in memory") {
    safetensors_file f;
    std::vector<tensor> tensors;
    f.parse(file, bytes, tensors);
    f.table_ = tensor_table(file, std::move(tensors));
    return f;
  }

  /// `__metadata__`; of shards all together, where the first to name a key wins.
  const std::map<std::string, std::string>& metadata() const noexcept { return metadata_; }

 private:
  safetensors_file() = default;

  void open_file(const std::filesystem::path& path, std::vector<tensor>& tensors) {
    auto map = std::make_shared<const mapped_file>(path);
    parse(path.string(), map->bytes(), tensors);
    maps_.push_back(std::move(map));
  }

  void open_index(const std::filesystem::path& path) {
    const std::string file = path.string();
    const mapped_file map(path);
    if (map.bytes().size() > safetensors_header_limit)
      throw format_error(joined(file, ": the index is longer than 100 MB"));
    const nlohmann::json index = parse_json(file, map.bytes());
    const auto weights = index.is_object() ? index.find("weight_map") : index.end();
    if (!index.is_object() || weights == index.end() || !weights->is_object())
      throw format_error(joined(file, ": has no object \"weight_map\""));
    std::map<std::string, std::vector<std::string>> shards;  // file name → tensors that it must have
    for (const auto& [name, shard] : weights->items()) {
      if (!shard.is_string())
        throw format_error(joined(file, ": the shard of tensor ", quoted_name(name), " is not a string"));
      const std::string& shard_name = shard.get_ref<const std::string&>();
      if (!plain_file_name(shard_name))
        throw format_error(joined(file, ": the shard of tensor ", quoted_name(name), ", ", quoted_name(shard_name),
                                  ", is not a plain file name"));
      shards[shard_name].push_back(name);
    }
    std::vector<tensor> all;
    for (const auto& [shard, names] : shards) {
      std::vector<tensor> tensors;
      open_file(path.parent_path() / shard, tensors);
      const tensor_table table(shard, tensors);
      for (const std::string& name : names)
        if (table.find(name) == nullptr)
          throw format_error(
              joined(file, ": tensor ", quoted_name(name), " is not in ", quoted_name(shard), " as the index says"));
      all.insert(all.end(), std::make_move_iterator(tensors.begin()), std::make_move_iterator(tensors.end()));
    }
    table_ = tensor_table(file, std::move(all));  // refuses a tensor in two shards
  }

  void parse(const std::string& file, std::span<const std::byte> bytes, std::vector<tensor>& tensors) {
    const auto fail = [&](const std::string& rule) { throw format_error(joined(file, ": ", rule)); };
    if (bytes.size() < 8) fail("is shorter than the 8 bytes of a header's length");
    const auto stated = detail::load<std::uint64_t>(bytes.data());
    if (stated > safetensors_header_limit) fail("the header is longer than 100 MB");
    if (stated > bytes.size() - 8) fail("the header reaches past the end of the file");
    const auto length = static_cast<std::size_t>(stated);
    const auto* text = reinterpret_cast<const char*>(bytes.data() + 8);
    if (length == 0 || text[0] != '{') fail("the header does not start with '{'");
    if (std::memchr(text, 0, length) != nullptr) fail("the header holds a zero byte");

    detail::safetensors_header header;
    if (!nlohmann::json::sax_parse(text, text + length, &header)) fail(joined("bad header: ", header.failure));
    metadata_.merge(header.metadata);
    place(file, bytes.subspan(8 + length), header.entries, tensors);
  }

  /// Sorts the entries by offset and checks that together they are exactly the buffer.
  static void place(const std::string& file, std::span<const std::byte> buffer,
                    std::vector<detail::safetensors_entry>& entries, std::vector<tensor>& tensors) {
    std::sort(entries.begin(), entries.end(),
              [](const auto& a, const auto& b) { return std::tie(a.offsets, a.name) < std::tie(b.offsets, b.name); });
    std::size_t end = 0;
    tensors.reserve(entries.size());
    for (detail::safetensors_entry& e : entries) {
      const auto fail = [&](const std::string& rule) {
        throw format_error(joined(file, ": tensor ", quoted_name(e.name), ": ", rule));
      };
      const std::optional<dtype> type = dtype_of_safetensors(e.dtype);
      if (!type) fail(joined("unknown dtype ", quoted_name(e.dtype)));
      if (e.offsets[1] < e.offsets[0]) fail("the data ends before it begins");
      if (e.offsets[0] != end)
        fail(joined("the data begins at ", e.offsets[0], ", but the data before it ends at ", end,
                    ": there must be neither holes nor overlaps"));
      const std::optional<std::size_t> count = element_count(e.shape);
      if (!count) fail("the number of elements overflows");
      if (*count % info(*type).block_size != 0)
        fail(joined("the shape ", shape_text(e.shape), " of ", e.dtype, " does not fill whole bytes"));
      const std::optional<std::size_t> size = bytes_of(*type, *count);
      if (!size) fail("the number of bytes overflows");
      if (*size != e.offsets[1] - e.offsets[0])
        fail(joined("the shape ", shape_text(e.shape), " of ", e.dtype, " takes ", *size, " bytes, the data has ",
                    e.offsets[1] - e.offsets[0]));
      end = e.offsets[1];
      if (end > buffer.size()) fail("the data reaches past the end of the file");
      tensors.push_back({std::move(e.name), *type, std::move(e.shape), buffer.subspan(end - *size, *size)});
    }
    if (end != buffer.size())
      throw format_error(joined(file, ": ", buffer.size() - end, " bytes after the last tensor belong to none"));
  }

  std::vector<std::shared_ptr<const mapped_file>> maps_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace qwha::io::inline QWHA_ISA
