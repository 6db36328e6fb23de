// SPDX-License-Identifier: MIT
// rows_view<T> becomes rows_view<const T>, never the other way round.
#include <qwha/core.hpp>

void rejects_writing_through_a_view_of_const() {
  const float row[16]{};
  const qwha::rows_view<const float> x{row, 1, 16};
#if defined(QWHA_EXPECT_ERROR)  // expected-error {{"rows_view"}}
  const qwha::rows_view<float> writable = x;
#else
  const qwha::rows_view<const float> writable = x;
#endif
  static_cast<void>(writable);
}
