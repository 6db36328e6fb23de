// SPDX-License-Identifier: MIT
#include "linked_twice.hpp"

float sum_of_the_other_file() { return adapted_sum(); }
