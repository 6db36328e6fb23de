// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Eigen's matrices, products and Cholesky factorisation, without the compiler's false alarms inside them.

#include <qwha/base/config.hpp>

// GCC 11 to 13 see AVX-512 intrinsics that leave a register undefined on purpose as reads of uninitialised memory
// (GCC bug 105593). A pragma around the definitions also covers the places where they are inlined.
#if QWHA_GCC
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

#include <Eigen/Cholesky>
#include <Eigen/Core>

#if QWHA_GCC
#pragma GCC diagnostic pop
#endif
