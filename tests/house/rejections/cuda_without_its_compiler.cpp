// SPDX-License-Identifier: MIT
#include <qwha/core.hpp>

void rejects_cuda_in_plain_cpp() {
#if defined(QWHA_EXPECT_ERROR)  // expected-error {{"include <qwha/qwha.cuh> and compile this file with a"}}
  [[maybe_unused]] qwha::wht<qwha::cuda, 64> t;
#else
  [[maybe_unused]] qwha::wht<qwha::scalar, 64> t;
#endif
}
