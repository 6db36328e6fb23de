// SPDX-License-Identifier: MIT
// Compiled once for each instruction set, with QWHA_DISPATCH_TABLE as the name of the table.

#include <memory>

#include <qwha/adapter/sparse_spectral_adapter.hpp>

#include "linear.hpp"

namespace {

class adapted_linear final : public dispatch::linear {
 public:
  adapted_linear(const qwha::quantized_matrix<dispatch::format>& base, const qwha::sparse_spectrum<float>& spectrum)
      : adapter_(base, spectrum) {}
  qwha::status forward(qwha::rows_view<const float> x, qwha::rows_view<float> y) const noexcept override {
    return adapter_.forward(x, y);
  }

 private:
  qwha::sparse_spectral_adapter<float, dispatch::format> adapter_;
};

std::unique_ptr<dispatch::linear> make_linear(const qwha::quantized_matrix<dispatch::format>& base,
                                              const qwha::sparse_spectrum<float>& spectrum) {
  return std::make_unique<adapted_linear>(base, spectrum);
}

}  // namespace

extern "C" const dispatch::kernels QWHA_DISPATCH_TABLE{qwha::native::name, make_linear};
