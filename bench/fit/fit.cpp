// SPDX-License-Identifier: MIT
// Initialisation stage by stage beside one dense product E S, the only step of order n³ that fitting should pay for;
// second moments beside Eigen's symmetric product; two threads beside one. All else on one thread.
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <qwha/fit/initialize.hpp>
#include <qwha/quant/affine.hpp>
#include <qwha/quant/quantize.hpp>

#include "measure.hpp"

namespace {

using base_matrix = qwha::quantized_matrix<qwha::affine<2, 64>>;
const qwha::executor serial = qwha::executor::serial();

std::vector<float> numbers(std::size_t count, std::uint64_t seed) {
  const qwha::counter_random random(seed);
  std::vector<float> x(count);
  for (std::size_t i = 0; i < count; ++i) {  // four uniforms: close to normal
    double sum = -2;
    for (std::size_t k = 0; k < 4; ++k) sum += random.uniform(4 * i + k);
    x[i] = static_cast<float>(sum);
  }
  return x;
}

/// A square layer and the text it is fitted to.
struct layer {
  std::size_t n;
  std::vector<float> w;
  base_matrix base;
  qwha::second_moment moment;

  explicit layer(std::size_t order)
      : n(order),
        w(numbers(n * n, 1)),
        base(qwha::quantize<qwha::affine<2, 64>>(qwha::rows_view<const float>(w.data(), n, n))),
        moment(n) {
    const std::size_t tokens = 512;
    for (std::size_t batch = 0; batch * tokens < 2 * n; ++batch) {  // neighbours share causes
      std::vector<float> x = numbers(tokens * n, 2 + batch);
      for (std::size_t i = 0; i + 8 < x.size(); ++i) x[i] += x[i + 8] + 0.5f * x[i + 1];
      moment.accumulate({x.data(), tokens, n});
    }
  }
  qwha::rows_view<const float> weight() const { return {w.data(), n, n}; }
};

using double_matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

void stages(bench::session& s, std::size_t n, std::size_t rank) {
  bench::contest c{.name = "initialize, rank " + std::to_string(rank), .parameter = "order", .value = double(n)};
  if (!s.wanted(c.name)) return;
  c.reference = "product E S, Eigen";
  c.seconds = 4;
  c.least_rounds = 2;
  const bool with_stages = n <= 2048 || s.effort() > 1;
  const layer l(n);
  qwha::fit_options paper = qwha::paper_fit_options(rank * 2 * n), pursuit = paper;
  pursuit.selection = qwha::selection::pursuit;
  pursuit.exchange_rounds = qwha::fit_options{}.exchange_rounds;

  const auto order = static_cast<Eigen::Index>(n);
  const double_matrix a = double_matrix::Constant(order, order, 0.5), b = double_matrix::Constant(order, order, 0.25);
  double_matrix product(order, order);
  const qwha::spectral_moment<> moment(l.moment, serial);
  const qwha::spectral_problem<> problem(l.weight(), l.base, moment, serial);
  const auto allocate = [&] { return qwha::ada_alloc(problem.row_errors(), paper.parameters, n, paper.temperature); };
  const std::vector<std::uint32_t> budgets = allocate();
  const qwha::sparse_support support = qwha::select(problem, budgets, paper, serial);

  // What each has to read and write: S, G, B, C in double but for C, and a position and a value for each coefficient.
  const double square = double(n) * double(n), coefficients = 8.0 * double(paper.parameters),
               weights = 4 * square + double(l.base.size_bytes());
  c.add(
      "product E S, Eigen",
      [&] {
        const qwha::detail::single_thread guard;
        product.noalias() = a * b;
        bench::written();
      },
      24 * square);
  const auto initialize = [&](const char* name, const qwha::fit_options& o) {
    c.add(
        name, [&] { bench::computed(qwha::initialize(l.weight(), l.base, l.moment, o, serial).error_after); },
        weights + 8 * square + coefficients);
  };
  initialize("paper", paper);
  initialize("pursuit", pursuit);
  if (with_stages) {
    c.add(
        "stage: transform of S", [&] { bench::computed(qwha::spectral_moment<>(l.moment, serial).order()); },
        16 * square);
    c.add(
        "stage: E, its transform, product",
        [&] { bench::computed(qwha::spectral_problem<>(l.weight(), l.base, moment, serial).rows()); },
        weights + 20 * square);
    c.add("stage: allocation", [&] { bench::computed(allocate().size()); }, 12.0 * double(n));
    c.add(
        "stage: selection, paper", [&] { bench::computed(qwha::select(problem, budgets, paper, serial).rows()); },
        4 * square + coefficients / 2);
    c.add(
        "stage: selection, pursuit", [&] { bench::computed(qwha::select(problem, budgets, pursuit, serial).rows()); },
        20 * square + coefficients / 2);
    c.add(
        "stage: refinement", [&] { bench::computed(qwha::refine(problem, support, paper, serial).error_after); },
        8 * square + 3 * coefficients);
  }
  s.run(c);
}

void threads(bench::session& s, std::size_t n) {
#if defined(_OPENMP)
  for (const bool greedy : {false, true}) {
    bench::contest c{.name = std::string("two threads, ") + (greedy ? "pursuit" : "paper"),
                     .parameter = "order",
                     .value = double(n)};
    if (!s.wanted(c.name)) continue;
    c.reference = "two threads";
    c.seconds = 4;
    c.least_rounds = 2;
    const auto l = std::make_shared<layer>(n);
    const qwha::fit_options o =
        greedy ? qwha::fit_options{.parameters = 64 * 2 * n} : qwha::paper_fit_options(64 * 2 * n);
    const auto run = [l, o](int count) {
      const int before = omp_get_max_threads();
      omp_set_num_threads(count);
      bench::computed(qwha::initialize(l->weight(), l->base, l->moment, o).error_after);
      omp_set_num_threads(before);
    };
    const double square = double(n) * double(n), bytes = 12 * square + double(l->base.size_bytes());
    c.add("one thread", [run] { run(1); }, bytes);
    c.add("two threads", [run] { run(2); }, bytes);
    s.run(c);
  }
#else
  (void)n;
  s.note("two threads: skipped, compiled without OpenMP");
#endif
}

void second_moment(bench::session& s, std::size_t in) {
  bench::contest c{.name = "second moment of 2048 tokens", .parameter = "in", .value = double(in)};
  if (!s.wanted(c.name)) return;
  c.reference = "Eigen rankUpdate, float";
  c.seconds = 2;
  using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const std::size_t tokens = 2048;
  const std::vector<float> x = numbers(tokens * in, 9);
  qwha::second_moment moment(in);
  matrix sums = matrix::Zero(static_cast<Eigen::Index>(in), static_cast<Eigen::Index>(in));
  const Eigen::Map<const matrix> map(x.data(), static_cast<Eigen::Index>(tokens), static_cast<Eigen::Index>(in));
  const double activations = 4.0 * double(x.size()), square = double(in) * double(in);
  c.add(
      "Eigen rankUpdate, float",
      [&] {
        const qwha::detail::single_thread guard;
        sums.setZero();
        sums.selfadjointView<Eigen::Lower>().rankUpdate(map.transpose());
      },
      activations + 4 * square);
  c.add("qwha", [&] { moment.accumulate({x.data(), tokens, in}, serial); }, activations + 16 * square);
  s.run(c);
}

}  // namespace

int main(int argc, char** argv) {
  bench::session s("fit", argc, argv);
  for (const std::size_t in : {640u, 2048u, 4096u}) second_moment(s, in);
  for (const std::size_t n : {1024u, 2048u, 4096u})
    for (const std::size_t rank : {16u, 64u}) stages(s, n, rank);
  threads(s, 2048);
  return s.finish();
}
