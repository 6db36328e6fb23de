// SPDX-License-Identifier: MIT
#if defined(QWHA_CATCH2_V2)
#define CATCH_CONFIG_RUNNER
#endif
#include "catch.hpp"

int main(int argc, char** argv) {
  const int result = Catch::Session().run(argc, argv);
#if defined(QWHA_CATCH2_V2)
  // Version 2 answers with the number of failed assertions: four of them would read as ctest's "skipped" (4).
  return result == 0 ? 0 : 1;
#else
  return result;
#endif
}
