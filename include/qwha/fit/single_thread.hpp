// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Keeps Eigen's products inside the tile that an executor was given.

#include <qwha/base/config.hpp>

#if defined(_OPENMP)
#include <omp.h>
#endif

namespace qwha::inline QWHA_ISA::detail {

/// While one of these lives, Eigen's products in this thread stay in this thread. Eigen splits a product by the number
/// of threads, and with it the order of its sums; tiles of fixed size in one thread give the same bits on any pool.
/// Only the calling thread's OpenMP setting is touched, and put back.
class single_thread {
 public:
#if defined(_OPENMP)
  single_thread() noexcept : threads_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~single_thread() { omp_set_num_threads(threads_); }
#else
  single_thread() noexcept {}
  ~single_thread() {}
#endif
  single_thread(const single_thread&) = delete;
  single_thread& operator=(const single_thread&) = delete;

#if defined(_OPENMP)
 private:
  int threads_;
#endif
};

}  // namespace qwha::inline QWHA_ISA::detail
