// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// The signs of a dense Hadamard factor, packed four to a code for kernels that share sums of four inputs.

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include <qwha/base/config.hpp>
#include <qwha/transform/hadamard_matrix.hpp>

namespace qwha::inline QWHA_ISA {

/// Codes of a matrix of order m, a multiple of 4: bit b of `row(i)[g]` is set where entry (i, 4 g + b) is -1.
/// Memory m² / 4 bytes; immutable, so any number of threads may read it.
class sign_table {
 public:
  sign_table(const hadamard_matrix& h, bool transposed) : groups_(h.order() / 4), codes_(h.order() * groups_) {
    for (std::size_t i = 0; i < h.order(); ++i)
      for (std::size_t j = 0; j < h.order(); ++j)
        if (transposed ? h.negative(j, i) : h.negative(i, j))
          codes_[i * groups_ + j / 4] = static_cast<std::uint8_t>(codes_[i * groups_ + j / 4] | (1u << j % 4));
  }
  std::size_t order() const noexcept { return 4 * groups_; }
  const std::uint8_t* row(std::size_t i) const noexcept { return codes_.data() + i * groups_; }

 private:
  std::size_t groups_;
  std::vector<std::uint8_t> codes_;
};

/// The table of a factor, made at the first request and shared by the whole process from then on. Thread safe.
/// @throws std::bad_alloc
inline std::shared_ptr<const sign_table> shared_sign_table(hadamard_factor factor, bool transposed) {
  static std::mutex mutex;
  static std::map<std::pair<hadamard_factor, bool>, std::shared_ptr<const sign_table>> tables;
  const std::lock_guard lock(mutex);
  auto& entry = tables[{factor, transposed && !factor.symmetric()}];
  if (!entry) entry = std::make_shared<const sign_table>(hadamard_matrix(factor), transposed);
  return entry;
}

}  // namespace qwha::inline QWHA_ISA
