// SPDX-License-Identifier: MIT
#include <qwha/core.hpp>

void rejects_order_18() {
#if defined(QWHA_EXPECT_ERROR)  // expected-error {{"no Hadamard matrix of order N is known"}}
  [[maybe_unused]] qwha::wht<qwha::scalar, 18> t;
#else
  [[maybe_unused]] qwha::wht<qwha::scalar, 20> t;
#endif
}
