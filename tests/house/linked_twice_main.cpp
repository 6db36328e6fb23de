// SPDX-License-Identifier: MIT
// Two files that include everything link, and each runs its own code.

#include "linked_twice.hpp"

#include <cmath>
#include <cstdio>

float sum_of_the_other_file();

int main() {
  const float mine = adapted_sum(), other = sum_of_the_other_file();
  std::printf("%.8g here, %.8g there\n", static_cast<double>(mine), static_cast<double>(other));
  return mine > 0 && std::abs(mine - other) <= 1e-5f * mine ? 0 : 1;  // other instructions, other order of sums
}
