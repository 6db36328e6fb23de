// SPDX-License-Identifier: MIT
#include <qwha/core.hpp>

void rejects_a_backend_that_is_none() {
#if defined(QWHA_EXPECT_ERROR)  // expected-error {{"Backend must be a back-end tag such as qwha::native"}}
  [[maybe_unused]] qwha::wht<float, 64> t;
#else
  [[maybe_unused]] qwha::wht<qwha::scalar, 64> t;
#endif
}
