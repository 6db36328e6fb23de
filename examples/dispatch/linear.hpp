// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// What the engine sees of its kernels: nothing here depends on compile flags, so every file may include it.

#include <memory>

#include <qwha/adapter/sparse_spectrum.hpp>
#include <qwha/base/rows_view.hpp>
#include <qwha/base/status.hpp>
#include <qwha/quant/affine.hpp>
#include <qwha/quant/quantized_matrix.hpp>

namespace dispatch {

using format = qwha::affine<4, 64>;

/// A quantized linear layer with its adapter, y = x (WQ + F T)ᵀ, compiled for some processor.
class linear {
 public:
  virtual ~linear() = default;
  virtual qwha::status forward(qwha::rows_view<const float> x, qwha::rows_view<float> y) const noexcept = 0;
};

/// The kernels of one instruction set. Only data crosses this line: packed weights, coefficients, views, a status.
struct kernels {
  const char* name;  ///< of the back end
  /// @throws qwha::shape_error unless base and spectrum have one shape
  std::unique_ptr<linear> (*make_linear)(const qwha::quantized_matrix<format>& base,
                                         const qwha::sparse_spectrum<float>& spectrum);
};

}  // namespace dispatch

// One definition each, from kernels.cpp: compiled for x86-64, x86-64-v3 (AVX2) and x86-64-v4 (AVX-512).
extern "C" {
extern const dispatch::kernels dispatch_kernels_sse;
extern const dispatch::kernels dispatch_kernels_avx2;
extern const dispatch::kernels dispatch_kernels_avx512;
}
