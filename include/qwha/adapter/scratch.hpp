// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Scratch memory of the adapters' hot paths: the caller's or allocated for the call, and handed out to parallel
/// chunks.

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include <qwha/base/aligned_buffer.hpp>
#include <qwha/base/config.hpp>
#include <qwha/base/executor.hpp>
#include <qwha/base/rows_view.hpp>
#include <qwha/base/status.hpp>

namespace qwha::inline QWHA_ISA::detail {

inline constexpr std::size_t scratch_alignment = aligned_buffer<std::byte>::alignment;

/// Floats rounded up to whole cache lines.
constexpr std::size_t padded(std::size_t floats) noexcept { return (floats + 15) / 16 * 16; }
/// Bytes to ask a caller for: its memory may have any alignment.
constexpr std::size_t workspace_for(std::size_t floats) noexcept {
  return floats == 0 ? 0 : floats * sizeof(float) + scratch_alignment - 1;
}

/// Floats for one call.
class scratch_memory {
 public:
  /// Takes them from `given`, or from the heap when `given` has no data.
  status acquire(std::span<std::byte> given, std::size_t floats) noexcept {
    if (floats == 0) return status::ok;
    if (given.data() == nullptr) {
      own_ = aligned_buffer<float>::try_allocate(floats);
      next_ = own_.data();
      return next_ == nullptr ? status::out_of_memory : status::ok;
    }
    if (given.size() < workspace_for(floats)) return status::workspace_too_small;
    const auto address = reinterpret_cast<std::uintptr_t>(given.data());
    const std::size_t skip = (scratch_alignment - address % scratch_alignment) % scratch_alignment;
    next_ = reinterpret_cast<float*>(given.data() + skip);
    return status::ok;
  }
  /// The next `floats` of them. @pre a multiple of 16, and within what was acquired
  float* take(std::size_t floats) noexcept { return std::exchange(next_, next_ + floats); }

 private:
  aligned_buffer<float> own_;
  float* next_ = nullptr;
};

/// Equal pieces of scratch for chunks that run at the same time. A chunk takes the lowest free one, so a serial loop
/// uses one piece only, which stays in cache. There are as many pieces as chunks: a free one is always found.
class scratch_slots {
 public:
  static constexpr std::size_t most = 16;

  scratch_slots(float* data, std::size_t floats) noexcept : data_(data), floats_(floats) {}

  class lease {
   public:
    explicit lease(scratch_slots& slots) noexcept : slots_(slots), index_(slots.claim()) {}
    lease(const lease&) = delete;
    lease& operator=(const lease&) = delete;
    ~lease() { slots_.busy_.fetch_and(~(1u << index_), std::memory_order_release); }
    float* data() const noexcept { return slots_.data_ + static_cast<std::size_t>(index_) * slots_.floats_; }

   private:
    scratch_slots& slots_;
    int index_;
  };

 private:
  int claim() noexcept {
    std::uint32_t seen = busy_.load(std::memory_order_relaxed);
    for (;;) {
      const int free = std::countr_one(seen);
      if (busy_.compare_exchange_weak(seen, seen | (1u << free), std::memory_order_acquire, std::memory_order_relaxed))
        return free;
    }
  }

  float* data_;
  std::size_t floats_;
  std::atomic<std::uint32_t> busy_{0};
};

/// How `count` items, handled `unit` at a time, fall into at most `scratch_slots::most` chunks.
struct chunking {
  std::size_t count = 0, unit = 1;

  constexpr std::size_t units() const noexcept { return (count + unit - 1) / unit; }
  constexpr std::size_t grain() const noexcept {
    return unit * ((units() + scratch_slots::most - 1) / scratch_slots::most);
  }
  constexpr std::size_t chunks() const noexcept { return count == 0 ? 0 : (count + grain() - 1) / grain(); }
};

/// body(first, count, scratch) for every unit, chunks in parallel.
template <class Body>
void for_each_unit(const executor& where, const chunking& plan, scratch_slots& slots, const Body& body) {
  parallel_for(where, plan.count, plan.grain(), [&](std::size_t begin, std::size_t end) {
    const scratch_slots::lease scratch(slots);
    for (std::size_t first = begin; first < end; first += plan.unit)
      body(first, end - first < plan.unit ? end - first : plan.unit, scratch.data());
  });
}

// --- checks of views ------------------------------------------------------------------------------------------------

template <class T>
constexpr bool well_formed(const rows_view<T>& v) noexcept {
  return v.rows < 2 || v.stride >= v.cols;
}

/// True when an element of `a` may share memory with one of `b`. Views that interleave at one stride (columns of one
/// matrix) are told apart; others by their extents.
inline bool overlap(rows_view<const float> a, rows_view<const float> b) noexcept {
  if (a.empty() || b.empty()) return false;
  const auto at = [](const float* p) { return reinterpret_cast<std::uintptr_t>(p); };
  const auto last = [&](rows_view<const float> v) {
    return at(v.data) + ((v.rows - 1) * v.stride + v.cols) * sizeof(float);
  };
  if (last(a) <= at(b.data) || last(b) <= at(a.data)) return false;
  if (a.stride != b.stride || a.stride == 0) return true;
  const std::uintptr_t period = a.stride * sizeof(float), width_a = a.cols * sizeof(float),
                       width_b = b.cols * sizeof(float);
  const std::uintptr_t shift = at(b.data) >= at(a.data) ? (at(b.data) - at(a.data)) % period
                                                        : (period - (at(a.data) - at(b.data)) % period) % period;
  return shift < width_a || shift + width_b > period;
}

/// ok when x [tokens, in] can be read and y [tokens, out] written, without sharing memory.
inline status check_views(rows_view<const float> x, std::size_t in, rows_view<const float> y,
                          std::size_t out) noexcept {
  if (x.cols != in || y.cols != out || x.rows != y.rows || !well_formed(x) || !well_formed(y))
    return status::shape_mismatch;
  if ((!x.empty() && x.data == nullptr) || (!y.empty() && y.data == nullptr)) return status::null_data;
  return overlap(x, y) ? status::overlapping : status::ok;
}

/// ok when x [tokens, in] and dy [tokens, out] can be read (they may share memory) and dx [tokens, in] written, where it
/// is wanted.
inline status check_backward(rows_view<const float> x, std::size_t in, rows_view<const float> dy, std::size_t out,
                             rows_view<float> dx, bool wants_dx) noexcept {
  if (const status s = check_views(x, in, dy, out); s != status::ok && s != status::overlapping) return s;
  if (!wants_dx) return status::ok;
  if (const status s = check_views(dy, out, dx, in); s != status::ok) return s;
  return overlap(x, dx) ? status::overlapping : status::ok;
}

}  // namespace qwha::inline QWHA_ISA::detail
