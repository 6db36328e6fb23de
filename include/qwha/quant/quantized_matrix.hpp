// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// A weight matrix in a quantized format: packed codes and parameters, owned or in somebody else's memory.

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include <qwha/base/aligned_buffer.hpp>
#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/base/rows_view.hpp>
#include <qwha/quant/quantizer.hpp>

namespace qwha::inline QWHA_ISA::detail {

/// "[rows, cols]" for messages.
inline std::string shape_text(std::size_t rows, std::size_t cols) {
  std::string text = "[";
  return text.append(std::to_string(rows)).append(", ").append(std::to_string(cols)).append("]");
}

}  // namespace qwha::inline QWHA_ISA::detail

namespace qwha {

/// Quantized weight, shape [rows, cols] = [out, in]. Copies share their (immutable) storage; reading from many threads
/// is safe. Members that do arithmetic are templates on the compile flags (config.hpp), so the type may cross files.
template <class Q>
class quantized_matrix {
  static_assert(quantizer<Q>, "qwha::quantized_matrix<Q>: Q must be a quantizer such as qwha::affine<4, 64>");

 public:
  using quantizer_type = Q;
  using matrix_parameters = typename Q::matrix_parameters;

  quantized_matrix() = default;

  /// Storage of zero bytes for a solver to fill through `writable_codes` and `writable_parameters`.
  /// @throws shape_error when the byte count overflows; std::bad_alloc
  quantized_matrix(std::size_t rows, std::size_t cols, matrix_parameters matrix = {})
      : quantized_matrix(for_overwrite(rows, cols, std::move(matrix))) {
    std::fill_n(storage_->data(), storage_->size(), std::byte{});  // not memset: an empty matrix has no address
  }
  /// The same, but the bytes are whatever they were: for readers that write all of them.
  static quantized_matrix for_overwrite(std::size_t rows, std::size_t cols, matrix_parameters matrix = {}) {
    quantized_matrix m(rows, cols, nullptr, nullptr, std::move(matrix));
    m.storage_ = std::make_shared<aligned_buffer<std::byte>>(checked_bytes(rows, cols));
    m.codes_ = m.storage_->data();
    m.parameters_ = m.storage_->data() + rows * m.code_stride();
    return m;
  }

  /// Refers to planes in memory that outlives the matrix and its copies (a mapped file). No alignment is asked.
  /// @throws shape_error when a span is shorter than the shape needs
  static quantized_matrix refer(std::size_t rows, std::size_t cols, std::span<const std::byte> codes,
                                std::span<const std::byte> parameters = {}, matrix_parameters matrix = {}) {
    checked_bytes(rows, cols);
    quantized_matrix m(rows, cols, codes.data(), parameters.data(), std::move(matrix));
    if (codes.size() < rows * m.code_stride() || parameters.size() < rows * m.parameter_stride())
      throw shape_error("quantized_matrix " + detail::shape_text(rows, cols) + " of " + Q::name() +
                        ": the planes hold fewer bytes than the shape needs");
    return m;
  }

  std::size_t rows() const noexcept { return rows_; }
  std::size_t cols() const noexcept { return cols_; }
  std::size_t blocks_per_row() const noexcept { return (cols_ + Q::block_size - 1) / Q::block_size; }
  std::size_t code_stride() const noexcept { return blocks_per_row() * Q::code_bytes; }            ///< bytes per row
  std::size_t parameter_stride() const noexcept { return blocks_per_row() * Q::parameter_bytes; }  ///< bytes per row
  /// Bytes of codes and parameters: what the format really takes.
  std::size_t size_bytes() const noexcept {
    const std::size_t planes = rows_ * (code_stride() + parameter_stride());
    if constexpr (requires { matrix_.size_bytes(); })
      return planes + matrix_.size_bytes();
    else
      return planes + (std::is_empty_v<matrix_parameters> ? 0 : sizeof(matrix_));
  }
  const matrix_parameters& matrix() const noexcept { return matrix_; }
  /// Matrix parameters as one block sees them. @pre row < rows(), block < blocks_per_row()
  QWHA_ALWAYS_INLINE decltype(auto) local(std::size_t row, std::size_t block) const noexcept {
    return local_parameters<Q>(matrix_, {row, block, blocks_per_row()});
  }

  const std::byte* codes(std::size_t row) const noexcept { return codes_ + row * code_stride(); }
  const std::byte* parameters(std::size_t row) const noexcept { return parameters_ + row * parameter_stride(); }
  /// Planes of a row for a solver to fill, before the matrix is copied; null when the matrix refers to memory that it
  /// does not own.
  std::byte* writable_codes(std::size_t row) noexcept {
    return storage_ ? storage_->data() + row * code_stride() : nullptr;
  }
  std::byte* writable_parameters(std::size_t row) noexcept {
    return storage_ ? storage_->data() + rows_ * code_stride() + row * parameter_stride() : nullptr;
  }

  /// Weights of one row. @pre row < rows(). @throws shape_error unless out.size() == cols()
  template <class Isa = isa>
  void dequantize_row(std::size_t row, std::span<float> out) const {
    if (out.size() != cols_ || row >= rows_)
      throw shape_error("quantized_matrix::dequantize_row: row " + std::to_string(row) + " into " +
                        std::to_string(out.size()) + " values, but the matrix is " + detail::shape_text(rows_, cols_));
    decode_row<Isa>(row, out.data());
  }

  /// All rows. @throws shape_error unless out is [rows, cols]
  template <class Isa = isa>
  void dequantize(rows_view<float> out) const {
    if (out.rows != rows_) throw shape_error("quantized_matrix::dequantize: the output has another number of rows");
    dequantize_rows<Isa>(0, out);
  }

  /// Rows first … first + out.rows - 1: a slab. @throws shape_error when they are not all there
  template <class Isa = isa>
  void dequantize_rows(std::size_t first, rows_view<float> out) const {
    if (out.cols != cols_ || first > rows_ || out.rows > rows_ - first)
      throw shape_error("quantized_matrix::dequantize_rows: rows " + std::to_string(first) + " + " +
                        std::to_string(out.rows) + " of " + detail::shape_text(rows_, cols_));
    for (std::size_t r = 0; r < out.rows; ++r) decode_row<Isa>(first + r, out.row(r));
  }

  /// The same without checks, for hot paths. @pre row < rows(), out holds cols() values
  template <class Isa = isa>
  void decode_row(std::size_t row, float* out) const noexcept {
    const std::byte* c = codes(row);
    const std::byte* p = parameters(row);
    std::size_t done = 0, block = 0;
    for (; done + Q::block_size <= cols_; done += Q::block_size, ++block) {
      Q::decode(c, p, local(row, block), out + done);
      c += Q::code_bytes;
      p += Q::parameter_bytes;
    }
    if (done < cols_) {
      float last[Q::block_size];
      Q::decode(c, p, local(row, block), last);
      std::memcpy(out + done, last, (cols_ - done) * sizeof(float));
    }
  }

 private:
  quantized_matrix(std::size_t rows, std::size_t cols, const std::byte* codes, const std::byte* parameters,
                   matrix_parameters matrix)
      : rows_(rows), cols_(cols), codes_(codes), parameters_(parameters), matrix_(std::move(matrix)) {}

  static std::size_t checked_bytes(std::size_t rows, std::size_t cols) {
    const std::size_t blocks = cols / Q::block_size + (cols % Q::block_size != 0);
    constexpr std::size_t per_block = Q::code_bytes + Q::parameter_bytes;
    if (blocks > std::numeric_limits<std::size_t>::max() / 2 / per_block ||
        (blocks != 0 && rows > std::numeric_limits<std::size_t>::max() / 2 / (blocks * per_block)))
      throw shape_error("quantized_matrix: " + detail::shape_text(rows, cols) + " is too large");
    return rows * blocks * per_block;
  }

  std::size_t rows_ = 0;
  std::size_t cols_ = 0;
  std::shared_ptr<aligned_buffer<std::byte>> storage_;
  const std::byte* codes_ = nullptr;
  const std::byte* parameters_ = nullptr;
  [[no_unique_address]] matrix_parameters matrix_{};
};

}  // namespace qwha
