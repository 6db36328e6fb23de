// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// A tensor as it lies in a file: name, type, shape and bytes; and the table of all tensors of a file.

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
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

}  // namespace qwha::io

namespace qwha::io::inline QWHA_ISA {

/// "[262144, 640]"
inline std::string shape_text(std::span<const std::size_t> shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
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
        throw format_error(file_ + ": two tensors are named " + quoted_name(tensors_[by_name_[i]].name));
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
    throw format_error(file_ + ": has no tensor named " + quoted_name(name));
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
