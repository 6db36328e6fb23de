// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// The library's version; the same numbers as in CMakeLists.txt, which a test compares.

#define QWHA_VERSION_MAJOR 0
#define QWHA_VERSION_MINOR 1
#define QWHA_VERSION_PATCH 0
/// For comparisons: 10000 * major + 100 * minor + patch.
#define QWHA_VERSION (10000 * QWHA_VERSION_MAJOR + 100 * QWHA_VERSION_MINOR + QWHA_VERSION_PATCH)
