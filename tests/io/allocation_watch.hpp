// SPDX-License-Identifier: MIT
#pragma once
/// How much a program allocates at once. Link allocation_watch.cpp.

#include <cstddef>

namespace qwha::test {

/// The largest single allocation by `new` since it was last set to 0.
extern std::size_t largest_allocation;

}  // namespace qwha::test
