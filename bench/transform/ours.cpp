// SPDX-License-Identifier: MIT
// Our transform, scaled to be orthonormal: compiled once for this machine and once for AVX2 alone.
#include <qwha/base/rows_view.hpp>
#include <qwha/transform/wht.hpp>

#include "entrants.hpp"

namespace {

template <class T>
void enter(bench::contest& c, const std::string& name, T* x, std::size_t rows, std::size_t n,
           const qwha::executor& where) {
  const auto work = [transform = qwha::wht<>(n), view = qwha::rows_view<T>(x, rows, n), where] {
    bench::computed(transform.apply(view, qwha::scaling::orthonormal, where));
  };
  c.add(name, work, bench::bytes_moved<T>(rows, n));
}

const bool registered = (bench::variants().push_back({QWHA_BENCH_VARIANT, enter<float>, enter<double>,
                                                      enter<qwha::half>, enter<qwha::bfloat16>}),
                         true);

}  // namespace
