// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// The only header that looks at the compiler. Everything else asks these macros.
///
/// `QWHA_ISA` is the name of an inline namespace that spells the compile flags which change generated code. Two
/// translation units built with different flags therefore define different symbols, and the linker cannot give one
/// of them the other's instructions. Rule of the house:
///
///   namespace qwha::inline QWHA_ISA { … }   code: every function and every class whose members do arithmetic
///   namespace qwha { … }                     data that crosses files: views, enums, errors, packed matrices; where such
///                                            a class needs a hot member, the member is a template on `class Isa = isa`.

#if defined(__CUDACC__)
#define QWHA_HD __host__ __device__
#else
#define QWHA_HD
#endif

#if defined(__GNUC__) || defined(__clang__)
#define QWHA_ALWAYS_INLINE inline __attribute__((always_inline))
#define QWHA_NOINLINE __attribute__((noinline))
#define QWHA_NO_SANITIZE __attribute__((no_sanitize("address", "undefined")))
#define QWHA_LINE_ALIGNED __attribute__((aligned(64)))
#define QWHA_RESTRICT __restrict__
#define QWHA_HAS_VECTOR_EXTENSIONS 1
#elif defined(_MSC_VER)
#define QWHA_ALWAYS_INLINE __forceinline
#define QWHA_NOINLINE __declspec(noinline)
#define QWHA_NO_SANITIZE
#define QWHA_LINE_ALIGNED
#define QWHA_RESTRICT __restrict
#define QWHA_HAS_VECTOR_EXTENSIONS 0
#else
#define QWHA_ALWAYS_INLINE inline
#define QWHA_NOINLINE
#define QWHA_NO_SANITIZE
#define QWHA_LINE_ALIGNED
#define QWHA_RESTRICT
#define QWHA_HAS_VECTOR_EXTENSIONS 0
#endif

/// GCC itself, whose false alarms differ from those of compilers that speak its dialect.
#if defined(__GNUC__) && !defined(__clang__)
#define QWHA_GCC 1
#else
#define QWHA_GCC 0
#endif

/// QWHA_LINE_ALIGNED: for functions of several KiB without a branch, which take up to four times as long where they
/// start within a line of the instruction cache.
#define QWHA_KERNEL_INLINE QWHA_ALWAYS_INLINE QWHA_NO_SANITIZE

// --- what this file is compiled for -------------------------------------------------------------------------------

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__) && \
    QWHA_HAS_VECTOR_EXTENSIONS
#define QWHA_HAS_AVX512 1
#else
#define QWHA_HAS_AVX512 0
#endif
#if QWHA_HAS_AVX512 && defined(__AVX512BF16__)
#define QWHA_HAS_AVX512BF16 1
#else
#define QWHA_HAS_AVX512BF16 0
#endif
#if QWHA_HAS_AVX512 && defined(__AVX512VBMI__)
#define QWHA_HAS_AVX512VBMI 1
#else
#define QWHA_HAS_AVX512VBMI 0
#endif
#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__) && QWHA_HAS_VECTOR_EXTENSIONS
#define QWHA_HAS_AVX2 1
#else
#define QWHA_HAS_AVX2 0
#endif
#if defined(__SSE2__) && QWHA_HAS_VECTOR_EXTENSIONS
#define QWHA_HAS_SSE 1
#else
#define QWHA_HAS_SSE 0
#endif
#if defined(__ARM_NEON) && defined(__aarch64__) && QWHA_HAS_VECTOR_EXTENSIONS
#define QWHA_HAS_NEON 1
#else
#define QWHA_HAS_NEON 0
#endif

#if QWHA_HAS_AVX512 && defined(__AVX512FP16__)
#define QWHA_ISA_NAME isa_avx512fp16
#elif QWHA_HAS_AVX512BF16
#define QWHA_ISA_NAME isa_avx512bf16
#elif QWHA_HAS_AVX512
#define QWHA_ISA_NAME isa_avx512
#elif QWHA_HAS_AVX2
#define QWHA_ISA_NAME isa_avx2
#elif defined(__AVX__)
#define QWHA_ISA_NAME isa_avx
#elif defined(__SSE4_1__)
#define QWHA_ISA_NAME isa_sse4
#elif QWHA_HAS_SSE
#define QWHA_ISA_NAME isa_sse2
#elif QWHA_HAS_NEON
#define QWHA_ISA_NAME isa_neon
#else
#define QWHA_ISA_NAME isa_baseline
#endif

#define QWHA_CONCATENATE_(a, b) a##b
#define QWHA_CONCATENATE(a, b) QWHA_CONCATENATE_(a, b)
#if QWHA_HAS_AVX512VBMI
#define QWHA_ISA_BYTES QWHA_CONCATENATE(QWHA_ISA_NAME, _vbmi)
#else
#define QWHA_ISA_BYTES QWHA_ISA_NAME
#endif
#if defined(_OPENMP) && defined(__FAST_MATH__)
#define QWHA_ISA QWHA_CONCATENATE(QWHA_ISA_BYTES, _omp_fastmath)
#elif defined(_OPENMP)
#define QWHA_ISA QWHA_CONCATENATE(QWHA_ISA_BYTES, _omp)
#elif defined(__FAST_MATH__)
#define QWHA_ISA QWHA_CONCATENATE(QWHA_ISA_BYTES, _fastmath)
#else
#define QWHA_ISA QWHA_ISA_BYTES
#endif

namespace qwha::inline QWHA_ISA {
/// The compile flags of this file as a type: default template argument of the hot members of classes that cross files.
struct isa {};
}  // namespace qwha::inline QWHA_ISA
