// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Random numbers by counter: value i of a seed is a function of (seed, i), the same on every platform and thread.

#include <cstddef>
#include <cstdint>

#include <qwha/base/config.hpp>

namespace qwha::inline QWHA_ISA {

/// Counter-based generator. Numerics: the SplitMix64 output function (Steele, Lea, Flood 2014) over seed and counter.
class counter_random {
 public:
  constexpr explicit counter_random(std::uint64_t seed, std::uint64_t stream = 0) noexcept
      : key_(mix(seed + golden) ^ mix(stream + 2 * golden)) {}

  /// 64 random bits of position i.
  constexpr std::uint64_t bits(std::uint64_t i) const noexcept { return mix(key_ + golden * (i + 1)); }
  /// Uniform in [0, 1) with 53 bits.
  constexpr double uniform(std::uint64_t i) const noexcept { return static_cast<double>(bits(i) >> 11) * 0x1p-53; }
  /// Uniform in [0, n), n > 0: the multiply-shift map; its bias is below n / 2^32 and n must be below 2^32.
  constexpr std::uint32_t below(std::uint32_t n, std::uint64_t i) const noexcept {
    return static_cast<std::uint32_t>(((bits(i) >> 32) * n) >> 32);
  }

 private:
  static constexpr std::uint64_t golden = 0x9e3779b97f4a7c15u;
  static constexpr std::uint64_t mix(std::uint64_t z) noexcept {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  std::uint64_t key_;
};

}  // namespace qwha::inline QWHA_ISA
