// SPDX-License-Identifier: MIT
#pragma once
/// What a fuzz target holds to be true, in every build.

#include <cstdlib>

namespace qwha::test {

inline void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace qwha::test
