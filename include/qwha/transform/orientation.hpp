// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// H or its transpose.

namespace qwha {

/// The two differ for the orders whose dense factor is not symmetric: 12, 20, 52, …
enum class orientation {
  forward,   ///< H x
  transpose  ///< Hᵀ x
};

}  // namespace qwha
