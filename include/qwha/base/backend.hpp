// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Back-end tags: empty types that state facts about a machine. Whether this file may use one is `compiled_for`.

#include <concepts>
#include <cstddef>
#include <string_view>
#include <type_traits>

#include <qwha/base/config.hpp>

namespace qwha {

/// One element at a time, plain C++: the reference that every other back end is compared with, bit for bit.
struct scalar {
  static constexpr const char* name = "scalar";
  static constexpr std::size_t vector_bytes = 0;
};
struct sse {
  static constexpr const char* name = "sse";
  static constexpr std::size_t vector_bytes = 16;
};
/// AVX2 with FMA and F16C (x86-64-v3).
struct avx2 {
  static constexpr const char* name = "avx2";
  static constexpr std::size_t vector_bytes = 32;
};
/// AVX-512 F, BW, DQ and VL (x86-64-v4).
struct avx512 {
  static constexpr const char* name = "avx512";
  static constexpr std::size_t vector_bytes = 64;
};
struct neon {
  static constexpr const char* name = "neon";
  static constexpr std::size_t vector_bytes = 16;
};
/// The device side; `<qwha/qwha.cuh>` gives it meaning.
struct cuda {
  static constexpr const char* name = "cuda";
  static constexpr std::size_t vector_bytes = 16;
};

/// A place where kernels run. Meaning: equal inputs give equal bits on every call with the same tag.
template <class B>
concept backend = std::is_empty_v<B> && requires {
  { B::name } -> std::convertible_to<std::string_view>;
  { B::vector_bytes } -> std::convertible_to<std::size_t>;
};
static_assert(backend<scalar> && backend<sse> && backend<avx2> && backend<avx512> && backend<neon> && backend<cuda>);

}  // namespace qwha

namespace qwha::inline QWHA_ISA {

/// True when this file's compile flags allow the tag's instructions.
template <class B>
inline constexpr bool compiled_for = std::is_same_v<B, scalar>;
template <>
inline constexpr bool compiled_for<sse> = QWHA_HAS_SSE != 0;
template <>
inline constexpr bool compiled_for<avx2> = QWHA_HAS_AVX2 != 0;
template <>
inline constexpr bool compiled_for<avx512> = QWHA_HAS_AVX512 != 0;
template <>
inline constexpr bool compiled_for<neon> = QWHA_HAS_NEON != 0;

/// The best CPU tag that this file is compiled for.
#if QWHA_HAS_AVX512
using native = avx512;
#elif QWHA_HAS_AVX2
using native = avx2;
#elif QWHA_HAS_SSE
using native = sse;
#elif QWHA_HAS_NEON
using native = neon;
#else
using native = scalar;
#endif
static_assert(compiled_for<native>);

}  // namespace qwha::inline QWHA_ISA
