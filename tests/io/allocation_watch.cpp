// SPDX-License-Identifier: MIT
#include "io/allocation_watch.hpp"

#include <algorithm>
#include <cstdlib>
#include <new>

std::size_t qwha::test::largest_allocation = 0;

void* operator new(std::size_t size) {
  qwha::test::largest_allocation = std::max(qwha::test::largest_allocation, size);
  if (void* p = std::malloc(size == 0 ? 1 : size)) return p;
  throw std::bad_alloc();
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
