// SPDX-License-Identifier: MIT
// Compiled without any -m flag: AVX-512 is not there on x86-64, NEON is not there off ARM.
#include <qwha/core.hpp>

#if defined(__x86_64__) || defined(_M_X64)
using absent = qwha::avx512;
#else
using absent = qwha::avx2;
#endif

void rejects_a_backend_that_this_file_is_not_compiled_for() {
#if defined(QWHA_EXPECT_ERROR)  // expected-error {{"compile this file for Backend"}}
  [[maybe_unused]] qwha::wht<absent, 64> t;
#else
  [[maybe_unused]] qwha::wht<qwha::native, 64> t;
#endif
}
