// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Elements of a tensor in a file, converted to a C++ type.

#include <algorithm>
#include <bit>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/base/executor.hpp>
#include <qwha/base/float16.hpp>
#include <qwha/base/rows_view.hpp>
#include <qwha/base/simd.hpp>
#include <qwha/io/dtype.hpp>
#include <qwha/io/message.hpp>
#include <qwha/io/tensor.hpp>
#if __has_include(<qwha/quant/gguf_blocks.hpp>)
#include <qwha/quant/gguf_blocks.hpp>
#define QWHA_IO_HAS_GGUF_BLOCKS 1
#endif

namespace qwha::io::inline QWHA_ISA {

/// A type that tensors can be read as: float, double, half, bfloat16 and the integers of 8 to 64 bits.
template <class T>
concept readable = std::same_as<T, float> || std::same_as<T, double> || std::same_as<T, half> ||
                   std::same_as<T, bfloat16> || (std::integral<T> && !std::same_as<T, bool>);

namespace detail {

template <class T>
T load(const std::byte* p) noexcept {
  T value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

/// Value of a float with few bits: sign, `Exponent` bits of exponent with this bias, `Mantissa` bits. Every code is a
/// number; special codes are the caller's.
template <int Exponent, int Mantissa, int Bias>
float small_float(unsigned code) noexcept {
  const auto fraction = static_cast<float>(code & ((1u << Mantissa) - 1u));
  const int exponent = static_cast<int>((code >> Mantissa) & ((1u << Exponent) - 1u));
  const bool negative = ((code >> (Mantissa + Exponent)) & 1u) != 0;
  const float magnitude = exponent == 0
                              ? std::ldexp(fraction, 1 - Bias - Mantissa)
                              : std::ldexp(fraction + static_cast<float>(1 << Mantissa), exponent - Bias - Mantissa);
  return negative ? -magnitude : magnitude;
}

constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

// One type per element encoding: `get(bytes, i)` is element i.
template <class T>
struct plain {
  static T get(const std::byte* p, std::size_t i) noexcept { return load<T>(p + i * sizeof(T)); }
};
template <class T>
struct sixteen_bit {
  static float get(const std::byte* p, std::size_t i) noexcept { return T::from_bits(load<std::uint16_t>(p + 2 * i)); }
};
struct truth {
  static std::uint8_t get(const std::byte* p, std::size_t i) noexcept { return p[i] == std::byte{0} ? 0 : 1; }
};
struct e4m3 {  // no infinity; all ones is NaN
  static float get(const std::byte* p, std::size_t i) noexcept {
    const auto code = std::to_integer<unsigned>(p[i]);
    return (code & 0x7fu) == 0x7fu ? not_a_number : small_float<4, 3, 7>(code);
  }
};
struct e5m2 {  // the upper half of an IEEE half
  static float get(const std::byte* p, std::size_t i) noexcept {
    return half::from_bits(static_cast<std::uint16_t>(std::to_integer<unsigned>(p[i]) << 8));
  }
};
struct e8m0 {
  static float get(const std::byte* p, std::size_t i) noexcept {
    const auto code = std::to_integer<int>(p[i]);
    return code == 0xff ? not_a_number : std::ldexp(1.0f, code - 127);
  }
};
template <int Exponent, int Mantissa, int Bias>
struct fnuz {  // neither infinity nor negative zero, whose code is NaN
  static float get(const std::byte* p, std::size_t i) noexcept {
    const auto code = std::to_integer<unsigned>(p[i]);
    return code == 0x80u ? not_a_number : small_float<Exponent, Mantissa, Bias>(code);
  }
};
struct e2m1 {  // two in a byte, the first in the low nibble
  static float get(const std::byte* p, std::size_t i) noexcept {
    return small_float<2, 1, 1>(std::to_integer<unsigned>(p[i / 2]) >> (i % 2 * 4) & 15u);
  }
};

/// Calls `f(encoding)` for a type that is stored element by element; false for all others.
template <class F>
bool with_encoding(dtype d, F&& f) {
  switch (d) {
    case dtype::f32: return f(plain<float>{}), true;
    case dtype::f64: return f(plain<double>{}), true;
    case dtype::f16: return f(sixteen_bit<half>{}), true;
    case dtype::bf16: return f(sixteen_bit<bfloat16>{}), true;
    case dtype::i8: return f(plain<std::int8_t>{}), true;
    case dtype::i16: return f(plain<std::int16_t>{}), true;
    case dtype::i32: return f(plain<std::int32_t>{}), true;
    case dtype::i64: return f(plain<std::int64_t>{}), true;
    case dtype::u8: return f(plain<std::uint8_t>{}), true;
    case dtype::u16: return f(plain<std::uint16_t>{}), true;
    case dtype::u32: return f(plain<std::uint32_t>{}), true;
    case dtype::u64: return f(plain<std::uint64_t>{}), true;
    case dtype::boolean: return f(truth{}), true;
    case dtype::f8_e4m3: return f(e4m3{}), true;
    case dtype::f8_e5m2: return f(e5m2{}), true;
    case dtype::f8_e8m0: return f(e8m0{}), true;
    case dtype::f8_e4m3fnuz: return f(fnuz<4, 3, 8>{}), true;
    case dtype::f8_e5m2fnuz: return f(fnuz<5, 2, 16>{}), true;
    case dtype::f4: return f(e2m1{}), true;
    default: return false;
  }
}

/// Calls `f(Q{})` for a GGUF block format that the quantizers know; false for all others.
template <class F>
bool with_block_format([[maybe_unused]] dtype d, [[maybe_unused]] F&& f) {
#if defined(QWHA_IO_HAS_GGUF_BLOCKS)
  switch (d) {
    case dtype::q4_0: return f(q4_0{}), true;
    case dtype::q4_1: return f(q4_1{}), true;
    case dtype::q5_0: return f(q5_0{}), true;
    case dtype::q5_1: return f(q5_1{}), true;
    case dtype::q8_0: return f(q8_0{}), true;
    case dtype::q2_k: return f(q2_k{}), true;
    case dtype::q3_k: return f(q3_k{}), true;
    case dtype::q4_k: return f(q4_k{}), true;
    case dtype::q5_k: return f(q5_k{}), true;
    case dtype::q6_k: return f(q6_k{}), true;
    default: return false;
  }
#else
  return false;
#endif
}

/// `to = from`; false when an integer `to` cannot hold the value exactly.
template <class T, class V>
bool assign(T& to, V from) noexcept {
  if constexpr (std::same_as<T, half> || std::same_as<T, bfloat16>) {
    to = T(static_cast<float>(from));
  } else if constexpr (std::floating_point<T>) {
    to = static_cast<T>(from);
  } else if constexpr (std::integral<V>) {
    if (!std::in_range<T>(from)) return false;
    to = static_cast<T>(from);
  } else {
    // 2^digits is a power of two, so both bounds are exact in V.
    const V end = std::ldexp(V{1}, std::numeric_limits<T>::digits);
    if (!(from >= (std::is_signed_v<T> ? -end : V{0}) && from < end) || from != std::trunc(from)) return false;
    to = static_cast<T>(from);
  }
  return true;
}

/// Elements first … first + count - 1 to `out`; returns how many could be converted, `count` when all.
/// @pre  `first` and `count` are multiples of the block size
template <class Q, class T>
std::size_t convert_blocks(const tensor& t, std::size_t first, std::size_t count, T* out) {
  const std::byte* block = t.bytes.data() + first / Q::block_size * Q::code_bytes;
  for (std::size_t done = 0; done < count; done += Q::block_size, block += Q::code_bytes) {
    if constexpr (std::same_as<T, float>) {
      Q::decode(block, nullptr, typename Q::matrix_parameters{}, out + done);
    } else {
      float values[Q::block_size];
      Q::decode(block, nullptr, typename Q::matrix_parameters{}, values);
      for (std::size_t i = 0; i < Q::block_size; ++i)
        if (!assign(out[done + i], values[i])) return done + i;
    }
  }
  return count;
}

/// Halves or bfloat16s at any address as floats, a register at a time.
template <class S>
void widen(const std::byte* bytes, std::size_t count, float* out) noexcept {
  constexpr std::size_t width = lanes<native, float>;
  S some[width];
  std::size_t i = 0;
  for (; i + width <= count; i += width) {
    std::memcpy(static_cast<void*>(some), bytes + i * sizeof(S), sizeof some);
    load_as<float, width>(some).store(out + i);
  }
  for (; i < count; ++i) out[i] = sixteen_bit<S>::get(bytes, i);
}

template <class Encoding, class T>
std::size_t convert_elements(const tensor& t, std::size_t first, std::size_t count, T* out) noexcept {
  const std::byte* bytes = t.bytes.data();
  if constexpr (std::same_as<Encoding, plain<T>>) {
    std::memcpy(out, bytes + first * sizeof(T), count * sizeof(T));
  } else if constexpr (std::same_as<Encoding, sixteen_bit<half>> && std::same_as<T, float>) {
    widen<half>(bytes + first * sizeof(half), count, out);
  } else if constexpr (std::same_as<Encoding, sixteen_bit<bfloat16>> && std::same_as<T, float>) {
    widen<bfloat16>(bytes + first * sizeof(bfloat16), count, out);
  } else {
    for (std::size_t i = 0; i < count; ++i)
      if (!assign(out[i], Encoding::get(bytes, first + i))) return i;
  }
  return count;
}

/// @param file  how messages call the file
/// @pre  the range is inside the tensor and starts and ends at a block
template <class T>
void convert(std::string_view file, const tensor& t, std::size_t first, std::size_t count, T* out) {
  if (count == 0) return;
  std::size_t done = 0;
  const bool known = with_encoding(t.dtype, [&]<class E>(E) { done = convert_elements<E>(t, first, count, out); }) ||
                     with_block_format(t.dtype, [&]<class Q>(Q) { done = convert_blocks<Q>(t, first, count, out); });
  const auto where = [&] { return joined(file, ": tensor ", quoted_name(t.name)); };
  if (!known) throw format_error(joined(where(), " is of type ", name(t.dtype), ", which cannot be converted"));
  if (done != count)
    throw value_error(joined(where(), ": element ", first + done, " does not fit an integer of ", 8 * sizeof(T),
                             (std::is_signed_v<T> ? " bits" : " bits without sign")));
}

}  // namespace detail

/// Can `read<float>` convert this type?
inline bool convertible(dtype d) noexcept {
  return detail::with_encoding(d, [](auto) {}) || detail::with_block_format(d, [](auto) {});
}

/// Rows first … first + out.rows - 1 of a tensor seen as [rows(), cols()], converted as by `read`: a slab of a matrix
/// too large to convert whole. Cost: one pass over the slab, rows in parallel.
/// @param file  how messages call the file
/// @throws shape_error when `out` is not [n, cols()] or the rows are not all there; else as `read`
template <readable T>
void read_rows(std::string_view file, const tensor& t, std::size_t first, rows_view<T> out,
               const executor& where = default_executor()) {
  const std::size_t cols = t.cols();
  const std::size_t rows = t.rows();
  if (out.cols != cols || first > rows || out.rows > rows - first)
    throw shape_error(joined(file, ": tensor ", quoted_name(t.name), ": rows ", first, " to ", first, " + ", out.rows,
                             " of ", out.cols, " columns were asked, its shape is ", shape_text(t.shape)));
  const std::size_t block = info(t.dtype).block_size;
  if (cols % block == 0) {
    const std::size_t grain = std::max<std::size_t>(1, 65536 / std::max<std::size_t>(cols, 1));
    parallel_for(where, out.rows, grain, [&](std::size_t begin, std::size_t end) {
      for (std::size_t r = begin; r < end; ++r) detail::convert(file, t, (first + r) * cols, cols, out.row(r));
    });
    return;
  }
  // Packed types of safetensors whose rows end inside a block: element by element from the block before.
  std::vector<T> whole;
  for (std::size_t r = 0; r < out.rows; ++r) {
    const std::size_t begin = (first + r) * cols / block * block;
    const std::size_t end = ((first + r + 1) * cols + block - 1) / block * block;
    whole.resize(end - begin);
    detail::convert(file, t, begin, end - begin, whole.data());
    std::copy_n(whole.begin() + static_cast<std::ptrdiff_t>((first + r) * cols - begin), cols, out.row(r));
  }
}

/// All elements in order. Values are as in the file, NaN and infinity included: weights are checked where they enter
/// the model. Cost: one pass, in parallel. Numerics: float types round once to nearest, half and bfloat16 through
/// float; integers keep their value.
/// @param file  how messages call the file
/// @throws value_error when T is an integer type and an element is not exactly one of its values; format_error when the
///         type is known by its size only
template <readable T>
std::vector<T> read(std::string_view file, const tensor& t, const executor& where = default_executor()) {
  constexpr std::size_t grain = 65536;  // a multiple of every block size
  const std::size_t count = t.size();
  if (!convertible(t.dtype)) detail::convert(file, t, 0, 1, static_cast<T*>(nullptr));
  std::vector<T> values(count);
  parallel_for(where, count, grain, [&](std::size_t begin, std::size_t end) {
    detail::convert(file, t, begin, end - begin, values.data() + begin);
  });
  return values;
}

}  // namespace qwha::io::inline QWHA_ISA
