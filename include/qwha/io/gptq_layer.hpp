// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// One linear layer of a GPTQ checkpoint: its tensors checked, as dequantized rows or as quantized matrix.
///
/// Tensors of a module p, for a weight [out, in]: p.qweight I32 [in bits / 32, out], whose column o is a little-endian
/// bit stream of the codes of row o; p.qzeros I32 [groups, out bits / 32], whose rows are streams along `out`;
/// p.scales [groups, out]; p.g_idx I32 [in], the group of each input; perhaps p.bias [out].
/// weight = (code - zero) * scale. Source: ModelCloud/GPTQModel, gptqmodel/nn_modules/qlinear/__init__.py and
/// gptqmodel/utils/model_dequant.py; AutoGPTQ/AutoGPTQ, auto_gptq/nn_modules/qlinear/qlinear_cuda_old.py.

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/base/executor.hpp>
#include <qwha/base/finite.hpp>
#include <qwha/base/rows_view.hpp>
#include <qwha/io/gptq_config.hpp>
#include <qwha/io/message.hpp>
#include <qwha/io/tensor.hpp>
#include <qwha/io/tensor_file.hpp>
#include <qwha/io/word_transpose.hpp>
#include <qwha/quant/affine.hpp>
#include <qwha/quant/bytes.hpp>
#include <qwha/quant/quantized_matrix.hpp>

namespace qwha::io {

/// How version 1 zero points, stored less one, become zero points. It matters only where a zero point is 0.
enum class gptq_zero_repair {
  per_field,  ///< each field plus one, modulo 2^bits: AutoGPTQ, and GPTQModel's converter
  per_word  ///< the whole 32-bit word plus 0x1111…: undoes the borrow of asymmetric files by GPTQModel; not for 3 bits
};

}  // namespace qwha::io

namespace qwha::io::inline QWHA_ISA {

namespace detail {

template <class Q>
inline constexpr bool is_affine = false;
template <int Bits, std::size_t Group, zero_point Z, class Scale>
inline constexpr bool is_affine<affine<Bits, Group, Z, Scale>> = true;

/// Code `i` of a little-endian stream of codes of `bits` bits. Reads no byte that holds nothing of it.
inline std::uint32_t code_of_stream(const std::byte* stream, std::size_t i, int bits) noexcept {
  const std::size_t bit = i * static_cast<std::size_t>(bits);
  const auto shift = static_cast<int>(bit % 8);
  std::uint32_t x = std::to_integer<std::uint32_t>(stream[bit / 8]) >> shift;
  if (shift + bits > 8) x |= std::to_integer<std::uint32_t>(stream[bit / 8 + 1]) << (8 - shift);
  return x & ((1u << bits) - 1u);
}

/// 32-bit words that hold `count` codes.
constexpr std::size_t code_words(std::size_t count, int bits) noexcept {
  const auto b = static_cast<std::size_t>(bits);
  return count / 32 * b + (count % 32 * b + 31) / 32;
}

inline constexpr std::array<int, 4> gptq_bits{2, 3, 4, 8};

}  // namespace detail

/// A layer that was quantized by GPTQ. Refers to the file's bytes, which must outlive it; scales, zero points and groups
/// are its own. Constructing it checks everything: what it gives out is finite.
class gptq_layer {
 public:
  /// @param module  "model.layers.0.self_attn.q_proj"
  /// @throws format_error that names file, tensor and rule: missing tensors, shapes that contradict each other, bits
  ///         other than 2, 3, 4 and 8, `g_idx` out of range; value_error for scales that are not finite
  gptq_layer(const tensor_file& file, std::string_view module, const gptq_config& config = {},
             gptq_zero_repair repair = gptq_zero_repair::per_field)
      : file_(file.file()), module_(module), codes_(words(file, ".qweight")) {
    const tensor zeros = words(file, ".qzeros");
    const tensor& scales = at(file, ".scales");
    rows_ = codes_.shape[1];
    read_scales(file, scales);
    const bool has_groups = file.contains(module_ + ".g_idx");
    std::vector<std::int64_t> given;
    if (has_groups) {
      const tensor& groups = at(file, ".g_idx");
      if (groups.shape.size() != 1) fail(".g_idx", "has shape " + shape_text(groups.shape) + ", must be [in]");
      given = file.read<std::int64_t>(groups.name);
    }
    find_bits(zeros, has_groups ? std::optional(given.size()) : std::nullopt, config);
    if (!has_groups) cols_ = codes_.shape[0] * 32 / static_cast<std::size_t>(bits_);
    place_groups(given, config);
    read_zeros(zeros, config, repair);
    if (file.contains(module_ + ".bias")) read_bias(file);
  }

  const std::string& module() const noexcept { return module_; }
  std::size_t rows() const noexcept { return rows_; }  ///< out
  std::size_t cols() const noexcept { return cols_; }  ///< in
  int bits() const noexcept { return bits_; }
  std::size_t groups() const noexcept { return groups_; }
  /// Inputs per group where group g holds inputs g * group_size() …, 0 where activation order scatters the groups.
  std::size_t group_size() const noexcept { return group_size_; }
  /// Are all zero points 2^(bits - 1)?
  bool symmetric() const noexcept {
    return std::all_of(zeros_.begin(), zeros_.end(), [&](std::uint8_t z) { return z == 1 << (bits_ - 1); });
  }
  /// [out], or empty.
  const std::vector<float>& bias() const noexcept { return bias_; }

  /// Rows first … first + out.rows - 1 of the weight.
  /// @par Numerics  (code - zero) * scale in float, one rounding; exact for scales of 16 bits
  /// @throws shape_error when `out` is not [n, cols()] or the rows are not all there
  void dequantize_rows(std::size_t first, rows_view<float> out, const executor& where = default_executor()) const {
    if (out.cols != cols_ || first > rows_ || out.rows > rows_ - first)
      throw shape_error(joined(file_, ": module ", quoted_name(module_), ": rows ", first, " to ", first, " + ",
                               out.rows, " of ", out.cols, " columns were asked, the weight is [", rows_, ", ", cols_,
                               "]"));
    const std::size_t stride = codes_.shape[0] * 4;
    parallel_for(where, out.rows, band, [&](std::size_t begin, std::size_t end) {
      std::vector<std::byte> streams(band * stride);
      for (std::size_t r = begin; r < end; r += band) {
        const std::size_t count = std::min(band, end - r);
        detail::transpose_words(codes_.bytes.data(), rows_, codes_.shape[0], first + r, count, streams.data(), stride,
                                stride);
        for (std::size_t i = 0; i < count; ++i)
          dequantize_row(streams.data() + i * stride, first + r + i, out.row(r + i));
      }
    });
  }
  void dequantize(rows_view<float> out, const executor& where = default_executor()) const {
    if (out.rows != rows_) throw shape_error(joined(file_, ": module ", quoted_name(module_), " has ", rows_, " rows"));
    dequantize_rows(0, out, where);
  }

  /// Why `matrix<Q>()` is not possible; empty when it is.
  template <class Q>
    requires detail::is_affine<Q>
  std::string refusal() const {
    if (Q::bits != bits_) return joined("has codes of ", bits_, " bits, not ", Q::bits);
    if (group_size_ == 0) return "has its groups scattered by activation order";
    const bool whole_row = group_size_ >= cols_;
    if (!whole_row && group_size_ % Q::block_size != 0)
      return joined("has groups of ", group_size_, " inputs, which are not whole groups of ", Q::block_size);
    if (Q::symmetric && !symmetric()) return "has zero points of its own";
    if (std::is_same_v<typename Q::scale_type, float>) return {};
    if (scales_type_ == dtype::f16 && std::is_same_v<typename Q::scale_type, half>) return {};
    if (scales_type_ == dtype::bf16 && std::is_same_v<typename Q::scale_type, bfloat16>) return {};
    return joined("has scales of type ", name(scales_type_), ", which the format does not hold exactly");
  }

  /// The same weight in one of our formats, bit for bit: codes are copied, not computed. Groups of the checkpoint may be
  /// several groups of Q, each with the same scale and zero point.
  /// @par Cost  one pass over the codes, which turns columns into rows
  /// @throws format_error with the sentence of `refusal`
  template <class Q>
    requires detail::is_affine<Q>
  quantized_matrix<Q> matrix(const executor& where = default_executor()) const {
    if (const std::string why = refusal<Q>(); !why.empty())
      throw format_error(joined(file_, ": module ", quoted_name(module_), " ", why, ": it is no ", Q::name()));
    auto m = quantized_matrix<Q>::for_overwrite(rows_, cols_);
    parallel_for(where, rows_, 32 * band, [&](std::size_t begin, std::size_t end) {
      detail::transpose_words(codes_.bytes.data(), rows_, codes_.shape[0], begin, end - begin, m.writable_codes(begin),
                              m.code_stride(), m.code_stride(), detail::destination::memory);
      for (std::size_t r = begin; r < end; r += 4 * band) place_parameters(m, r, std::min(r + 4 * band, end));
    });
    return m;
  }

 private:
  static constexpr std::size_t band = 16;  ///< rows of the weight whose words fill a cache line of the file

  [[noreturn]] void fail(const char* suffix, const std::string& rule) const {
    throw format_error(joined(file_, ": tensor ", quoted_name(module_ + suffix), " ", rule));
  }
  const tensor& at(const tensor_file& file, const char* suffix) const { return file.at(module_ + suffix); }
  /// A matrix of 32-bit words.
  tensor words(const tensor_file& file, const char* suffix) const {
    const tensor& t = at(file, suffix);
    if (t.dtype != dtype::i32 && t.dtype != dtype::u32)
      fail(suffix, joined("is of type ", name(t.dtype), ", must be i32"));
    if (t.shape.size() != 2) fail(suffix, "has shape " + shape_text(t.shape) + ", must be a matrix");
    return t;
  }

  void read_scales(const tensor_file& file, const tensor& scales) {
    if (scales.dtype != dtype::f16 && scales.dtype != dtype::bf16 && scales.dtype != dtype::f32)
      fail(".scales", joined("is of type ", name(scales.dtype), ", must be f16, bf16 or f32"));
    if (scales.shape.size() != 2 || scales.shape[1] != rows_)
      fail(".scales",
           joined("has shape ", shape_text(scales.shape), ", must be [groups, ", rows_, "] as the columns of qweight"));
    groups_ = scales.shape[0];
    scales_type_ = scales.dtype;
    scales_ = file.read<float>(scales.name);
    // codes and zero points differ by less than 256
    constexpr std::uint32_t largest = std::bit_cast<std::uint32_t>(0x1.fffffep127f / 256);
    const auto bad = [](float s) {  // by bits: NaN is above all numbers
      return (std::bit_cast<std::uint32_t>(s) & 0x7fffffffu) > largest;
    };
    bool any = false;  // without an early exit, so that the loop is of vectors
    for (const float s : scales_) any |= bad(s);
    if (!any) return;
    const auto i = static_cast<std::size_t>(std::find_if(scales_.begin(), scales_.end(), bad) - scales_.begin());
    throw value_error(joined(file_, ": tensor ", quoted_name(module_ + ".scales"), ": the scale of group ", i / rows_,
                             " and output ", i % rows_, " is not finite or too large"));
  }

  /// The number of bits that both shapes allow; of several the configured one.
  void find_bits(const tensor& zeros, std::optional<std::size_t> in, const gptq_config& config) {
    std::vector<int> possible;
    for (const int b : detail::gptq_bits)
      if (zeros.shape[1] == detail::code_words(rows_, b) && (!in || codes_.shape[0] == detail::code_words(*in, b)))
        possible.push_back(b);
    const bool configured = std::find(possible.begin(), possible.end(), config.bits) != possible.end();
    if (possible.empty() || (possible.size() > 1 && !configured))
      fail(".qweight",
           joined("has shape ", shape_text(codes_.shape), " and qzeros ", shape_text(zeros.shape),
                  in ? joined(" for ", *in, " inputs in g_idx") : std::string(),
                  possible.empty() ? ": no codes of 2, 3, 4 or 8 bits fit these"
                                   : ": codes of several widths fit these, and no configuration says which"));
    bits_ = configured ? config.bits : possible.front();
    if (zeros.shape[0] != groups_)
      fail(".qzeros", joined("has shape ", shape_text(zeros.shape), ", but scales have ", groups_, " groups"));
    if (in) cols_ = *in;
  }

  void place_groups(const std::vector<std::int64_t>& given, const gptq_config& config) {
    if (cols_ == 0 || rows_ == 0 || groups_ == 0) fail(".qweight", "belongs to an empty weight");
    if (cols_ > 0xffffffffu) fail(".qweight", "has too many inputs");
    group_of_.resize(cols_);
    for (std::size_t i = 0; i < given.size(); ++i) {
      if (given[i] < 0 || static_cast<std::uint64_t>(given[i]) >= groups_)
        fail(".g_idx", joined("puts input ", i, " into group ", given[i], ", there are ", groups_));
      group_of_[i] = static_cast<std::uint32_t>(given[i]);
    }
    const bool all_zero = std::all_of(group_of_.begin(), group_of_.end(), [](std::uint32_t g) { return g == 0; });
    if (all_zero) {  // missing, or never filled in: groups follow one another
      group_size_ = groups_ == 1 ? cols_ : config.group_size.value_or(0);
      if (group_size_ == 0) group_size_ = (cols_ + groups_ - 1) / groups_;
      if ((cols_ + group_size_ - 1) / group_size_ != groups_)
        fail(".scales", joined("has ", groups_, " groups, but ", cols_, " inputs in groups of ", group_size_,
                               " make another number, and g_idx does not say which input is in which"));
      for (std::size_t i = 0; i < cols_; ++i) group_of_[i] = static_cast<std::uint32_t>(i / group_size_);
      return;
    }
    const auto first_of_next = std::find_if(group_of_.begin(), group_of_.end(), [](std::uint32_t g) { return g != 0; });
    group_size_ = static_cast<std::size_t>(first_of_next - group_of_.begin());
    for (std::size_t i = 0; group_size_ != 0 && i < cols_; ++i)
      if (group_of_[i] != i / group_size_) group_size_ = 0;
  }

  void read_zeros(const tensor& zeros, const gptq_config& config, gptq_zero_repair repair) {
    const bool shifted = config.version == gptq_version::v1;
    if (shifted && repair == gptq_zero_repair::per_word && bits_ == 3)
      fail(".qzeros", "has codes of 3 bits, whose zero points cannot be repaired word by word");
    const std::uint32_t ones = 0xffffffffu / ((1u << bits_) - 1u);  // one in every field of a word
    std::vector<std::uint32_t> stream(zeros.shape[1]);
    const auto* bytes = reinterpret_cast<const std::byte*>(stream.data());
    zeros_.resize(groups_ * rows_);
    for (std::size_t g = 0; g < groups_; ++g) {
      std::memcpy(stream.data(), zeros.bytes.data() + g * stream.size() * 4, stream.size() * 4);
      if (shifted && repair == gptq_zero_repair::per_word)
        for (std::uint32_t& word : stream) word += ones;
      const std::uint32_t one = shifted && repair == gptq_zero_repair::per_field ? 1 : 0;
      std::uint8_t* const row = zeros_.data() + g * rows_;
      switch (bits_) {  // constants, so that shifts need no counting
        case 2: unpack<2>(bytes, one, row); break;
        case 3: unpack<3>(bytes, one, row); break;
        case 4: unpack<4>(bytes, one, row); break;
        default: unpack<8>(bytes, one, row); break;
      }
    }
  }
  /// rows() fields of a stream, each plus `one` modulo 2^Bits.
  template <int Bits>
  void unpack(const std::byte* stream, std::uint32_t one, std::uint8_t* out) const noexcept {
    for (std::size_t r = 0; r < rows_; ++r)
      out[r] = static_cast<std::uint8_t>((detail::code_of_stream(stream, r, Bits) + one) & ((1u << Bits) - 1u));
  }

  /// Scales and zero points of rows begin … end - 1, few enough to stay in the first cache.
  template <class Q>
  void place_parameters(quantized_matrix<Q>& m, std::size_t begin, std::size_t end) const noexcept {
    const std::size_t stride = m.parameter_stride();
    std::byte* const rows = m.writable_parameters(begin);
    for (std::size_t b = 0; b < m.blocks_per_row(); ++b) {
      const std::size_t g = b * Q::block_size / group_size_;
      const float* const scales = scales_.data() + g * rows_;
      const std::uint8_t* const zeros = zeros_.data() + g * rows_;
      for (std::size_t r = begin; r < end; ++r) {
        std::byte* const p = rows + (r - begin) * stride + b * Q::parameter_bytes;
        qwha::detail::store_scalar<typename Q::scale_type>(p, scales[r]);
        if constexpr (!Q::symmetric) p[sizeof(typename Q::scale_type)] = static_cast<std::byte>(zeros[r]);
      }
    }
  }

  void read_bias(const tensor_file& file) {
    const tensor& t = at(file, ".bias");
    if (t.shape != std::vector<std::size_t>{rows_})
      fail(".bias", joined("has shape ", shape_text(t.shape), ", must be [", rows_, "]"));
    bias_ = file.read<float>(t.name);
    if (!all_finite(bias_.data(), bias_.size()))
      throw value_error(joined(file_, ": tensor ", quoted_name(t.name), " holds NaN or infinity"));
  }

  void dequantize_row(const std::byte* stream, std::size_t row, float* out) const noexcept {
    for (std::size_t i = 0; i < cols_; ++i) {
      const std::size_t parameter = group_of_[i] * rows_ + row;
      const auto code = static_cast<std::int32_t>(detail::code_of_stream(stream, i, bits_));
      out[i] = static_cast<float>(code - zeros_[parameter]) * scales_[parameter];
    }
  }

  std::string file_, module_;
  tensor codes_;
  std::size_t rows_ = 0, cols_ = 0, groups_ = 0, group_size_ = 0;
  int bits_ = 0;
  dtype scales_type_ = dtype::f16;
  std::vector<float> scales_;        ///< [groups, out]
  std::vector<std::uint8_t> zeros_;  ///< [groups, out]
  std::vector<std::uint32_t> group_of_;
  std::vector<float> bias_;
};

}  // namespace qwha::io::inline QWHA_ISA
