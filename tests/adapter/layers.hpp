// SPDX-License-Identifier: MIT
#pragma once
// What the tests of forward and backward passes share.
#include <cstddef>
#include <cstdint>

#include "oracle.hpp"

#include <qwha/quant/affine.hpp>
#include <qwha/quant/quantize.hpp>

using base_format = qwha::affine<4, 64>;

inline qwha::quantized_matrix<base_format> random_base(std::size_t out, std::size_t in, std::uint64_t seed) {
  const oracle::strided w(out, in, 0, seed);
  return qwha::quantize<base_format>(w.view());
}

struct shape {
  std::size_t out, in, per_row;
};
