// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Parallel loops over an index range, on the engine's threads if it supplies them.

#include <algorithm>
#include <cstddef>
#include <exception>
#include <memory>
#include <mutex>
#include <type_traits>

#include <qwha/base/config.hpp>

#if defined(_OPENMP)
#include <omp.h>
#endif

namespace qwha {

/// Where parallel loops run: a handle of three pointers, copied by value.
///
/// An engine fills `run` with a function that calls `body(context, chunk)` once for every chunk in [0, chunks), from any
/// of its threads, in any order, and returns when all have returned. Work is cut into chunks by the caller and never by
/// the number of threads, so results have the same bits on any pool.
struct executor {
  using body_function = void (*)(void* context, std::size_t chunk);

  void* pool = nullptr;
  void (*run)(void* pool, std::size_t chunks, body_function body, void* context) = nullptr;  ///< null: in order, here

  /// In the calling thread.
  static constexpr executor serial() noexcept { return {}; }
};

}  // namespace qwha

namespace qwha::inline QWHA_ISA {

/// OpenMP when the compiler has it on (dynamic schedule), else serial.
inline executor default_executor() noexcept {
#if defined(_OPENMP)
  return {nullptr, [](void*, std::size_t chunks, executor::body_function body, void* context) {
            if (chunks < 2 || omp_in_parallel() || omp_get_max_threads() < 2) {
              for (std::size_t i = 0; i < chunks; ++i) body(context, i);
              return;
            }
#pragma omp parallel for schedule(dynamic, 1)
            for (std::ptrdiff_t i = 0; i < static_cast<std::ptrdiff_t>(chunks); ++i)
              body(context, static_cast<std::size_t>(i));
          }};
#else
  return executor::serial();
#endif
}

/// Calls `body(begin, end)` over [0, count) in ranges of `grain` indices (the last may be shorter).
/// An exception thrown by `body` is carried to the caller after all ranges have run; the first one wins.
/// @param grain  indices per call; at least 1 is used. Ranges depend on `count` and `grain` only.
template <class Body>
void parallel_for(const executor& where, std::size_t count, std::size_t grain, Body&& body) {
  if (count == 0) return;
  grain = std::max<std::size_t>(grain, 1);
  const std::size_t chunks = (count - 1) / grain + 1;
  if (where.run == nullptr || chunks == 1) {
    for (std::size_t i = 0; i < chunks; ++i) body(i * grain, std::min(count, (i + 1) * grain));
    return;
  }
  struct state {
    std::remove_reference_t<Body>* body;
    std::size_t count, grain;
    std::mutex mutex{};
    std::exception_ptr failure{};
  } shared{std::addressof(body), count, grain};
  where.run(
      where.pool, chunks,
      [](void* context, std::size_t chunk) {
        auto& s = *static_cast<state*>(context);
        try {
          const std::size_t first = s.grain * chunk;
          (*s.body)(first, std::min(s.count, first + s.grain));
        } catch (...) {
          const std::lock_guard lock(s.mutex);
          if (!s.failure) s.failure = std::current_exception();
        }
      },
      &shared);
  if (shared.failure) std::rethrow_exception(shared.failure);
}

}  // namespace qwha::inline QWHA_ISA
