// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// What a transform multiplies its result by.

namespace qwha {

enum class scaling {
  none,         ///< H x
  orthonormal,  ///< H x / sqrt(n)
  inverse       ///< H x / n: with the transpose, undoes `none`
};

}  // namespace qwha
