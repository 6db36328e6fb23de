// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Element types of tensors in files: their names, and how many bytes how many elements take.

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>

namespace qwha::io {

static_assert(std::endian::native == std::endian::little,
              "qwha::io reads little-endian files on little-endian machines");

/// What the elements of a tensor in a file are. Types from `q4_0` on are GGUF blocks; of those after `q6_k` only the
/// size is known.
enum class dtype : std::uint8_t {
  f32,
  f16,
  bf16,
  f64,
  i8,
  i16,
  i32,
  i64,
  u8,
  u16,
  u32,
  u64,
  boolean,
  c64,
  f8_e4m3,
  f8_e5m2,
  f8_e8m0,
  f8_e4m3fnuz,
  f8_e5m2fnuz,
  f6_e2m3,
  f6_e3m2,
  f4,
  q4_0,
  q4_1,
  q5_0,
  q5_1,
  q8_0,
  q2_k,
  q3_k,
  q4_k,
  q5_k,
  q6_k,
  q8_1,
  q8_k,
  iq2_xxs,
  iq2_xs,
  iq3_xxs,
  iq1_s,
  iq4_nl,
  iq3_s,
  iq2_s,
  iq4_xs,
  iq1_m,
  tq1_0,
  tq2_0,
  mxfp4,
  nvfp4,
  q1_0,
  q2_0,
};

/// The facts of a `dtype`.
struct dtype_info {
  dtype type;
  std::string_view name;               ///< as the enumerator is spelled
  std::uint16_t block_size;            ///< elements that are stored together
  std::uint16_t block_bytes;           ///< bytes that they take
  std::string_view safetensors = {};   ///< name in a safetensors header; empty when that format has no such type
  std::int8_t safetensors_order = -1;  ///< the official writer sorts tensors by this, descending
  std::int8_t ggml = -1;               ///< type id in a GGUF file; -1 when that format has no such type
};

/// All types, in the order of the enumeration. Sources: huggingface/safetensors (safetensors/src/tensor.rs),
/// ggml-org/ggml (include/ggml.h, src/ggml-common.h).
inline constexpr std::array<dtype_info, 49> dtypes{{
    {dtype::f32, "f32", 1, 4, "F32", 17, 0},
    {dtype::f16, "f16", 1, 2, "F16", 13, 1},
    {dtype::bf16, "bf16", 1, 2, "BF16", 14, 30},
    {dtype::f64, "f64", 1, 8, "F64", 19, 28},
    {dtype::i8, "i8", 1, 1, "I8", 5, 24},
    {dtype::i16, "i16", 1, 2, "I16", 11, 25},
    {dtype::i32, "i32", 1, 4, "I32", 15, 26},
    {dtype::i64, "i64", 1, 8, "I64", 20, 27},
    {dtype::u8, "u8", 1, 1, "U8", 4},
    {dtype::u16, "u16", 1, 2, "U16", 12},
    {dtype::u32, "u32", 1, 4, "U32", 16},
    {dtype::u64, "u64", 1, 8, "U64", 21},
    {dtype::boolean, "boolean", 1, 1, "BOOL", 0},
    {dtype::c64, "c64", 1, 8, "C64", 18},
    {dtype::f8_e4m3, "f8_e4m3", 1, 1, "F8_E4M3", 7},
    {dtype::f8_e5m2, "f8_e5m2", 1, 1, "F8_E5M2", 6},
    {dtype::f8_e8m0, "f8_e8m0", 1, 1, "F8_E8M0", 8},
    {dtype::f8_e4m3fnuz, "f8_e4m3fnuz", 1, 1, "F8_E4M3FNUZ", 9},
    {dtype::f8_e5m2fnuz, "f8_e5m2fnuz", 1, 1, "F8_E5M2FNUZ", 10},
    {dtype::f6_e2m3, "f6_e2m3", 4, 3, "F6_E2M3", 2},
    {dtype::f6_e3m2, "f6_e3m2", 4, 3, "F6_E3M2", 3},
    {dtype::f4, "f4", 2, 1, "F4", 1},
    {dtype::q4_0, "q4_0", 32, 18, {}, -1, 2},
    {dtype::q4_1, "q4_1", 32, 20, {}, -1, 3},
    {dtype::q5_0, "q5_0", 32, 22, {}, -1, 6},
    {dtype::q5_1, "q5_1", 32, 24, {}, -1, 7},
    {dtype::q8_0, "q8_0", 32, 34, {}, -1, 8},
    {dtype::q2_k, "q2_k", 256, 84, {}, -1, 10},
    {dtype::q3_k, "q3_k", 256, 110, {}, -1, 11},
    {dtype::q4_k, "q4_k", 256, 144, {}, -1, 12},
    {dtype::q5_k, "q5_k", 256, 176, {}, -1, 13},
    {dtype::q6_k, "q6_k", 256, 210, {}, -1, 14},
    {dtype::q8_1, "q8_1", 32, 36, {}, -1, 9},
    {dtype::q8_k, "q8_k", 256, 292, {}, -1, 15},
    {dtype::iq2_xxs, "iq2_xxs", 256, 66, {}, -1, 16},
    {dtype::iq2_xs, "iq2_xs", 256, 74, {}, -1, 17},
    {dtype::iq3_xxs, "iq3_xxs", 256, 98, {}, -1, 18},
    {dtype::iq1_s, "iq1_s", 256, 50, {}, -1, 19},
    {dtype::iq4_nl, "iq4_nl", 32, 18, {}, -1, 20},
    {dtype::iq3_s, "iq3_s", 256, 110, {}, -1, 21},
    {dtype::iq2_s, "iq2_s", 256, 82, {}, -1, 22},
    {dtype::iq4_xs, "iq4_xs", 256, 136, {}, -1, 23},
    {dtype::iq1_m, "iq1_m", 256, 56, {}, -1, 29},
    {dtype::tq1_0, "tq1_0", 256, 54, {}, -1, 34},
    {dtype::tq2_0, "tq2_0", 256, 66, {}, -1, 35},
    {dtype::mxfp4, "mxfp4", 32, 17, {}, -1, 39},
    {dtype::nvfp4, "nvfp4", 64, 36, {}, -1, 40},
    {dtype::q1_0, "q1_0", 128, 18, {}, -1, 41},
    {dtype::q2_0, "q2_0", 64, 18, {}, -1, 42},
}};
static_assert([] {
  for (std::size_t i = 0; i < dtypes.size(); ++i)
    if (dtypes[i].type != static_cast<dtype>(i)) return false;
  return true;
}());

constexpr const dtype_info& info(dtype d) noexcept { return dtypes[static_cast<std::size_t>(d)]; }
constexpr std::string_view name(dtype d) noexcept { return info(d).name; }

constexpr std::optional<dtype> dtype_of_safetensors(std::string_view header_name) noexcept {
  for (const dtype_info& i : dtypes)
    if (!i.safetensors.empty() && i.safetensors == header_name) return i.type;
  return std::nullopt;
}
constexpr std::optional<dtype> dtype_of_ggml(std::int64_t id) noexcept {
  for (const dtype_info& i : dtypes)
    if (i.ggml >= 0 && i.ggml == id) return i.type;
  return std::nullopt;
}

/// Bytes of `count` elements; nothing when they are not whole blocks or the number overflows.
constexpr std::optional<std::size_t> bytes_of(dtype d, std::size_t count) noexcept {
  const dtype_info& i = info(d);
  const std::size_t blocks = count / i.block_size;
  if (count % i.block_size != 0 || blocks > std::numeric_limits<std::size_t>::max() / i.block_bytes)
    return std::nullopt;
  return blocks * i.block_bytes;
}

}  // namespace qwha::io
