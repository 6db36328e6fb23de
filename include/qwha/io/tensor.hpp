// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// A tensor as it lies in a file: name, type, shape and bytes; and the table of all tensors of a file.

#include <algorithm>
#include <bit>
#include <cstddef>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/base/float16.hpp>
#include <qwha/io/dtype.hpp>
#include <qwha/io/message.hpp>

namespace qwha::io {

/// A tensor in somebody else's memory (a mapped file). The shape is outermost first, [out, in] for a weight; a scalar
/// has the empty shape. `bytes` may lie at any address.
struct tensor {
  std::string name;
  io::dtype dtype = io::dtype::f32;
  std::vector<std::size_t> shape;
  std::span<const std::byte> bytes;

  /// The number of elements. The readers have checked that it does not overflow.
  std::size_t size() const noexcept {
    std::size_t n = 1;
    for (const std::size_t d : shape) n *= d;
    return n;
  }
  /// Elements of the innermost dimension; 1 for a scalar.
  std::size_t cols() const noexcept { return shape.empty() ? 1 : shape.back(); }
  /// All other dimensions as one.
  std::size_t rows() const noexcept {
    std::size_t n = 1;
    for (std::size_t i = 0; i + 1 < shape.size(); ++i) n *= shape[i];
    return n;
  }
};

/// The `dtype` of a C++ type.
template <class T>
constexpr dtype dtype_of_element() noexcept {
  if constexpr (std::is_same_v<T, float>) return dtype::f32;
  if constexpr (std::is_same_v<T, double>) return dtype::f64;
  if constexpr (std::is_same_v<T, half>) return dtype::f16;
  if constexpr (std::is_same_v<T, bfloat16>) return dtype::bf16;
  if constexpr (std::is_same_v<T, bool>) return dtype::boolean;
  if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
    constexpr dtype with_sign[] = {dtype::i8, dtype::i16, dtype::i32, dtype::i64};
    constexpr dtype without[] = {dtype::u8, dtype::u16, dtype::u32, dtype::u64};
    return (std::is_signed_v<T> ? with_sign : without)[std::bit_width(sizeof(T)) - 1];
  }
}

}  // namespace qwha::io

namespace qwha::io::inline QWHA_ISA {

/// "[262144, 640]"
inline std::string shape_text(std::span<const std::size_t> shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) text += joined(i == 0 ? "" : ", ", shape[i]);
  return text += "]";
}

/// A tensor of values in memory, to be written; refers to them.
/// @throws shape_error when their number is not that of the shape
template <class T>
tensor tensor_of(std::string name, std::vector<std::size_t> shape, std::span<const T> values) {
  tensor t{std::move(name), dtype_of_element<T>(), std::move(shape), std::as_bytes(values)};
  if (t.size() != values.size())
    throw shape_error(
        joined("tensor ", quoted_name(t.name), " of shape ", shape_text(t.shape), " got ", values.size(), " values"));
  return t;
}

/// The number of elements of a shape; nothing when it, or the product of the dimensions that are not 0, overflows.
inline std::optional<std::size_t> element_count(std::span<const std::size_t> shape) noexcept {
  std::size_t count = 1;
  bool empty = false;
  for (const std::size_t extent : shape) {
    if (extent == 0) empty = true;
    if (extent > 1 && count > static_cast<std::size_t>(-1) / extent) return std::nullopt;
    count *= extent == 0 ? 1 : extent;
  }
  return empty ? 0 : count;
}

/// The bytes that the shape asks for. @throws format_error when that is not what the tensor has
inline std::size_t checked_size(const std::string& file, const tensor& t) {
  const std::optional<std::size_t> count = element_count(t.shape);
  if (!count) throw format_error(joined(file, ": tensor ", quoted_name(t.name), ": the number of elements overflows"));
  const std::optional<std::size_t> size = bytes_of(t.dtype, *count);
  if (size != t.bytes.size())
    throw format_error(joined(file, ": tensor ", quoted_name(t.name), ": the shape ", shape_text(t.shape), " of ",
                              name(t.dtype), " does not fit ", t.bytes.size(), " bytes"));
  return *size;
}

/// The tensors of a file in file order, found by name.
class tensor_table {
 public:
  tensor_table() = default;
  /// @param file  how messages call the file
  /// @throws format_error when two tensors have one name
  tensor_table(std::string file, std::vector<tensor> tensors)
      : file_(std::move(file)), tensors_(std::move(tensors)), by_name_(tensors_.size()) {
    std::iota(by_name_.begin(), by_name_.end(), std::size_t{0});
    std::sort(by_name_.begin(), by_name_.end(),
              [this](std::size_t a, std::size_t b) { return tensors_[a].name < tensors_[b].name; });
    for (std::size_t i = 1; i < by_name_.size(); ++i)
      if (tensors_[by_name_[i - 1]].name == tensors_[by_name_[i]].name)
        throw format_error(joined(file_, ": two tensors are named ", quoted_name(tensors_[by_name_[i]].name)));
  }

  const std::string& file() const noexcept { return file_; }
  std::span<const tensor> all() const noexcept { return tensors_; }
  const tensor* find(std::string_view name) const noexcept {
    const auto it = std::lower_bound(by_name_.begin(), by_name_.end(), name, [this](std::size_t i, std::string_view n) {
      return std::string_view(tensors_[i].name) < n;
    });
    return it == by_name_.end() || tensors_[*it].name != name ? nullptr : &tensors_[*it];
  }
  const tensor& at(std::string_view name) const {
    if (const tensor* t = find(name)) return *t;
    throw format_error(joined(file_, ": has no tensor named ", quoted_name(name)));
  }
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    names.reserve(tensors_.size());
    for (const tensor& t : tensors_) names.push_back(t.name);
    return names;
  }

 private:
  std::string file_;
  std::vector<tensor> tensors_;
  std::vector<std::size_t> by_name_;
};

}  // namespace qwha::io::inline QWHA_ISA
