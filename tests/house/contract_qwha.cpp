// SPDX-License-Identifier: MIT
// Every public name that <qwha/qwha.hpp> adds, used as the contract writes it.

#include <cmath>
#include <cstdint>
#include <numeric>
#include <span>
#include <type_traits>
#include <vector>

#include <qwha/qwha.hpp>

#include "expect.hpp"

namespace {

constexpr std::size_t out = 24, in = 60, tokens = 200;  // 60 = 60 · 2^0: no power of two anywhere

std::vector<float> wave(std::size_t count, float frequency) {
  std::vector<float> x(count);
  for (std::size_t i = 0; i < count; ++i)
    x[i] = std::sin(frequency * static_cast<float>(i) + 0.001f * static_cast<float>(i * i % 977));
  return x;
}

void moments() {
  const std::vector<float> x = wave(tokens * in, 0.37f);
  qwha::second_moment all(in), first(in), second(in);
  all.accumulate(qwha::rows_view<const float>{x.data(), tokens, in});
  first.accumulate(qwha::rows_view<const float>{x.data(), 77, in});
  second.accumulate(qwha::rows_view<const float>{x.data() + 77 * in, tokens - 77, in});
  first.merge(second);
  EXPECT(first.tokens() == tokens && all.tokens() == tokens);
  const qwha::rows_view<const double> s = all.values();
  EXPECT(s.rows == in && s.cols == in);
  double exact = 0;
  for (std::size_t t = 0; t < tokens; ++t)
    exact += static_cast<double>(x[t * in + 3]) * static_cast<double>(x[t * in + 8]);
  EXPECT(std::abs(s.row(3)[8] - exact) <= 1e-4);
  EXPECT(std::abs(first.values().row(3)[8] - exact) <= 1e-4);
}

void allocation() {
  const std::vector<double> error{4, 1, 0, 3};
  const std::vector<std::uint32_t> p = qwha::ada_alloc(std::span<const double>(error), 16, 6);
  const std::vector<std::uint32_t> flat = qwha::ada_alloc(std::span<const double>(error), 16, 6, 0.0);
  EXPECT(std::accumulate(p.begin(), p.end(), 0u) == 16 && std::accumulate(flat.begin(), flat.end(), 0u) == 16);
  EXPECT(p.size() == 4 && p[0] == 6 && flat[0] == 4);
}

void solvers() {
  const std::vector<float> w = wave(out * in, 1.7f), x = wave(tokens * in, 0.37f);
  qwha::second_moment moment(in);
  moment.accumulate(qwha::rows_view<const float>{x.data(), tokens, in});
  const qwha::gptq plain{.moment = &moment};
  EXPECT(plain.damping == 0.01 && !plain.act_order && !plain.magr);
  const qwha::rows_view<const float> view{w.data(), out, in};
  for (const bool act_order : {false, true})
    for (const bool magr : {false, true}) {
      qwha::gptq solver{.moment = &moment, .damping = 0.02};
      solver.act_order = act_order;
      solver.magr = magr;
      const qwha::quantized_matrix<qwha::affine<3, 20 * 2>> q = qwha::quantize<qwha::affine<3, 40>>(view, solver);
      EXPECT(q.rows() == out && q.cols() == in);
    }
}

void fits() {
  const qwha::fit_options ours{.parameters = 300};
  EXPECT(ours.temperature == 1 && ours.selection == qwha::selection::pursuit && ours.refine && ours.damping == 1e-4 &&
         ours.seed == 0);
  const qwha::fit_options paper = qwha::paper_fit_options(300);
  EXPECT(paper.parameters == 300 && paper.selection == qwha::selection::magnitude && paper.refine);

  const std::vector<float> w = wave(out * in, 1.7f), x = wave(tokens * in, 0.37f);
  qwha::second_moment s(in);
  s.accumulate(qwha::rows_view<const float>{x.data(), tokens, in});
  const qwha::rows_view<const float> view{w.data(), out, in};
  const auto base = qwha::quantize<qwha::affine<2, 20 * 4>>(view);

  for (const qwha::selection how : {qwha::selection::random, qwha::selection::magnitude, qwha::selection::energy,
                                    qwha::selection::ssh, qwha::selection::pursuit})
    for (const bool refine : {true, false}) {
      qwha::fit_options options{.parameters = 300};
      options.selection = how;
      options.refine = refine;
      options.seed = 5;
      const qwha::fit_result<float> r = qwha::initialize(view, base, s, options);
      EXPECT(r.spectrum.size() == 300 && r.spectrum.rows() == out && r.spectrum.cols() == in);
      EXPECT(std::isfinite(r.error_before) && std::isfinite(r.error_after));
      if (refine) EXPECT(r.error_after <= r.error_before);
    }
  const auto in_double = qwha::initialize<double>(view, base, s, paper);
  static_assert(std::is_same_v<decltype(in_double), const qwha::fit_result<double>>);
  const qwha::sparse_spectral_adapter<float, qwha::affine<2, 80>> adapter(
      base, qwha::initialize(view, base, s, ours).spectrum);
  EXPECT(adapter.spectrum().size() == 300);
}

}  // namespace

int main() {
  moments();
  allocation();
  solvers();
  fits();
  return qwha::test::failures == 0 ? 0 : 1;
}
