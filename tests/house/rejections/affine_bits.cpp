// SPDX-License-Identifier: MIT
#include <qwha/core.hpp>

void rejects_five_bits() {
#if defined(QWHA_EXPECT_ERROR)  // expected-error {{"Bits must be 2, 3, 4 or 8"}}
  [[maybe_unused]] qwha::quantized_matrix<qwha::affine<5, 64>> m;
#else
  [[maybe_unused]] qwha::quantized_matrix<qwha::affine<3, 64>> m;
#endif
}
