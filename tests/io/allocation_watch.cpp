// SPDX-License-Identifier: MIT
#include "io/allocation_watch.hpp"

#include <algorithm>
#include <cstdlib>
#include <new>

std::size_t qwha::test::largest_allocation = 0;

// The form without exceptions is replaced too: a sanitizer's own would not pair with the `delete` below.
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  qwha::test::largest_allocation = std::max(qwha::test::largest_allocation, size);
  return std::malloc(size == 0 ? 1 : size);
}
void* operator new(std::size_t size) {
  if (void* p = operator new(size, std::nothrow)) return p;
  throw std::bad_alloc();
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, const std::nothrow_t&) noexcept { std::free(p); }
