// SPDX-License-Identifier: MIT
#include <qwha/core.hpp>

void rejects_a_format_that_is_none() {
#if defined(QWHA_EXPECT_ERROR)  // expected-error {{"Q must be a quantizer such as qwha::affine<4, 64>"}}
  [[maybe_unused]] qwha::quantized_matrix<int> m;
#else
  [[maybe_unused]] qwha::quantized_matrix<qwha::affine<4, 64> > m;
#endif
}
