// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// An adapter merged into a dense float weight, and taken out again bit for bit.

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <qwha/adapter/scratch.hpp>
#include <qwha/adapter/sparse_spectrum.hpp>
#include <qwha/adapter/spectral_delta.hpp>
#include <qwha/base/aligned_buffer.hpp>
#include <qwha/base/backend.hpp>
#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/base/executor.hpp>
#include <qwha/base/finite.hpp>
#include <qwha/base/rows_view.hpp>
#include <qwha/transform/wht.hpp>

namespace qwha {

/// What `unmerge` needs besides the merged weights and the spectrum. fl(fl(w + d) - d) misses w by a few units in the
/// last place; the record holds how many, one byte a weight, and the weights themselves where a byte is too small (|d|
/// a hundred times |w|). A copy of the base would take four.
class merge_record {
 public:
  struct displaced {
    std::size_t row, col;
    float weight;
  };

  std::size_t rows = 0, cols = 0;
  std::vector<std::int8_t> steps;            ///< [rows · cols], in units of the last place
  std::vector<std::vector<displaced>> rest;  ///< by chunks of rows
  std::uint64_t spectrum = 0;                ///< fingerprint of F when it was merged
  std::uint64_t merged = 0;                  ///< fingerprint of the weights that merge left

  QWHA_ALWAYS_INLINE std::size_t size_bytes() const noexcept {
    std::size_t n = steps.size();
    for (const auto& part : rest) n += part.size() * sizeof(displaced);
    return n;
  }
};

}  // namespace qwha

namespace qwha::inline QWHA_ISA::detail {

/// Floats in their order on a line of whole numbers: neighbours differ by one, -0 lies before +0.
constexpr std::int64_t ordinal(float value) noexcept {
  const auto b = std::bit_cast<std::uint32_t>(value);
  const auto magnitude = static_cast<std::int64_t>(b & 0x7fffffffu);
  return b >> 31 ? -1 - magnitude : magnitude;
}
constexpr float from_ordinal(std::int64_t o) noexcept {
  const auto magnitude = static_cast<std::uint32_t>(o < 0 ? -1 - o : o);
  return std::bit_cast<float>(o < 0 ? magnitude | 0x80000000u : magnitude);
}

/// out = merged - delta. One function for both directions and never inlined: what merge recorded is what unmerge meets.
QWHA_NOINLINE inline void subtract_row(const float* merged, const float* delta, float* out,
                                       std::size_t count) noexcept {
  for (std::size_t i = 0; i < count; ++i) out[i] = merged[i] - delta[i];
}

inline constexpr std::uint64_t fnv_prime = 0x100000001b3u, fnv_start = 0xcbf29ce484222325u;

/// FNV-1a over whole words.
template <class Range>
std::uint64_t fingerprint(const Range& words, std::uint64_t hash) noexcept {
  for (const auto w : words) hash = (hash ^ static_cast<std::uint64_t>(w)) * fnv_prime;
  return hash;
}

template <class T>
std::uint64_t fingerprint(const sparse_spectrum<T>& f) noexcept {
  std::uint64_t hash = fingerprint(f.columns(), fingerprint(f.offsets(), fnv_start));
  for (const T v : f.values())
    hash = (hash ^ std::bit_cast<std::uint64_t>(static_cast<double>(static_cast<arithmetic_t<T>>(v)))) * fnv_prime;
  return hash;
}

/// Of all weights: rows in parallel, their hashes added, so that the order does not matter.
inline std::uint64_t fingerprint(rows_view<const float> w, const executor& where) {
  std::atomic<std::uint64_t> sum{0};
  parallel_for(where, w.rows, 1 + 65536 / (w.cols + 1), [&](std::size_t first, std::size_t last) {
    std::uint64_t part = 0;
    for (std::size_t r = first; r < last; ++r) {
      std::uint64_t hash = fnv_start + r;
      for (std::size_t c = 0; c < w.cols; ++c) hash = (hash ^ std::bit_cast<std::uint32_t>(w(r, c))) * fnv_prime;
      part += hash;
    }
    sum.fetch_add(part, std::memory_order_relaxed);
  });
  return sum.load();
}

inline constexpr std::size_t merge_grain = 16;  // rows of a chunk, and of a part of merge_record::rest
inline constexpr std::int64_t step_limit = 127;

template <class T, class Transform>
void restore_rows(rows_view<float> weights, const sparse_spectrum<T>& f, const Transform& transform,
                  const merge_record& record, const executor& where) {
  parallel_for(where, weights.rows, merge_grain, [&](std::size_t first, std::size_t last) {
    aligned_buffer<float> delta(weights.cols), back(weights.cols);
    for (std::size_t r = first; r < last; ++r) {
      if (f.columns(r).empty()) continue;
      delta_row(f.ref(), transform, r, delta.data());
      float* row = weights.row(r);
      subtract_row(row, delta.data(), back.data(), weights.cols);
      const std::int8_t* step = record.steps.data() + r * weights.cols;
      for (std::size_t c = 0; c < weights.cols; ++c) row[c] = from_ordinal(ordinal(back[c]) + step[c]);
    }
    for (const auto& d : record.rest[first / merge_grain]) weights(d.row, d.col) = d.weight;
  });
}

template <class T>
void check_merge_shape(rows_view<float> weights, const sparse_spectrum<T>& f, const char* what) {
  if (weights.rows != f.rows() || weights.cols != f.cols() || !well_formed(weights) ||
      (!weights.empty() && weights.data == nullptr))
    throw shape_error(std::string(what) + ": the weights are [" + std::to_string(weights.rows) + ", " +
                      std::to_string(weights.cols) + "], the spectrum [" + std::to_string(f.rows()) + ", " +
                      std::to_string(f.cols()) + "]");
}

}  // namespace qwha::inline QWHA_ISA::detail

namespace qwha::inline QWHA_ISA {

/// weights [out, in] += F T in place, for an engine that serves one adapter from a float base.
/// @return  what `unmerge` needs to restore the weights exactly; drop it when that will not be asked
/// Cost: one transform a row; a byte a weight for the record.
/// @throws shape_error, unsupported_order; value_error that names a row where weights, or weights + F T, are not finite
/// (the weights are then as they were)
template <class Transform = wht<native>, class T>
[[nodiscard]] merge_record merge(rows_view<float> weights, const sparse_spectrum<T>& f,
                                 const executor& where = default_executor()) {
  detail::check_merge_shape(weights, f, "merge");
  merge_record record;
  if (weights.empty()) return record;
  const auto transform = detail::make_transform<Transform>(weights.cols);
  if (const std::size_t bad = first_non_finite_row(weights); bad < weights.rows)
    throw value_error("merge: row " + std::to_string(bad) + " of the weights holds NaN or infinity");
  record.rows = weights.rows;
  record.cols = weights.cols;
  record.steps.assign(weights.rows * weights.cols, 0);
  record.rest.resize((weights.rows - 1) / detail::merge_grain + 1);
  record.spectrum = detail::fingerprint(f);
  parallel_for(where, weights.rows, detail::merge_grain, [&](std::size_t first, std::size_t last) {
    aligned_buffer<float> delta(weights.cols), sum(weights.cols), back(weights.cols);
    for (std::size_t r = first; r < last; ++r) {
      if (f.columns(r).empty()) continue;
      detail::delta_row(f.ref(), transform, r, delta.data());
      float* row = weights.row(r);
      for (std::size_t c = 0; c < weights.cols; ++c) sum[c] = row[c] + delta[c];
      detail::subtract_row(sum.data(), delta.data(), back.data(), weights.cols);
      for (std::size_t c = 0; c < weights.cols; ++c) {
        const std::int64_t step = detail::ordinal(row[c]) - detail::ordinal(back[c]);
        const bool fits = step >= -detail::step_limit && step <= detail::step_limit;
        record.steps[r * weights.cols + c] = fits ? static_cast<std::int8_t>(step) : std::int8_t{0};
        if (!fits) record.rest[first / detail::merge_grain].push_back({r, c, row[c]});
        row[c] = sum[c];
      }
    }
  });
  if (const std::size_t bad = first_non_finite_row(weights); bad < weights.rows) {
    detail::restore_rows(weights, f, transform, record, where);
    throw value_error("merge: row " + std::to_string(bad) + " of weights + F T overflows");
  }
  record.merged = detail::fingerprint(rows_view<const float>(weights), where);
  return record;
}

/// The weights as they were before `merge(weights, f)`, bit for bit.
/// @param record  what that call returned, in the same program (the bits of F T depend on the compile flags)
/// @throws shape_error; value_error when F or the weights have changed since (nothing is written then)
template <class Transform = wht<native>, class T>
void unmerge(rows_view<float> weights, const sparse_spectrum<T>& f, const merge_record& record,
             const executor& where = default_executor()) {
  detail::check_merge_shape(weights, f, "unmerge");
  if (weights.empty()) return;
  if (record.rows != weights.rows || record.cols != weights.cols)
    throw shape_error("unmerge: the record is of [" + std::to_string(record.rows) + ", " + std::to_string(record.cols) +
                      "], the weights are [" + std::to_string(weights.rows) + ", " + std::to_string(weights.cols) +
                      "]");
  if (record.spectrum != detail::fingerprint(f))
    throw value_error("unmerge: the spectrum is not the one that was merged");
  if (record.merged != detail::fingerprint(rows_view<const float>(weights), where))
    throw value_error("unmerge: the weights are not those that merge left");
  detail::restore_rows(weights, f, detail::make_transform<Transform>(weights.cols), record, where);
}

}  // namespace qwha::inline QWHA_ISA
