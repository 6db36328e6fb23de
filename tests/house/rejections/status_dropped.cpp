// SPDX-License-Identifier: MIT
#include <qwha/core.hpp>

qwha::status transform_a_row() {
  float row[16]{};
  const qwha::rows_view<float> x{row, 1, 16};
#if defined(QWHA_EXPECT_ERROR)  // expected-error {{"nodiscard"}}
  qwha::wht<qwha::scalar, 16>().apply(x);
#endif
  return qwha::wht<qwha::scalar, 16>().apply(x);
}
