// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// The first entries of torch.randperm on the CPU, to recognise index sets that were drawn and never chosen.

#include <cstddef>
#include <cstdint>
#include <random>
#include <unordered_map>
#include <utility>

#include <qwha/base/config.hpp>

namespace qwha::io::inline QWHA_ISA {

/// Yields torch.randperm(n, generator seeded with `seed`) entry by entry without storing it: a Fisher-Yates shuffle
/// whose untouched places are implied. Memory: proportional to the entries drawn.
/// @pre  n < 214748364, the sizes for which torch shuffles this way
/// Source: pytorch/pytorch, aten/src/ATen/native/TensorFactories.cpp.
class torch_permutation {
 public:
  static constexpr std::uint64_t largest = 214748363;

  torch_permutation(std::uint64_t n, std::uint64_t seed) : n_(n), random_(static_cast<std::uint32_t>(seed)) {}

  /// Entry i on the i-th call. @pre  at most n calls
  std::uint64_t next() {
    const std::uint64_t i = drawn_++;
    if (i + 1 == n_) return take(i, i);
    return take(i, i + random_() % (n_ - i));
  }

 private:
  /// Swaps places i and j; returns what came to i, which is never looked at again.
  std::uint64_t take(std::uint64_t i, std::uint64_t j) {
    const auto at_i = moved_.find(i);
    const std::uint64_t from_i = at_i == moved_.end() ? i : at_i->second;
    if (at_i != moved_.end()) moved_.erase(at_i);
    return i == j ? from_i : std::exchange(moved_.try_emplace(j, j).first->second, from_i);
  }

  std::uint64_t n_;
  std::uint64_t drawn_ = 0;
  std::mt19937 random_;
  std::unordered_map<std::uint64_t, std::uint64_t> moved_;  ///< place → entry, where it is not the place itself
};

}  // namespace qwha::io::inline QWHA_ISA
