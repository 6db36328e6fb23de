// SPDX-License-Identifier: MIT
// One layer, quantized to 2 bits and repaired by an adapter: what each way of choosing the coefficients leaves of the
// error at the layer's output, on the text it was fitted to and on another one.
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <vector>

#include <qwha/base/random.hpp>
#include <qwha/fit/initialize.hpp>
#include <qwha/quant/affine.hpp>
#include <qwha/quant/quantize.hpp>

namespace {

/// Standard normal numbers by position (Box, Muller).
class normal {
 public:
  explicit normal(std::uint64_t seed) : random_(seed) {}
  double operator()(std::size_t i) const {
    return std::sqrt(-2 * std::log(1 - random_.uniform(2 * i))) *
           std::cos(6.283185307179586 * random_.uniform(2 * i + 1));
  }

 private:
  qwha::counter_random random_;
};

/// Activations as layers see them: a few strong common causes, a few loud channels, noise.
qwha::second_moment text(std::uint64_t seed, std::size_t tokens, std::size_t in) {
  const std::size_t causes = 24;
  const normal cause(1), draw(seed);
  std::vector<float> x(tokens * in);
  for (std::size_t t = 0; t < tokens; ++t)
    for (std::size_t j = 0; j < in; ++j) {
      double v = draw(t * in + j);
      for (std::size_t k = 0; k < causes; ++k)
        v += 2 * draw(tokens * in + t * causes + k) * cause(j * causes + k) / static_cast<double>(k + 1);
      x[t * in + j] = static_cast<float>(j % 61 == 7 ? 8 * v : v);
    }
  qwha::second_moment s(in);
  s.accumulate({x.data(), tokens, in});
  return s;
}

}  // namespace

int main() {
  const std::size_t out = 192, in = 256, rank = 8;
  std::vector<float> w(out * in);
  const normal weight(2);
  for (std::size_t i = 0; i < w.size(); ++i) w[i] = static_cast<float>(0.02 * weight(i));
  const qwha::rows_view<const float> w0(w.data(), out, in);

  const auto base = qwha::quantize<qwha::affine<2, 64>>(w0);
  const qwha::second_moment fitted = text(3, 3000, in), other = text(4, 1500, in);

  // G = T S Tᵀ and the error's spectrum are computed once; every method below shares them.
  const qwha::spectral_moment<> moment(fitted);
  const qwha::spectral_problem<> problem(w0, base, moment);

  std::vector<float> dense(out * in);
  base.dequantize(qwha::rows_view<float>(dense.data(), out, in));
  const double other_before = qwha::layer_error(w0, {dense.data(), out, in}, other);

  struct method {
    const char* name;
    qwha::selection selection;
    bool refine;
  };
  std::printf(
      "2-bit layer [%zu, %zu], %zu coefficients. Error left at the output, as a share of that without adapter:\n\n",
      out, in, rank * (out + in));
  std::printf("%-34s %8s %12s\n", "selection", "fitted", "other text");
  for (const method& m :
       {method{"random, refined", qwha::selection::random, true}, method{"SSH, refined", qwha::selection::ssh, true},
        method{"energy, refined", qwha::selection::energy, true},
        method{"magnitude, not refined", qwha::selection::magnitude, false},
        method{"magnitude, refined (the paper)", qwha::selection::magnitude, true},
        method{"reference code's score, refined", qwha::selection::reference, true},
        method{"pursuit (the default)", qwha::selection::pursuit, true}}) {
    qwha::fit_options options = qwha::paper_fit_options(rank * (out + in));
    options.selection = m.selection;
    options.refine = m.refine;
    options.exchange_rounds = 4;
    const auto fit = qwha::fit(problem, options);

    // W = WQ + F T
    std::vector<float> delta(out * in, 0.0f), merged = dense;
    for (std::size_t i = 0; i < out; ++i)
      for (std::size_t k = 0; k < fit.spectrum.columns(i).size(); ++k)
        delta[i * in + fit.spectrum.columns(i)[k]] = fit.spectrum.values(i)[k];
    if (moment.transform().apply_transpose(qwha::rows_view<float>(delta.data(), out, in)) != qwha::status::ok) return 1;
    for (std::size_t i = 0; i < merged.size(); ++i) merged[i] += delta[i];
    std::printf("%-34s %8.3f %12.3f\n", m.name, fit.error_after / fit.error_before,
                qwha::layer_error(w0, {merged.data(), out, in}, other) / other_before);
  }
  std::printf(
      "\nSmaller is better; 1 is the quantized layer alone. Refinement turns coefficients that resemble the weight "
      "error\n"
      "into the ones that matter for the activations; pursuit also chooses them by what they take from the output "
      "error.\n"
      "Judge by the other text: on the fitted one a choice profits from chance.\n");
}
