// SPDX-License-Identifier: MIT
#include <qwha/core.hpp>

void rejects_groups_that_end_inside_a_byte() {
#if defined(QWHA_EXPECT_ERROR)  // expected-error {{"Group codes must fill whole bytes"}}
  [[maybe_unused]] qwha::quantized_matrix<qwha::affine<3, 12>> m;
#else
  [[maybe_unused]] qwha::quantized_matrix<qwha::affine<3, 16>> m;
#endif
}
