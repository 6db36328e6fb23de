// SPDX-License-Identifier: MIT
// FFTW 3: the DCT-II and the discrete Hartley transform of the same length, real, in place, patiently planned. Other
// transforms than ours, and the ones that a signal-processing reader knows the speed of.
#include <fftw3.h>

#include <memory>
#include <type_traits>

#include "entrants.hpp"

namespace {

constexpr double planning_seconds = 1;  // of one plan: the long ones would take minutes

template <class T, fftw_r2r_kind Kind>
void enter(bench::contest& c, T* x, std::size_t rows, std::size_t n) {
  const int length = static_cast<int>(n), count = static_cast<int>(rows);
  const fftw_r2r_kind kind = Kind;
  const char* name = Kind == FFTW_DHT ? "FFTW DHT" : "FFTW DCT-II";
  fftwf_set_timelimit(planning_seconds);
  fftw_set_timelimit(planning_seconds);
  const auto many = [&](auto plan_many) {
    return plan_many(1, &length, count, x, nullptr, 1, length, x, nullptr, 1, length, &kind, FFTW_PATIENT);
  };
  if constexpr (std::is_same_v<T, float>) {
    const std::shared_ptr<fftwf_plan_s> plan(many(fftwf_plan_many_r2r), fftwf_destroy_plan);
    if (plan) c.add(name, [plan] { fftwf_execute(plan.get()); }, bench::bytes_moved<T>(rows, n));
  } else {
    const std::shared_ptr<fftw_plan_s> plan(many(fftw_plan_many_r2r), fftw_destroy_plan);
    if (plan) c.add(name, [plan] { fftw_execute(plan.get()); }, bench::bytes_moved<T>(rows, n));
  }
}

const bool registered =
    (bench::peers().push_back({"FFTW DCT-II", enter<float, FFTW_REDFT10>, enter<double, FFTW_REDFT10>,
                               bench::result::other, bench::scope::one_row}),
     bench::peers().push_back(
         {"FFTW DHT", enter<float, FFTW_DHT>, enter<double, FFTW_DHT>, bench::result::other, bench::scope::one_row}),
     true);

}  // namespace
