// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Who takes part in the contests of the transform: each file of peers/, and ours.cpp once for each instruction set,
/// registers what it has.

#include <cstddef>
#include <string>
#include <vector>

#include <qwha/base/executor.hpp>
#include <qwha/base/float16.hpp>

#include "measure.hpp"

namespace bench {

/// Adds itself to the contest for `rows` rows of n elements, one after the other and 64-byte aligned, in place, if it
/// offers this order; else leaves the contest as it is. May write to the rows meanwhile.
template <class T>
using entry = void (*)(contest&, T* x, std::size_t rows, std::size_t n);

/// What a peer computes: H x or H x / sqrt(n), the same with other signs, or something else.
enum class result { hadamard, hadamard_up_to_signs, other };

/// Which contests a peer is worth measuring in; each goes beyond the one before it.
enum class scope { one_row, in_cache, everywhere };

/// Somebody else's transform. Null: not in this type.
struct peer {
  std::string name;
  entry<float> floats = nullptr;
  entry<double> doubles = nullptr;
  result gives = result::hadamard;
  scope takes_part = scope::everywhere;
};

/// Our transform, as one translation unit was compiled.
struct variant {
  template <class T>
  using entry_of_ours = void (*)(contest&, const std::string& name, T* x, std::size_t rows, std::size_t n,
                                 const qwha::executor& where);
  std::string name;
  entry_of_ours<float> floats;
  entry_of_ours<double> doubles;
  entry_of_ours<qwha::half> halves;
  entry_of_ours<qwha::bfloat16> bfloats;
};

std::vector<peer>& peers();
std::vector<variant>& variants();

/// Bytes that a transform of so many rows reads and writes.
template <class T>
double bytes_moved(std::size_t rows, std::size_t n) {
  return 2.0 * static_cast<double>(rows * n * sizeof(T));
}

}  // namespace bench
