// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Asking for memory ahead of a stream.

#include <cstddef>
#include <cstdint>

#include <qwha/base/config.hpp>
#include <qwha/base/simd.hpp>

namespace qwha::inline QWHA_ISA::detail {

/// Asks for the cache line at `p + distance`, which need not exist.
QWHA_ALWAYS_INLINE void prefetch(const void* p, std::size_t distance) noexcept {
  qwha::prefetch(reinterpret_cast<const void*>(reinterpret_cast<std::uintptr_t>(p) + distance));
}

}  // namespace qwha::inline QWHA_ISA::detail
