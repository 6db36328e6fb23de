// SPDX-License-Identifier: MIT
#include <csignal>

#include "catch.hpp"
#include "progress.hpp"

TEST_CASE("Ctrl-C stops the work at its next step, by an exception that unwinds") {
  adapt::stop_at_interrupt();
  adapt::progress bar(10);
  bar.step("before");
  bar.advance(1);
  std::raise(SIGINT);
  CHECK_THROWS_AS(bar.advance(1), adapt::interrupted);
  CHECK_THROWS_AS(bar.step("after"), adapt::interrupted);
}
