// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// What every file of tensors offers a reader, whatever its container.

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <qwha/base/config.hpp>
#include <qwha/base/executor.hpp>
#include <qwha/base/rows_view.hpp>
#include <qwha/io/convert.hpp>
#include <qwha/io/tensor.hpp>

namespace qwha::io::inline QWHA_ISA {

/// Tensors found by name and read as numbers. The base of gguf_file and safetensors_file, which fill the table.
class tensor_file {
 public:
  /// How messages call the file: the path that was opened.
  const std::string& file() const noexcept { return table_.file(); }
  /// In file order; of several files, file after file.
  std::vector<std::string> names() const { return table_.names(); }
  std::span<const tensor> tensors() const noexcept { return table_.all(); }
  bool contains(std::string_view name) const noexcept { return table_.find(name) != nullptr; }
  /// @throws format_error when there is no such tensor
  const tensor& at(std::string_view name) const { return table_.at(name); }
  /// All elements, blocks dequantized; see `qwha::io::read` for numerics and errors.
  template <readable T>
  std::vector<T> read(std::string_view name, const executor& where = default_executor()) const {
    return io::read<T>(file(), at(name), where);
  }
  /// Rows first … first + out.rows - 1; see `qwha::io::read_rows`.
  template <readable T>
  void read_rows(std::string_view name, std::size_t first, rows_view<T> out,
                 const executor& where = default_executor()) const {
    io::read_rows(file(), at(name), first, out, where);
  }

 protected:
  tensor_file() = default;
  ~tensor_file() = default;
  tensor_file(const tensor_file&) = default;
  tensor_file(tensor_file&&) noexcept = default;
  tensor_file& operator=(const tensor_file&) = default;
  tensor_file& operator=(tensor_file&&) noexcept = default;

  tensor_table table_;
};

}  // namespace qwha::io::inline QWHA_ISA
