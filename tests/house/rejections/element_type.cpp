// SPDX-License-Identifier: MIT
#include <qwha/core.hpp>

void rejects_rows_of_int() {
#if defined(QWHA_EXPECT_ERROR)  // expected-error {{"transformable"}}
  using element = int;
#else
  using element = double;
#endif
  element row[16]{};
  [[maybe_unused]] const auto done = qwha::wht<qwha::scalar, 16>().apply(qwha::rows_view<element>{row, 1, 16});
}
