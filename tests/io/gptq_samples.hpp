// SPDX-License-Identifier: MIT
#pragma once
/// GPTQ layers for tests, packed bit by bit from the format's description; shares no code with the reader.

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <qwha/base/float16.hpp>
#include <qwha/base/random.hpp>
#include <qwha/io/safetensors_writer.hpp>
#include "io/files.hpp"

namespace qwha::test {

/// Numbers of `bits` bits one after another, the first in the lowest bits of the first word.
inline std::vector<std::int32_t> packed_words(const std::vector<unsigned>& numbers, int bits) {
  std::vector<bool> stream;
  for (const unsigned n : numbers)
    for (int b = 0; b < bits; ++b) stream.push_back((n >> b & 1u) != 0);
  std::vector<std::uint32_t> words((stream.size() + 31) / 32);
  for (std::size_t i = 0; i < stream.size(); ++i)
    if (stream[i]) words[i / 32] |= 1u << (i % 32);
  return {words.begin(), words.end()};
}

struct gptq_sample {
  int bits = 4;
  std::size_t out = 32, in = 64, group = 32;
  std::vector<unsigned> codes, zeros;  ///< [out, in] and [groups, out]
  std::vector<half> scales;            ///< [groups, out]
  std::vector<std::int32_t> g_idx;     ///< [in]

  std::size_t groups() const { return (in + group - 1) / group; }
  float weight(std::size_t o, std::size_t i) const {
    const std::size_t at = static_cast<std::size_t>(g_idx[i]) * out + o;
    return (static_cast<float>(codes[o * in + i]) - static_cast<float>(zeros[at])) * static_cast<float>(scales[at]);
  }

  /// Random codes, zero points and scales; with `act_order` the groups of the inputs are shuffled.
  static gptq_sample random(int bits, std::size_t out, std::size_t in, std::size_t group, bool act_order = false) {
    gptq_sample s{bits, out, in, group, {}, {}, {}, {}};
    const counter_random numbers(static_cast<std::uint64_t>(bits) * 1000 + out + in);
    std::uint64_t draw = 0;
    for (std::size_t i = 0; i < out * in; ++i) s.codes.push_back(numbers.below(1u << bits, draw++));
    for (std::size_t i = 0; i < s.groups() * out; ++i) {
      s.zeros.push_back(numbers.below(1u << bits, draw++));
      s.scales.push_back(half(0x1p-10f * static_cast<float>(1 + numbers.below(1000, draw++))));
    }
    for (std::size_t i = 0; i < in; ++i) s.g_idx.push_back(static_cast<std::int32_t>(i / group));
    if (act_order)
      for (std::size_t i = in; i > 1; --i)
        std::swap(s.g_idx[i - 1], s.g_idx[numbers.below(static_cast<std::uint32_t>(i), draw++)]);
    return s;
  }
};

/// The tensors of a sample as a file has them; fields may be changed before they are written.
struct gptq_tensors {
  std::vector<std::int32_t> qweight, qzeros, g_idx;
  std::vector<half> scales;
  std::vector<std::size_t> qweight_shape, qzeros_shape, scales_shape, g_idx_shape;

  /// @param version  1: zero points less one, each field modulo 2^bits
  gptq_tensors(const gptq_sample& s, int version) : g_idx(s.g_idx), scales(s.scales) {
    const auto bits = static_cast<std::size_t>(s.bits);
    const std::size_t words = (s.in * bits + 31) / 32, zero_words = (s.out * bits + 31) / 32;
    qweight.resize(words * s.out);
    for (std::size_t o = 0; o < s.out; ++o) {
      const auto first = s.codes.begin() + static_cast<std::ptrdiff_t>(o * s.in);
      const auto stream = packed_words({first, first + static_cast<std::ptrdiff_t>(s.in)}, s.bits);
      for (std::size_t w = 0; w < words; ++w) qweight[w * s.out + o] = stream[w];
    }
    for (std::size_t g = 0; g < s.groups(); ++g) {
      std::vector<unsigned> row;
      for (std::size_t o = 0; o < s.out; ++o)
        row.push_back((s.zeros[g * s.out + o] + (version == 1 ? (1u << s.bits) - 1u : 0u)) % (1u << s.bits));
      for (const std::int32_t word : packed_words(row, s.bits)) qzeros.push_back(word);
    }
    qweight_shape = {words, s.out};
    qzeros_shape = {s.groups(), zero_words};
    scales_shape = {s.groups(), s.out};
    g_idx_shape = {s.in};
  }

  /// A safetensors file with one module; tensors whose shape is empty are left out.
  std::string bytes(const std::string& module = "m") const {
    std::vector<io::tensor> all;
    const auto add = [&](const char* name, const auto& shape, auto values) {
      if (!shape.empty()) all.push_back(io::tensor_of(module + name, shape, values));
    };
    add(".qweight", qweight_shape, std::span<const std::int32_t>(qweight));
    add(".qzeros", qzeros_shape, std::span<const std::int32_t>(qzeros));
    add(".scales", scales_shape, std::span<const half>(scales));
    add(".g_idx", g_idx_shape, std::span<const std::int32_t>(g_idx));
    std::string file;
    io::emit_safetensors([&](const void* data, std::size_t size) { file.append(static_cast<const char*>(data), size); },
                         "sample", all);
    return file;
  }
};

}  // namespace qwha::test
