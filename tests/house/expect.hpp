// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// What the contract programs need of a test framework: they are compiled by many compilers, so it is small.

#include <cstdio>

namespace qwha::test {
inline int failures = 0;
inline void expect(bool holds, const char* what, int line) {
  if (holds) return;
  ++failures;
  std::fprintf(stderr, "line %d: %s\n", line, what);
}
}  // namespace qwha::test

#define EXPECT(condition) qwha::test::expect((condition), #condition, __LINE__)
#define EXPECT_THROWS(expression, type)                            \
  try {                                                            \
    static_cast<void>(expression);                                 \
    qwha::test::expect(false, #expression " throws", __LINE__);    \
  } catch (const type& e) {                                        \
    qwha::test::expect(e.what()[0] != '\0', "says why", __LINE__); \
  }
