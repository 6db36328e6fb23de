// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Layers that bitsandbytes quantized to NF4 or FP4, plain or with their block scales quantized again.
///
/// Tensors of a module p: p.weight, bytes of two codes each, the even element in the high nibble, over the flattened
/// weight; p.weight.absmax, a scale per block; p.weight.quant_map, the sixteen levels; p.weight.quant_state
/// .bitsandbytes__nf4 or __fp4, JSON; nested also p.weight.nested_absmax and .nested_quant_map, and absmax is then
/// nested_quant_map[code] * nested_absmax + nested_offset. weight = level[code] * absmax.
/// Source: bitsandbytes-foundation/bitsandbytes, bitsandbytes/functional.py (QuantState) and backends/default/ops.py.

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/base/executor.hpp>
#include <qwha/base/finite.hpp>
#include <qwha/base/rows_view.hpp>
#include <qwha/io/dtype.hpp>
#include <qwha/io/json.hpp>
#include <qwha/io/message.hpp>
#include <qwha/io/tensor.hpp>
#include <qwha/io/tensor_file.hpp>
#include <qwha/quant/fp4.hpp>
#include <qwha/quant/nf4.hpp>
#include <qwha/quant/quantized_matrix.hpp>

namespace qwha::io {

/// What the sixteen levels are.
enum class bitsandbytes_type { nf4, fp4 };

}  // namespace qwha::io

namespace qwha::io::inline QWHA_ISA {

namespace detail {

/// The levels of an NF4 or FP4 format.
template <class Q>
inline constexpr bool levels_of = false;
template <std::size_t Block>
inline constexpr const float* levels_of<nf4<Block>> = nf4_codebook::levels;
template <std::size_t Block>
inline constexpr const float* levels_of<fp4<Block>> = fp4_codebook::levels;
template <class Q>
concept has_levels = requires { *levels_of<Q>; };

/// a[i] *= b[i / block], then a[i] += offset: two loops, so that each rounds as in the package, whatever the compiler
/// would contract.
inline void scale_blocks(std::vector<float>& a, const std::vector<float>& b, std::size_t block) noexcept {
  for (std::size_t i = 0; i < a.size(); ++i) a[i] *= b[i / block];
}
inline void shift_all(std::vector<float>& a, float offset) noexcept {
  for (float& x : a) x += offset;
}

}  // namespace detail

/// A layer of four bits by bitsandbytes. Refers to the file's bytes, which must outlive it; scales are its own.
/// Constructing it checks everything: what it gives out is finite.
class bitsandbytes_layer {
 public:
  /// @param module  "model.layers.0.self_attn.q_proj"
  /// @throws format_error that names file, tensor and rule: missing tensors, JSON that lacks a field or contradicts the
  ///         tensors; value_error for scales or levels that are not finite
  bitsandbytes_layer(const tensor_file& file, std::string_view module)
      : file_(file.file()), weight_(joined(module, ".weight")), codes_(file.at(weight_).bytes) {
    const nlohmann::json state = read_state(file);
    read_shape(state);
    block_ = block_size(state, "blocksize", 32, 4096);
    levels_ = read_table<16>(file, ".quant_map");
    const std::size_t blocks = count_ / block_ + (count_ % block_ != 0);
    const tensor& absmax = file.at(weight_ + ".absmax");
    if (absmax.size() != blocks)
      fail(".absmax",
           joined("has ", absmax.size(), " elements, ", count_, " weights in blocks of ", block_, " need ", blocks));
    nested_ = state.contains("nested_offset") || file.contains(weight_ + ".nested_absmax");
    if (nested_) {
      if (absmax.dtype != dtype::u8)
        fail(".absmax", joined("is of type ", name(absmax.dtype), ", nested it must be u8"));
      read_nested(file, absmax, state);
    } else {
      if (absmax.dtype != dtype::f32 && absmax.dtype != dtype::f16 && absmax.dtype != dtype::bf16)
        fail(".absmax", joined("is of type ", name(absmax.dtype), ", must be f32"));
      absmax_ = file.read<float>(absmax.name);
    }
    if (!all_finite(absmax_.data(), blocks)) {
      const auto bad = std::find_if_not(absmax_.begin(), absmax_.end(), [](float a) { return is_finite(a); });
      not_finite(".absmax", joined("the scale of block ", bad - absmax_.begin()));
    }
    check_products();
  }

  bitsandbytes_type type() const noexcept { return type_; }
  std::size_t rows() const noexcept { return rows_; }         ///< out
  std::size_t cols() const noexcept { return cols_; }         ///< in
  std::size_t block_size() const noexcept { return block_; }  ///< weights per scale, along the flattened weight
  bool nested() const noexcept { return nested_; }
  /// One per block, dequantized where nested.
  const std::vector<float>& absmax() const noexcept { return absmax_; }

  /// Rows first … first + out.rows - 1 of the weight.
  /// @par Numerics  level * absmax in float, one rounding; what the package then rounds to the type in its state
  /// @throws shape_error when `out` is not [n, cols()] or the rows are not all there
  void dequantize_rows(std::size_t first, rows_view<float> out, const executor& where = default_executor()) const {
    if (out.cols != cols_ || first > rows_ || out.rows > rows_ - first)
      throw shape_error(joined(file_, ": tensor ", quoted_name(weight_), ": rows ", first, " to ", first, " + ",
                               out.rows, " of ", out.cols, " columns were asked, the weight is [", rows_, ", ", cols_,
                               "]"));
    parallel_for(where, out.rows, 16, [&](std::size_t begin, std::size_t end) {
      for (std::size_t r = begin; r < end; ++r) {
        std::size_t n = (first + r) * cols_;
        float* row = out.row(r);
        for (std::size_t i = 0; i < cols_; ++i, ++n) row[i] = levels_[code(n)] * absmax_[n / block_];
      }
    });
  }
  void dequantize(rows_view<float> out, const executor& where = default_executor()) const {
    if (out.rows != rows_) throw shape_error(joined(file_, ": tensor ", quoted_name(weight_), " has ", rows_, " rows"));
    dequantize_rows(0, out, where);
  }

  /// Why `matrix<nf4<Block>>()` or `matrix<fp4<Block>>()` is not possible; empty when it is.
  template <class Q>
    requires detail::has_levels<Q>
  std::string refusal() const {
    if (!std::equal(levels_.begin(), levels_.end(), detail::levels_of<Q>))
      return joined("has other levels than ", Q::name());
    if (block_ % Q::block_size != 0)
      return joined("has blocks of ", block_, ", which are not whole blocks of ", Q::block_size);
    if (cols_ % Q::block_size != 0)
      return joined("has rows of ", cols_, " weights, which blocks of ", Q::block_size, " cross");
    return {};
  }

  /// The same weight as NF4 or FP4 matrix with a float for each block, value for value: codes are copied. Blocks of the file may be several of Q's.
  /// @throws format_error with the sentence of `refusal`
  template <class Q>
    requires detail::has_levels<Q>
  quantized_matrix<Q> matrix(const executor& where = default_executor()) const {
    if (const std::string why = refusal<Q>(); !why.empty())
      throw format_error(joined(file_, ": tensor ", quoted_name(weight_), " ", why, ": it is no ", Q::name()));
    static_assert(Q::parameter_bytes == sizeof(float));
    auto m = quantized_matrix<Q>::for_overwrite(rows_, cols_);
    const std::size_t blocks = m.blocks_per_row(), repeats = block_ / Q::block_size;
    parallel_for(where, rows_, 512, [&](std::size_t begin, std::size_t end) {  // planes of rows without gaps
      std::memcpy(m.writable_codes(begin), codes_.data() + begin * cols_ / 2, (end - begin) * cols_ / 2);
      std::byte* const scales = m.writable_parameters(begin);
      if (repeats == 1) {
        std::memcpy(scales, absmax_.data() + begin * blocks, (end - begin) * blocks * sizeof(float));
        return;
      }
      for (std::size_t b = 0; b < (end - begin) * blocks; ++b)
        std::memcpy(scales + b * sizeof(float), &absmax_[(begin * blocks + b) / repeats], sizeof(float));
    });
    return m;
  }

 private:
  static constexpr std::size_t longest_state = std::size_t{1} << 16;

  [[noreturn]] void fail(std::string_view suffix, const std::string& rule) const {
    throw format_error(joined(file_, ": tensor ", quoted_name(weight_ + std::string(suffix)), " ", rule));
  }
  [[noreturn]] void not_finite(std::string_view suffix, const std::string& what) const {
    throw value_error(
        joined(file_, ": tensor ", quoted_name(weight_ + std::string(suffix)), ": ", what, " is not finite"));
  }
  std::uint8_t code(std::size_t n) const noexcept {
    const auto byte = std::to_integer<unsigned>(codes_[n / 2]);
    return static_cast<std::uint8_t>(n % 2 == 0 ? byte >> 4 : byte & 15u);
  }

  nlohmann::json read_state(const tensor_file& file) {
    constexpr std::array<std::string_view, 2> names{".quant_state.bitsandbytes__nf4", ".quant_state.bitsandbytes__fp4"};
    const bool fp4 = file.contains(joined(weight_, names[1]));
    if (fp4 && file.contains(joined(weight_, names[0]))) fail("", "has both an NF4 and an FP4 state");
    type_ = fp4 ? bitsandbytes_type::fp4 : bitsandbytes_type::nf4;
    state_ = names[fp4 ? 1 : 0];
    const tensor& t = file.at(weight_ + state_);
    if (t.dtype != dtype::u8 || t.bytes.size() > longest_state) fail(state_, "is not a short text of u8");
    nlohmann::json state = parse_json(joined(file_, ": tensor ", quoted_name(t.name)), t.bytes, 4);
    if (!state.is_object()) fail(state_, "is no JSON object");
    const auto type = state.find("quant_type");
    if (type == state.end() || *type != (fp4 ? "fp4" : "nf4")) fail(state_, "names another 'quant_type' than its own");
    return state;
  }

  void read_shape(const nlohmann::json& state) {
    const auto shape = state.find("shape");
    if (shape == state.end() || !shape->is_array() || shape->empty() || shape->size() > 8)
      fail(state_, "lacks the array 'shape'");
    std::vector<std::size_t> extents;
    for (const nlohmann::json& extent : *shape) {
      if (!extent.is_number_unsigned() || extent.get<std::uint64_t>() == 0)
        fail(state_, "has a 'shape' that is not of positive numbers");
      extents.push_back(extent.get<std::size_t>());
    }
    const auto count = element_count(extents);
    if (!count) fail(state_, "has a 'shape' whose number of elements overflows");
    count_ = *count;
    if (codes_.size() != count_ / 2 + count_ % 2)
      fail("", joined("has ", codes_.size(), " bytes, the shape ", shape_text(extents), " of its state needs ",
                      count_ / 2 + count_ % 2));
    cols_ = extents.back();
    rows_ = count_ / cols_;
  }

  std::size_t block_size(const nlohmann::json& state, const char* key, std::uint64_t least, std::uint64_t most) const {
    const auto size = state.find(key);
    if (size == state.end() || !size->is_number_unsigned()) fail(state_, joined("lacks the number '", key, "'"));
    const auto n = size->get<std::uint64_t>();
    if (n < least || n > most || !std::has_single_bit(n))
      fail(state_, joined("has '", key, "' ", n, ", it must be a power of two from ", least, " to ", most));
    return static_cast<std::size_t>(n);
  }

  template <std::size_t Size>
  std::vector<float> read_table(const tensor_file& file, const char* suffix) const {
    const tensor& t = file.at(weight_ + suffix);
    if (t.dtype != dtype::f32 || t.size() != Size)
      fail(suffix, joined("is ", name(t.dtype), " of shape ", shape_text(t.shape), ", must be ", Size, " of f32"));
    std::vector<float> table = file.read<float>(t.name);
    if (!all_finite(table.data(), table.size())) not_finite(suffix, "a level");
    return table;
  }

  void read_nested(const tensor_file& file, const tensor& absmax, const nlohmann::json& state) {
    const std::size_t block = block_size(state, "nested_blocksize", 16, 1 << 20);
    const std::vector<float> map = read_table<256>(file, ".nested_quant_map");
    const auto type = state.find("nested_dtype");
    if (type != state.end() && *type != "float32") fail(state_, "has another 'nested_dtype' than float32");
    const auto offset = state.find("nested_offset");
    if (offset == state.end() || !offset->is_number()) fail(state_, "lacks the number 'nested_offset'");
    const auto shift = offset->get<float>();
    if (!is_finite(shift)) not_finite(state_, "'nested_offset'");
    const tensor& scales = file.at(weight_ + ".nested_absmax");
    const std::size_t blocks = absmax.size() / block + (absmax.size() % block != 0);
    if (scales.dtype != dtype::f32 || scales.size() != blocks)
      fail(".nested_absmax", joined("is ", name(scales.dtype), " of shape ", shape_text(scales.shape), ", ",
                                    absmax.size(), " scales in blocks of ", block, " need ", blocks, " of f32"));
    absmax_.resize(absmax.size());
    for (std::size_t b = 0; b < absmax_.size(); ++b) absmax_[b] = map[std::to_integer<std::size_t>(absmax.bytes[b])];
    detail::scale_blocks(absmax_, file.read<float>(scales.name), block);
    detail::shift_all(absmax_, shift);
  }

  void check_products() const {
    if (!is_finite(qwha::detail::largest_magnitude(levels_) * qwha::detail::largest_magnitude(absmax_)))
      not_finite(".absmax", "the largest level times the largest scale");
  }

  std::string file_, weight_, state_;
  std::span<const std::byte> codes_;
  bitsandbytes_type type_ = bitsandbytes_type::nf4;
  std::size_t rows_ = 0, cols_ = 0, count_ = 0, block_ = 0;
  bool nested_ = false;
  std::vector<float> levels_, absmax_;
};

/// Names of the modules of a file that bitsandbytes quantized to four bits, in file order.
inline std::vector<std::string> bitsandbytes_modules(const tensor_file& file) {
  constexpr std::string_view part = ".weight.quant_state.bitsandbytes__";
  std::vector<std::string> names;
  for (const tensor& t : file.tensors())
    if (const std::size_t at = t.name.rfind(part); at != std::string::npos) names.push_back(t.name.substr(0, at));
  return names;
}

}  // namespace qwha::io::inline QWHA_ISA
