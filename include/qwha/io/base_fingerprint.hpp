// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Which quantized weight an adapter was fitted to: a short text that files keep and loaders compare.

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/base/rows_view.hpp>
#include <qwha/io/adapter_module.hpp>
#include <qwha/io/message.hpp>
#include <qwha/quant/quantized_matrix.hpp>

namespace qwha::io::inline QWHA_ISA {

namespace detail {

/// 64 bits over rows of floats: words of two, xor and multiply, the upper half folded onto the lower.
class weight_hash {
 public:
  weight_hash(std::size_t rows, std::size_t cols) noexcept {
    add(rows);
    add(cols);
  }
  void add_row(const float* w, std::size_t cols) noexcept {
    for (std::size_t i = 0; i < cols; i += 2)
      add(bits(w[i]) | static_cast<std::uint64_t>(i + 1 < cols ? bits(w[i + 1]) : 0) << 32);
  }
  std::string text() const {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string hex;
    for (int shift = 60; shift >= 0; shift -= 4) hex += digits[state_ >> shift & 15];
    return hex;
  }

 private:
  static std::uint32_t bits(float w) noexcept { return std::bit_cast<std::uint32_t>(w + 0.0f); }  // -0 is 0
  void add(std::uint64_t word) noexcept {
    state_ = (state_ ^ word) * 0x9fb21c651e98df25u;
    state_ ^= state_ >> 32;
  }
  std::uint64_t state_ = 0xcbf29ce484222325u;
};

}  // namespace detail

/// Fingerprint of a dense weight [out, in]: 16 hexadecimal digits that depend on the shape and on every weight as a
/// float (-0 counts as 0), and on nothing else. Two weights that differ share one by chance only (2^-64): it tells
/// mistakes, not forgeries.
/// Cost: reads the weight once.
inline std::string base_fingerprint(rows_view<const float> w) {
  detail::weight_hash hash(w.rows, w.cols);
  for (std::size_t r = 0; r < w.rows; ++r) hash.add_row(w.row(r), w.cols);
  return hash.text();
}

/// Fingerprint of a quantized weight: that of its dequantized rows, so that it survives a change of container.
template <class Q>
std::string base_fingerprint(const quantized_matrix<Q>& w) {
  detail::weight_hash hash(w.rows(), w.cols());
  std::vector<float> row(w.cols());
  for (std::size_t r = 0; r < w.rows(); ++r) {
    w.decode_row(r, row.data());
    hash.add_row(row.data(), w.cols());
  }
  return hash.text();
}

/// @throws format_error when the file has no such module
inline const adapter_module& find_module(const adapter_file& adapter, std::string_view name) {
  for (const adapter_module& m : adapter.modules)
    if (m.name == name) return m;
  throw format_error(joined("the adapter has no module ", quoted_name(name)));
}

/// The module of a layer, for the base that it was fitted to.
/// @param base  the layer's weight: a quantized_matrix, or rows_view<const float>
/// @throws format_error that names the module when the adapter lacks it, or when the file says that it was fitted to
///         another base; shape_error when the shapes differ. A file without fingerprints fits every base of its shapes.
template <class Base>
const adapter_module& module_for(const adapter_file& adapter, std::string_view name, const Base& base) {
  const adapter_module& m = find_module(adapter, name);
  std::size_t rows = 0, cols = 0;
  if constexpr (requires { base.rows(); }) {
    rows = base.rows();
    cols = base.cols();
  } else {
    rows = base.rows;
    cols = base.cols;
  }
  if (m.spectrum.rows() != rows || m.spectrum.cols() != cols)
    throw shape_error(joined("module ", quoted_name(name), " of the adapter is [", m.spectrum.rows(), ", ",
                             m.spectrum.cols(), "], the layer is [", rows, ", ", cols, "]"));
  if (!m.base_fingerprint.empty()) {
    const std::string ours = base_fingerprint(base);
    if (m.base_fingerprint != ours)
      throw format_error(joined("module ", quoted_name(name), " was fitted to a base with the fingerprint ",
                                m.base_fingerprint, ", this one has ", ours,
                                ": the model, its quantizer, bits or calibration differ"));
  }
  return m;
}

}  // namespace qwha::io::inline QWHA_ISA
