// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Which transform the coefficients of a spectrum belong to. Files ask here: they sit on the adapter, not on the
/// transform.

#include <cstddef>
#include <string>

#include <qwha/base/config.hpp>
#include <qwha/transform/order.hpp>

namespace qwha::inline QWHA_ISA {

/// The name of the transform of spectra with `cols` = in columns, "S2xP1(19)xS16" for 640; empty where there is none.
/// Two libraries that give one order the same name exchange coefficients without conversion.
inline std::string spectrum_order_name(std::size_t cols) { return order_name(cols); }

}  // namespace qwha::inline QWHA_ISA
