// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// `vec<T, W>`: W numbers in one register, over the vector extensions of GCC and Clang; plain C++ for W = 1.
/// Never ask for a vector wider than `native::vector_bytes`: the compiler would keep it in memory.

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include <qwha/base/backend.hpp>
#include <qwha/base/config.hpp>
#include <qwha/base/float16.hpp>

#if QWHA_HAS_AVX2 || QWHA_HAS_AVX512
#include <immintrin.h>
#endif

namespace qwha::inline QWHA_ISA {

/// W lanes of T. Arithmetic is lane by lane with one rounding an operation (`fma`: see there).
template <class T, std::size_t W>
struct vec;

/// How many T fill a register of back end B; 1 for `scalar`.
template <class B, class T>
inline constexpr std::size_t lanes = B::vector_bytes < sizeof(T) ? 1 : B::vector_bytes / sizeof(T);

template <class T>
struct vec<T, 1> {
  using value_type = T;
  static constexpr std::size_t size = 1;
  T v;

  static QWHA_KERNEL_INLINE vec splat(T x) noexcept { return {x}; }
  static QWHA_KERNEL_INLINE vec load(const T* p) noexcept { return {*p}; }
  QWHA_KERNEL_INLINE void store(T* p) const noexcept { *p = v; }
  QWHA_KERNEL_INLINE T operator[](std::size_t) const noexcept { return v; }
  friend QWHA_KERNEL_INLINE vec operator+(vec a, vec b) noexcept { return {a.v + b.v}; }
  friend QWHA_KERNEL_INLINE vec operator-(vec a, vec b) noexcept { return {a.v - b.v}; }
  friend QWHA_KERNEL_INLINE vec operator*(vec a, vec b) noexcept { return {a.v * b.v}; }
  friend QWHA_KERNEL_INLINE vec operator-(vec a) noexcept { return {-a.v}; }
};

#if QWHA_HAS_VECTOR_EXTENSIONS

template <class T, std::size_t W>
struct vec {
  static_assert((W & (W - 1)) == 0, "qwha::vec<T, W>: W must be a power of two");
  using value_type = T;
  typedef T native_type __attribute__((vector_size(sizeof(T) * W)));
  static constexpr std::size_t size = W;
  native_type v;

  static QWHA_KERNEL_INLINE vec splat(T x) noexcept { return {x - native_type{}}; }
  /// Any alignment.
  static QWHA_KERNEL_INLINE vec load(const T* p) noexcept {
    vec r;
    std::memcpy(&r.v, p, sizeof(r.v));
    return r;
  }
  QWHA_KERNEL_INLINE void store(T* p) const noexcept { std::memcpy(static_cast<void*>(p), &v, sizeof(v)); }
  QWHA_KERNEL_INLINE T operator[](std::size_t i) const noexcept { return v[i]; }
  friend QWHA_KERNEL_INLINE vec operator+(vec a, vec b) noexcept { return {a.v + b.v}; }
  friend QWHA_KERNEL_INLINE vec operator-(vec a, vec b) noexcept { return {a.v - b.v}; }
  friend QWHA_KERNEL_INLINE vec operator*(vec a, vec b) noexcept { return {a.v * b.v}; }
  friend QWHA_KERNEL_INLINE vec operator-(vec a) noexcept { return {-a.v}; }
};

#endif

/// a b + c, fused where this file's compiler contracts products and sums (its default), else with two roundings.
/// Both give the same bits where the product is exact, which is all that the transforms rely on.
template <class T, std::size_t W>
QWHA_KERNEL_INLINE vec<T, W> fma(vec<T, W> a, vec<T, W> b, vec<T, W> c) noexcept {
  return {a.v * b.v + c.v};
}

/// `value`, which the compiler must not know: keeps a multiplication by a constant 1 or -1 a multiplication.
template <class T>
QWHA_KERNEL_INLINE T opaque(T value) noexcept {
#if QWHA_HAS_VECTOR_EXTENSIONS
  auto bits = std::bit_cast<std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>>(value);
  __asm__("" : "+r"(bits));
  return std::bit_cast<T>(bits);
#else
  return value;
#endif
}

/// `v`, which the compiler must hold in a register: GCC reads memory again for each use where AVX2 can. No effect on
/// other widths.
template <class T, std::size_t W>
QWHA_KERNEL_INLINE vec<T, W> in_register(vec<T, W> v) noexcept {
#if QWHA_HAS_AVX2
  if constexpr (W * sizeof(T) == 32) __asm__("" : "+v"(v.v));
#endif
  return v;
}

/// The `Count` numbers from p are in memory, not in registers, after this.
template <std::size_t Count, class T>
QWHA_KERNEL_INLINE void in_memory(T* p) noexcept {
#if QWHA_HAS_VECTOR_EXTENSIONS
  __asm__("" : "+m"(*reinterpret_cast<T(*)[Count]>(p)));
#else
  static_cast<void>(p);
#endif
}

/// Asks for the cache line of p; any address.
QWHA_KERNEL_INLINE void prefetch(const void* p) noexcept {
#if QWHA_HAS_VECTOR_EXTENSIONS
  __builtin_prefetch(p);
#else
  static_cast<void>(p);
#endif
}

namespace detail {

#if QWHA_HAS_VECTOR_EXTENSIONS
template <std::size_t H, class T, std::size_t W, std::size_t... I>
QWHA_KERNEL_INLINE vec<T, W> swap_lanes_by(vec<T, W> a, std::index_sequence<I...>) noexcept {
  return {__builtin_shufflevector(a.v, a.v, static_cast<int>(I ^ H)...)};
}
template <std::size_t H, class T, std::size_t W, std::size_t... I>
QWHA_KERNEL_INLINE vec<T, W> lane_signs_by(std::index_sequence<I...>) noexcept {
  return {typename vec<T, W>::native_type{static_cast<T>((I & H) != 0 ? -1 : 1)...}};
}
#endif

}  // namespace detail

#if QWHA_HAS_VECTOR_EXTENSIONS

/// Lane i of the result is lane i ^ H of `a`; H a power of two below W.
template <std::size_t H, class T, std::size_t W>
QWHA_KERNEL_INLINE vec<T, W> swap_lanes(vec<T, W> a) noexcept {
  return detail::swap_lanes_by<H>(a, std::make_index_sequence<W>{});
}

/// +1 in the lanes whose bit H is clear, -1 in the others.
template <std::size_t H, class T, std::size_t W>
QWHA_KERNEL_INLINE vec<T, W> lane_signs() noexcept {
  return detail::lane_signs_by<H, T, W>(std::make_index_sequence<W>{});
}

#endif

// --- loads and stores that convert ----------------------------------------------------------------------------------

namespace detail {

#if QWHA_HAS_VECTOR_EXTENSIONS
template <class To, class From, std::size_t W>
QWHA_KERNEL_INLINE vec<To, W> convert_lanes(vec<From, W> a) noexcept {
  return {__builtin_convertvector(a.v, typename vec<To, W>::native_type)};
}
template <class To, class From, std::size_t W>
QWHA_KERNEL_INLINE vec<To, W> bit_cast_lanes(vec<From, W> a) noexcept {
  static_assert(sizeof(To) == sizeof(From));
  return {(typename vec<To, W>::native_type)(a.v)};
}

template <std::size_t W>
QWHA_KERNEL_INLINE vec<float, W> load_half(const half* p) noexcept {
#if QWHA_HAS_AVX512
  if constexpr (W == 16) {  // maskz: the plain intrinsic draws a false warning from g++ 12
    __m256i bits;
    std::memcpy(&bits, p, sizeof(bits));
    return {(typename vec<float, W>::native_type)(_mm512_maskz_cvtph_ps(0xffff, bits))};
  }
#endif
#if QWHA_HAS_AVX2
  if constexpr (W == 8) {
    __m128i bits;
    std::memcpy(&bits, p, sizeof(bits));
    return {(typename vec<float, W>::native_type)(_mm256_cvtph_ps(bits))};
  } else if constexpr (W == 4) {
    std::int64_t bits;
    std::memcpy(&bits, p, sizeof(bits));
    return {(typename vec<float, W>::native_type)(_mm_cvtph_ps(_mm_cvtsi64_si128(bits)))};
  }
#endif
  float values[W];
  for (std::size_t i = 0; i < W; ++i) values[i] = static_cast<float>(p[i]);
  return vec<float, W>::load(values);
}

template <std::size_t W>
QWHA_KERNEL_INLINE void store_half(half* p, vec<float, W> a) noexcept {
#if QWHA_HAS_AVX512
  if constexpr (W == 16) {
    const __m256i bits = _mm512_maskz_cvtps_ph(0xffff, (__m512)(a.v), _MM_FROUND_TO_NEAREST_INT);
    std::memcpy(static_cast<void*>(p), &bits, sizeof(bits));
    return;
  }
#endif
#if QWHA_HAS_AVX2
  if constexpr (W == 8) {
    const __m128i bits = _mm256_cvtps_ph((__m256)(a.v), _MM_FROUND_TO_NEAREST_INT);
    std::memcpy(static_cast<void*>(p), &bits, sizeof(bits));
    return;
  } else if constexpr (W == 4) {
    const std::int64_t bits = _mm_cvtsi128_si64(_mm_cvtps_ph((__m128)(a.v), _MM_FROUND_TO_NEAREST_INT));
    std::memcpy(static_cast<void*>(p), &bits, sizeof(bits));
    return;
  }
#endif
  for (std::size_t i = 0; i < W; ++i) p[i] = half(a[i]);
}

#if QWHA_HAS_AVX512VBMI
/// Indices that take number i, bytes 2 i and 2 i + 1, to the upper half of lane i.
template <std::size_t... Pair>
QWHA_KERNEL_INLINE __m512i bfloat16_bytes(std::index_sequence<Pair...>) noexcept {
  constexpr auto two_lanes = [](std::uint64_t i) {
    return (4 * i + 1) << 24 | (4 * i) << 16 | (4 * i + 3) << 56 | (4 * i + 2) << 48;
  };
  return (__m512i)(typename vec<std::uint64_t, 8>::native_type{two_lanes(Pair)...});
}
#endif

template <std::size_t W>
QWHA_KERNEL_INLINE vec<float, W> load_bfloat16(const bfloat16* p) noexcept {
#if QWHA_HAS_AVX512VBMI
  if constexpr (W == 16) {  // one shuffle of bytes, where widening and shifting are two instructions
    vec<std::int64_t, 4> bits;
    std::memcpy(&bits.v, p, sizeof(bits.v));
    const auto low_half = __builtin_shufflevector(bits.v, decltype(bits.v){}, 0, 1, 2, 3, 4, 5, 6, 7);
    const auto upper = bfloat16_bytes(std::make_index_sequence<8>{});
    const auto wide = _mm512_maskz_permutexvar_epi8(0xcccccccccccccccc, upper, (__m512i)(low_half));
    return {(typename vec<float, W>::native_type)(wide)};
  }
#elif QWHA_HAS_AVX512
  if constexpr (W == 16) {  // GCC's own conversion goes through halves; maskz as in load_half
    __m256i bits;
    std::memcpy(&bits, p, sizeof(bits));
    const auto wide = _mm512_maskz_cvtepu16_epi32(0xffff, bits);
    return {(typename vec<float, W>::native_type)(_mm512_maskz_slli_epi32(0xffff, wide, 16))};
  }
#endif
  vec<std::uint16_t, W> bits;
  std::memcpy(&bits.v, p, sizeof(bits.v));
  return bit_cast_lanes<float>(vec<std::uint32_t, W>{convert_lanes<std::uint32_t>(bits).v << 16});
}

template <std::size_t W>
QWHA_KERNEL_INLINE void store_bfloat16(bfloat16* p, vec<float, W> a) noexcept {
#if QWHA_HAS_AVX512BF16
  if constexpr (W == 16) {
    // The instruction flushes subnormals, and every back end must give the same bits: they enter with the exponent of
    // the smallest normal number, which has their unit in the last place, and leave without it.
    const auto f = (__m512i)(a.v);
    const __mmask16 tiny = _mm512_testn_epi32_mask(f, _mm512_set1_epi32(0x7f800000));
    const auto normal = (__m512)(_mm512_mask_or_epi32(f, tiny, f, _mm512_set1_epi32(0x00800000)));
    const auto rounded = (__m256i)(_mm512_cvtneps_pbh(normal));
    const __m256i bits = _mm256_mask_sub_epi16(rounded, tiny, rounded, _mm256_set1_epi16(0x0080));
    std::memcpy(static_cast<void*>(p), &bits, sizeof(bits));
    return;
  }
#endif
  const auto f = bit_cast_lanes<std::uint32_t>(a).v;
  const auto rounded = (f + 0x7fffu + ((f >> 16) & 1u)) >> 16;
  const auto nan = (f >> 16) | 0x40u;
  const vec<std::uint32_t, W> bits{(f & 0x7fffffffu) > 0x7f800000u ? nan : rounded};
  const auto narrow = convert_lanes<std::uint16_t>(bits);
  std::memcpy(static_cast<void*>(p), &narrow.v, sizeof(narrow.v));
}
#if QWHA_HAS_AVX512BF16
/// Registers 2 Pair and 2 Pair + 1, `stride` apart, by the instruction that rounds two at once. False, and nothing
/// stored, where a result is zero: it may be a subnormal number that the instruction flushed.
template <std::size_t... Pair>
QWHA_KERNEL_INLINE bool store_bfloat16_pairs(bfloat16* p, std::size_t stride, const vec<float, 16>* r,
                                             std::index_sequence<Pair...>) noexcept {
  const __m512i rounded[] = {(__m512i)(_mm512_cvtne2ps_pbh((__m512)(r[2 * Pair + 1].v), (__m512)(r[2 * Pair].v)))...};
  __m512i smallest = _mm512_add_epi16(rounded[0], rounded[0]);  // doubled: without sign
  ((smallest = Pair == 0 ? smallest : _mm512_min_epu16(smallest, _mm512_add_epi16(rounded[Pair], rounded[Pair]))), ...);
  if (_mm512_testn_epi16_mask(smallest, smallest) != 0) [[unlikely]]
    return false;
  const auto store_pair = [=](bfloat16* to, __m512i two) {
    const auto low = __builtin_shufflevector(two, two, 0, 1, 2, 3),
               high = __builtin_shufflevector(two, two, 4, 5, 6, 7);
    if (stride == 16) {
      std::memcpy(static_cast<void*>(to), &two, sizeof(two));
    } else {
      std::memcpy(static_cast<void*>(to), &low, sizeof(low));
      std::memcpy(static_cast<void*>(to + stride), &high, sizeof(high));
    }
  };
  (store_pair(p + 2 * Pair * stride, rounded[Pair]), ...);
  return true;
}
#endif
#endif

}  // namespace detail

/// W numbers from memory of type S (float, double, half, bfloat16, signed and unsigned 8-bit) as T: exact where T holds
/// S. Any alignment.
template <class T, std::size_t W, class S>
QWHA_KERNEL_INLINE vec<T, W> load_as(const S* p) noexcept {
  if constexpr (std::is_same_v<S, T>) {
    return vec<T, W>::load(p);
  } else if constexpr (W == 1) {
    return {static_cast<T>(static_cast<arithmetic_t<S>>(*p))};
  } else {
#if QWHA_HAS_VECTOR_EXTENSIONS
    if constexpr (std::is_same_v<S, half> && std::is_same_v<T, float>) {
      return detail::load_half<W>(p);
    } else if constexpr (std::is_same_v<S, bfloat16> && std::is_same_v<T, float>) {
      return detail::load_bfloat16<W>(p);
    } else if constexpr (std::is_arithmetic_v<S>) {
      return detail::convert_lanes<T>(vec<S, W>::load(p));
    } else {
      T values[W];
      for (std::size_t i = 0; i < W; ++i) values[i] = static_cast<T>(static_cast<float>(p[i]));
      return vec<T, W>::load(values);
    }
#endif
  }
}

/// Stores W numbers as type S, with one rounding to nearest even.
template <class S, class T, std::size_t W>
QWHA_KERNEL_INLINE void store_as(S* p, vec<T, W> a) noexcept {
  if constexpr (std::is_same_v<S, T>) {
    a.store(p);
  } else if constexpr (W == 1) {
    *p = static_cast<S>(a.v);
  } else {
#if QWHA_HAS_VECTOR_EXTENSIONS
    if constexpr (std::is_same_v<S, half> && std::is_same_v<T, float>) {
      detail::store_half<W>(p, a);
    } else if constexpr (std::is_same_v<S, bfloat16> && std::is_same_v<T, float>) {
      detail::store_bfloat16<W>(p, a);
    } else if constexpr (std::is_floating_point_v<S>) {
      detail::convert_lanes<S>(a).store(p);
    } else {
      for (std::size_t i = 0; i < W; ++i) p[i] = static_cast<S>(static_cast<float>(a[i]));
    }
#endif
  }
}

/// Whether two registers are stored as type S by one instruction, so that `store_all_as` beats R times `store_as`.
template <class S, class T, std::size_t W>
inline constexpr bool stores_by_pairs =
    QWHA_HAS_AVX512BF16 != 0 && std::is_same_v<S, bfloat16> && std::is_same_v<T, float> && W == 16;

/// Stores R registers (an even number) as type S, `stride` numbers apart, each as `store_as` would.
template <std::size_t R, class S, class T, std::size_t W>
  requires stores_by_pairs<S, T, W>
QWHA_KERNEL_INLINE void store_all_as(S* p, std::size_t stride, const vec<T, W>* r) noexcept {
#if QWHA_HAS_AVX512BF16
  if (detail::store_bfloat16_pairs(p, stride, r, std::make_index_sequence<R / 2>{})) return;
#endif
  for (std::size_t i = 0; i < R; ++i) store_as(p + i * stride, r[i]);
}

}  // namespace qwha::inline QWHA_ISA
