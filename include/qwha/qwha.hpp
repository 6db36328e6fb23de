// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// `core.hpp` and all that is fitted to data: solvers, second moments, adapters' initialisation. Needs Eigen 3.4; CMake
/// target qwha::qwha.

#include <qwha/core.hpp>
