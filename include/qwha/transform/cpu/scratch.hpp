// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Scratch for one row: on the stack where it is small, else one allocation that may fail.

#include <cstddef>

#include <qwha/base/aligned_buffer.hpp>
#include <qwha/base/config.hpp>

namespace qwha::inline QWHA_ISA::detail {

// Not inlined: only the call that needs the memory has the large frame.
template <class T, std::size_t Size, class Body>
QWHA_NOINLINE bool with_stack(const Body& body) noexcept {
  alignas(64) T scratch[Size];
  return body(scratch);
}

/// Calls `body(T* scratch)` with `size` numbers: on the stack up to `StackSize`, else from the heap; false where that
/// fails.
template <class T, std::size_t StackSize, class Body>
bool with_scratch(std::size_t size, const Body& body) noexcept {
  constexpr std::size_t small = StackSize / 16;
  if (size <= small) return with_stack<T, small>(body);
  if (size <= StackSize) return with_stack<T, StackSize>(body);
  aligned_buffer<T> heap = aligned_buffer<T>::try_allocate(size);
  return heap.size() != 0 && body(heap.data());
}

}  // namespace qwha::inline QWHA_ISA::detail
