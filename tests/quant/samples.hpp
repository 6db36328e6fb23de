// SPDX-License-Identifier: MIT
#pragma once
/// Weights and bytes to test with.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>
#include <string>
#include <vector>

#include <qwha/base/random.hpp>

namespace qwha::test {

/// Normal numbers by Box and Muller.
inline std::vector<float> normal_weights(std::size_t count, std::uint64_t seed, double deviation = 0.05) {
  const counter_random random(seed);
  std::vector<float> w(count);
  for (std::size_t i = 0; i < count; ++i) {
    const double radius = std::sqrt(-2 * std::log(1 - random.uniform(2 * i)));
    w[i] = static_cast<float>(deviation * radius * std::cos(2 * std::numbers::pi * random.uniform(2 * i + 1)));
  }
  return w;
}

inline std::vector<std::byte> random_bytes(std::size_t count, std::uint64_t seed) {
  const counter_random random(seed, 1);
  std::vector<std::byte> bytes(count);
  for (std::size_t i = 0; i < count; ++i) bytes[i] = static_cast<std::byte>(random.bits(i));
  return bytes;
}

inline std::vector<std::byte> from_hex(const std::string& hex) {
  std::vector<std::byte> bytes(hex.size() / 2);
  for (std::size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<std::byte>(std::stoul(hex.substr(2 * i, 2), nullptr, 16));
  return bytes;
}

/// IEEE binary16 by its definition.
inline double half_by_definition(std::byte low, std::byte high) {
  const int bits = std::to_integer<int>(low) | (std::to_integer<int>(high) << 8);
  const int exponent = (bits >> 10) & 31, mantissa = bits & 1023;
  const double magnitude = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

inline int byte_of(const std::vector<std::byte>& bytes, std::size_t i) { return std::to_integer<int>(bytes[i]); }

}  // namespace qwha::test
