// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// What construction, fitting and file access throw. A message names the thing (file, tensor, row, parameter) and the
/// rule that was broken.

#include <stdexcept>
#include <string>

namespace qwha {

/// Base of everything that qwha throws (allocation failures stay std::bad_alloc).
struct error : std::runtime_error {
  using std::runtime_error::runtime_error;
};
/// No Hadamard matrix of the wanted order.
struct unsupported_order : error {
  using error::error;
};
/// A file that breaks its format.
struct format_error : error {
  using error::error;
};
/// Shapes that do not fit each other.
struct shape_error : error {
  using error::error;
};
/// A parameter outside its range, or data that holds NaN or infinity.
struct value_error : error {
  using error::error;
};
/// The operating system refused: open, read, write, rename, map.
struct io_error : error {
  using error::error;
};

}  // namespace qwha
