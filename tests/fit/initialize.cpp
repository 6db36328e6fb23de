// SPDX-License-Identifier: MIT
// Initialisation against the dense oracle: reported errors, optimal values, selections, refusals, equal bits.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <qwha/fit/initialize.hpp>

#include "catch.hpp"
#include "executors.hpp"
#include "expect.hpp"
#include "oracle.hpp"

namespace {

using qwha::fit_options;
using qwha::selection;
using qwha::test::mentions;
using qwha::test::message_of;

constexpr selection all_selections[] = {selection::random, selection::magnitude, selection::energy,
                                        selection::ssh,    selection::pursuit,   selection::reference};

fit_options options(std::size_t parameters, selection how, double damping = 1e-4, bool refine = true) {
  fit_options o;
  o.parameters = parameters;
  o.selection = how;
  o.damping = damping;
  o.refine = refine;
  o.seed = 3;
  return o;
}

}  // namespace

TEMPLATE_TEST_CASE("reported errors are those of the stored values", "", float, double, qwha::half, qwha::bfloat16) {
  const oracle::layer l = oracle::make_layer(1, 9, 48, 100);
  const qwha::second_moment s = l.moment();
  const double before =
      oracle::error(l, qwha::sparse_spectrum<float>(l.out, l.in, std::vector<std::size_t>(10, 0), {}, {}), l.x);
  for (const selection how : all_selections)
    for (const bool refine : {true, false}) {
      INFO("selection " << static_cast<int>(how) << ", refine " << refine);
      const auto r = qwha::initialize<TestType>(l.weight(), l.base, s, options(100, how, 1e-4, refine));
      CHECK(r.spectrum.size() == 100);
      CHECK(r.spectrum.rows() == l.out);
      CHECK(r.spectrum.cols() == l.in);
      // Rounding of double sums over 4800 products, amplified by the cancellation of before² - after².
      CHECK(r.error_before == Approx(before).epsilon(1e-10));
      CHECK(r.error_after == Approx(oracle::error(l, r.spectrum, l.x)).epsilon(1e-9));
      double rows_before = 0, rows_after = 0;
      for (std::size_t i = 0; i < l.out; ++i) {
        rows_before += r.row_error_before[i] * r.row_error_before[i];
        rows_after += r.row_error_after[i] * r.row_error_after[i];
      }
      CHECK(std::sqrt(rows_before) == Approx(r.error_before).epsilon(1e-12));
      CHECK(std::sqrt(rows_after) == Approx(r.error_after).epsilon(1e-12));
    }
}

TEST_CASE("refined values are the least squares solution on the support") {
  struct shape {
    std::size_t in, tokens;
  };
  for (const auto [in, tokens] :
       {shape{16, 60}, shape{48, 200}, shape{64, 30}, shape{24, 10}})  // the last two: S singular
    for (const double damping : {0.0, 1e-4, 0.1})
      for (const selection how : all_selections) {
        const oracle::layer l = oracle::make_layer(in, 7, in, tokens);
        INFO("in " << in << ", tokens " << tokens << ", damping " << damping << ", selection "
                   << static_cast<int>(how));
        const auto r = qwha::initialize<double>(l.weight(), l.base, l.moment(), options(7 * in / 4, how, damping));
        const double lambda = damping * oracle::mean_square(l);
        double found = 0, best = 0, before = 0;
        for (std::size_t i = 0; i < l.out; ++i) {
          found += oracle::squared_error<double>(l, i, r.spectrum.columns(i), r.spectrum.values(i), l.x, lambda);
          best += oracle::least_squared_error(l, i, r.spectrum.columns(i), lambda);
          before += oracle::squared_error<double>(l, i, {}, {}, l.x, lambda);
        }
        // 1e-5 relative in the norm; the floor is for supports that reach a zero of the undamped error.
        CHECK(std::sqrt(found) <= std::sqrt(best) * (1 + 1e-5) + 1e-5 * std::sqrt(before));
        if (damping > 0) CHECK(std::sqrt(found) <= std::sqrt(best) * (1 + 1e-5));
      }
}

TEST_CASE("no row's error is raised by refinement") {
  const std::uint64_t seed = 40;
  INFO("seed " << seed);
  for (std::uint64_t problem = seed; problem < seed + 6; ++problem) {
    const oracle::layer l = oracle::make_layer(problem, 12, 32, problem % 2 == 0 ? 20 : 90);
    const qwha::second_moment s = l.moment();
    for (const double damping : {0.0, 1e-4, 0.1, 30.0})
      for (const selection how : all_selections) {
        INFO("problem " << problem << ", damping " << damping << ", selection " << static_cast<int>(how));
        const auto refined = qwha::initialize<double>(l.weight(), l.base, s, options(90, how, damping, true));
        double worst = 0;
        for (std::size_t i = 0; i < l.out; ++i)
          worst = std::max(worst, refined.row_error_after[i] / refined.row_error_before[i]);
        CHECK(worst <= 1 + 1e-12);
        if (how == selection::pursuit) continue;  // its support depends on refinement
        const auto plain = qwha::initialize<double>(l.weight(), l.base, s, options(90, how, damping, false));
        for (std::size_t i = 0; i < l.out; ++i)
          CHECK(refined.row_error_after[i] <= plain.row_error_after[i] + 1e-9 * refined.row_error_before[i]);
      }
  }
}

TEST_CASE("selections are the largest of their scores within AdaAlloc's budgets") {
  const oracle::layer l = oracle::make_layer(5, 10, 48, 150);
  const std::size_t in = l.in, parameters = 130;
  const double damping = 0.01, lambda = damping * oracle::mean_square(l);
  // C = E Tᵀ, Y = T X, G = Y Yᵀ, B = C G, with S damped.
  const oracle::matrix c = oracle::times_transposed(l.e, l.t, in);
  oracle::matrix x(l.x.begin(), l.x.end());
  const oracle::matrix y = oracle::times_transposed(l.t, x, in);  // [in, tokens]
  oracle::matrix g = oracle::times_transposed(y, y, l.tokens);
  const oracle::matrix undamped = oracle::times_transposed(c, g, in);
  for (std::size_t j = 0; j < in; ++j) g[j * in + j] += lambda;
  const oracle::matrix b = oracle::times_transposed(c, g, in);
  const oracle::matrix w0 = oracle::times_transposed({l.w.begin(), l.w.end()}, l.t, in);

  std::vector<double> row_error(l.out);
  for (std::size_t i = 0; i < l.out; ++i) row_error[i] = std::sqrt(oracle::squared_error<double>(l, i, {}, {}, l.x));
  for (const double temperature : {0.0, 1.0, 2.0})
    for (const selection how : all_selections) {
      INFO("selection " << static_cast<int>(how) << ", temperature " << temperature);
      fit_options o = options(parameters, how, damping);
      o.temperature = temperature;
      const auto r = qwha::initialize<double>(l.weight(), l.base, l.moment(), o);
      const auto budgets = qwha::ada_alloc(row_error, parameters, in, temperature);
      for (std::size_t i = 0; i < l.out; ++i) {
        INFO("row " << i);
        const std::vector<std::uint32_t> chosen(r.spectrum.columns(i).begin(), r.spectrum.columns(i).end());
        REQUIRE(chosen.size() == budgets[i]);
        const auto score = [&](std::size_t j) {
          const double cij = c[i * in + j], bij = b[i * in + j], gjj = g[j * in + j];
          switch (how) {
            case selection::magnitude: return std::abs(cij);
            case selection::energy: return bij * bij / gjj;
            case selection::reference: return gjj * cij * cij;
            case selection::ssh: return std::abs(w0[i * in + j]);
            default: return 0.0;
          }
        };
        std::vector<std::uint32_t> order(in);
        std::iota(order.begin(), order.end(), 0u);
        std::sort(order.begin(), order.end(),
                  [&](auto a, auto z) { return score(a) > score(z) || (score(a) == score(z) && a < z); });
        if (how == selection::magnitude || how == selection::energy || how == selection::reference) {
          order.resize(budgets[i]);
          std::sort(order.begin(), order.end());
          CHECK(chosen == order);
        } else if (how == selection::ssh) {
          order.resize((budgets[i] + 1) / 2);
          CHECK(std::all_of(order.begin(), order.end(),
                            [&](auto j) { return std::binary_search(chosen.begin(), chosen.end(), j); }));
        }
      }
    }
}

TEST_CASE("random draws differ by row and seed and reach every column alike") {
  const std::size_t n = 20, rows = 4000;
  std::vector<int> count(n, 0);
  for (std::size_t r = 0; r < rows; ++r) {
    const std::vector<std::uint32_t> taken{3, 9};
    std::vector<std::uint32_t> chosen(6);
    qwha::select_random(n, taken, 11, r, chosen);
    REQUIRE(std::is_sorted(chosen.begin(), chosen.end()));
    REQUIRE(std::adjacent_find(chosen.begin(), chosen.end()) == chosen.end());
    for (const auto j : chosen) ++count[j];
  }
  CHECK(count[3] == 0);
  CHECK(count[9] == 0);
  // Each of 18 columns is drawn with probability 1/3: 1333 of 4000 times, standard deviation 30.
  for (std::size_t j = 0; j < n; ++j)
    if (j != 3 && j != 9) CHECK(std::abs(count[j] - 1333) < 6 * 30);
  const oracle::layer l = oracle::make_layer(2, 6, 32, 50);
  fit_options o = options(60, selection::random);
  const auto a = qwha::initialize(l.weight(), l.base, l.moment(), o),
             b = qwha::initialize(l.weight(), l.base, l.moment(), o);
  o.seed = 4;
  const auto c = qwha::initialize(l.weight(), l.base, l.moment(), o);
  CHECK(std::ranges::equal(a.spectrum.columns(), b.spectrum.columns()));
  CHECK_FALSE(std::ranges::equal(a.spectrum.columns(), c.spectrum.columns()));
}

TEST_CASE("equal scores go to the lowest column") {
  std::vector<double> score{1, 2, 2, 0, 2, 1};
  std::vector<std::uint32_t> chosen(2);
  qwha::select_largest(score, chosen);
  CHECK(chosen == std::vector<std::uint32_t>{1, 2});
  chosen.resize(4);
  qwha::select_largest(score, chosen);
  CHECK(chosen == std::vector<std::uint32_t>{0, 1, 2, 4});
}

TEST_CASE("partial selection agrees with a full sort, ties, signs and zeros included") {
  const qwha::counter_random random(77);
  for (const std::size_t n : {1u, 2u, 7u, 64u, 501u})
    for (const std::uint32_t levels : {1u, 3u, 1000000u}) {
      std::vector<double> score(n);
      std::vector<float> value(n);
      for (std::size_t i = 0; i < n; ++i) {
        score[i] = (random.below(levels, i) - 0.5 * levels) * 1e-3;
        if (random.below(8, 1000 + i) == 0) score[i] = i % 2 == 0 ? 0.0 : -0.0;
        value[i] = static_cast<float>(score[i]);
      }
      const auto sorted = [n](const auto& key) {
        std::vector<std::uint32_t> order(n);
        std::iota(order.begin(), order.end(), 0u);
        std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return key(a) > key(b); });
        return order;
      };
      for (const std::size_t k : {std::size_t{0}, std::size_t{1}, n / 3, n - 1, n}) {
        INFO("n " << n << ", levels " << levels << ", k " << k);
        std::vector<std::uint32_t> chosen(k), expected = sorted([&](auto i) { return score[i]; });
        qwha::select_largest(score, chosen);
        expected.resize(k);
        std::sort(expected.begin(), expected.end());
        CHECK(chosen == expected);
        expected = sorted([&](auto i) { return std::abs(value[i]); });
        qwha::select_largest_magnitude(value, chosen);
        expected.resize(k);
        std::sort(expected.begin(), expected.end());
        CHECK(chosen == expected);
      }
    }
}

TEST_CASE("the small Cholesky solves its system at every order, and refuses what is singular") {
  qwha::detail::cholesky<> factor;  // reused, as in the loops
  qwha::detail::bordered_columns a;
  const qwha::counter_random random(78);
  for (const std::size_t n : {1u, 2u, 3u, 7u, 8u, 9u, 15u, 16u, 17u, 31u, 33u, 64u, 100u, 127u, 5u, 128u, 130u, 200u}) {
    INFO("n " << n);
    // A = V Vᵀ + I with V [n, n] in (-1, 1): condition below 1 + n².
    std::vector<double> v(n * n), full(n * n), b(n), x(n);
    for (std::size_t i = 0; i < v.size(); ++i) v[i] = 2 * random.uniform(i) - 1;
    a.resize(n);
    for (std::size_t j = 0; j < n; ++j) {
      b[j] = 2 * random.uniform(100000 + j) - 1;
      for (std::size_t i = 0; i < n; ++i)
        for (std::size_t k = 0; k < n; ++k) full[i * n + j] += v[i * n + k] * v[j * n + k];
      for (std::size_t i = j; i < n; ++i) a.column(j)[i] = full[i * n + j];
      a.column(j)[n] = b[j];
      a.clear_padding(j);
    }
    REQUIRE(factor.factorise(a, 1.0));
    factor.solve(x);
    double worst = 0;
    for (std::size_t i = 0; i < n; ++i) {
      double residual = x[i] - b[i];
      for (std::size_t j = 0; j < n; ++j) residual += full[i * n + j] * x[j];
      worst = std::max(worst, std::abs(residual));
    }
    // Backward stable: |residual| <= c n eps (|L| |Lᵀ| |x|), whose entries are at most n + 1 times n, |x| <= sqrt(n).
    CHECK(worst <= 4e-16 * static_cast<double>(n + 1) * static_cast<double>(n) * std::sqrt(static_cast<double>(n)));
    std::vector<double> padded(n + qwha::detail::factor_panel);
    std::copy(b.begin(), b.end(), padded.begin());
    double form = 0, magnitude = 0;
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = 0; j < n; ++j) {
        form += b[i] * full[i * n + j] * b[j];
        magnitude += std::abs(b[i] * full[i * n + j] * b[j]);
      }
    CHECK(std::abs(a.quadratic(padded.data()) - form) <= 2e-16 * 2 * static_cast<double>(n) * magnitude);
    if (n == 1) continue;
    for (std::size_t j = 0; j < n; ++j)  // rank one
      for (std::size_t i = j; i < n; ++i) a.column(j)[i] = v[i] * v[j];
    CHECK_FALSE(factor.factorise(a, 0.0));
  }
}

TEST_CASE("a matrix is transposed in place, whatever its order and stride") {
  for (const std::size_t n : {1u, 2u, 3u, 7u, 8u, 9u, 31u, 32u, 33u, 40u, 63u, 64u, 65u, 100u})
    for (const std::size_t stride : {n, n + 3})
      for (const qwha::executor& where : {qwha::executor::serial(), qwha::test::three_threads()}) {
        std::vector<double> x(n * stride, -1);
        for (std::size_t i = 0; i < n; ++i)
          for (std::size_t j = 0; j < n; ++j) x[i * stride + j] = static_cast<double>(i * n + j);
        qwha::detail::transpose_in_place(qwha::rows_view<double>(x.data(), n, n, stride), where);
        std::size_t wrong = 0;
        for (std::size_t i = 0; i < n; ++i)
          for (std::size_t j = 0; j < stride; ++j)
            wrong += x[i * stride + j] != (j < n ? static_cast<double>(j * n + i) : -1) ? 1 : 0;
        INFO("n " << n << ", stride " << stride);
        CHECK(wrong == 0);
      }
}

TEST_CASE("the spectral moment is T S Tᵀ, beside its moment and in its memory") {
  for (const std::size_t n : {2u, 8u, 12u, 24u, 48u, 64u, 96u}) {
    INFO("n " << n);
    const oracle::layer l = oracle::make_layer(n, 2, n, 3 * n);
    qwha::second_moment s = l.moment();
    oracle::matrix half(n * n), g(n * n);
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = 0; j < n; ++j)
        for (std::size_t k = 0; k < n; ++k) half[i * n + j] += l.t[i * n + k] * s.values()(k, j);
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = 0; j < n; ++j)
        for (std::size_t k = 0; k < n; ++k) g[i * n + j] += half[i * n + k] * l.t[j * n + k];
    // Two transforms of log2(n) roundings and the oracle's sums of n terms, against the largest eigenvalue.
    const double trace = s.mean_diagonal() * static_cast<double>(n);
    const double tolerance = 2.3e-16 * 4 * static_cast<double>(n) * trace;
    const qwha::spectral_moment<> beside(s, qwha::test::three_threads());
    const qwha::spectral_moment<> inside(std::move(s));
    double worst = 0;
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = 0; j < n; ++j) worst = std::max(worst, std::abs(beside.values()(i, j) - g[i * n + j]));
    CHECK(worst <= tolerance);
    CHECK(std::memcmp(beside.values().data, inside.values().data, n * n * sizeof(double)) == 0);
  }
}

TEST_CASE("the same bits for any executor, and for a shared problem") {
  const oracle::layer l = oracle::make_layer(8, 300, 192, 260);  // two slabs of rows, two tiles of columns
  const qwha::second_moment s = l.moment();
  const qwha::spectral_moment<> moment(s);
  const qwha::spectral_problem<> problem(l.weight(), l.base, moment);
  for (const selection how : {selection::magnitude, selection::pursuit}) {
    const fit_options o = options(8 * 492, how);
    const auto a = qwha::initialize(l.weight(), l.base, s, o);
    const auto b = qwha::initialize(l.weight(), l.base, s, o, qwha::executor::serial());
    const auto c = qwha::initialize(l.weight(), l.base, s, o, qwha::test::backwards());
    const auto d = qwha::initialize(l.weight(), l.base, s, o, qwha::test::three_threads());
    const auto e = qwha::fit(problem, o);
    for (const auto* other : {&b, &c, &d, &e}) {
      CHECK(std::ranges::equal(a.spectrum.columns(), other->spectrum.columns()));
      CHECK(std::memcmp(a.spectrum.values().data(), other->spectrum.values().data(), a.spectrum.size() * 4) == 0);
      CHECK(a.error_after == other->error_after);
    }
  }
  std::vector<float> dense(l.out * l.in);
  l.base.dequantize(qwha::rows_view<float>(dense.data(), l.out, l.in));
  const qwha::spectral_problem<> from_dense(l.weight(), qwha::rows_view<const float>(dense.data(), l.out, l.in),
                                            moment);
  CHECK(std::memcmp(problem.products().data, from_dense.products().data, l.out * l.in * sizeof(double)) == 0);
}

TEST_CASE("a budget of every coefficient leaves no error") {
  const oracle::layer l = oracle::make_layer(9, 5, 24, 100);
  for (const selection how : all_selections) {
    const auto r = qwha::initialize<double>(l.weight(), l.base, l.moment(), options(5 * 24, how, 0));
    CHECK(r.spectrum.size() == 5 * 24);
    CHECK(r.error_after <= 1e-6 * r.error_before);  // sqrt of the rounding of a difference of squares
  }
}

TEST_CASE("activations that are all zero, and weights without error, give finite answers") {
  oracle::layer l = oracle::make_layer(10, 6, 16, 40);
  qwha::second_moment silent(l.in);
  const std::vector<float> zeros(4 * l.in, 0.0f);
  silent.accumulate({zeros.data(), 4, l.in});
  std::vector<float> exact(l.out * l.in);
  l.base.dequantize(qwha::rows_view<float>(exact.data(), l.out, l.in));
  for (const selection how : all_selections) {
    const auto r = qwha::initialize(l.weight(), l.base, silent, options(20, how));
    CHECK(r.error_before == 0);
    CHECK(r.error_after == 0);
    CHECK(r.spectrum.size() == 20);
    const auto q = qwha::initialize({exact.data(), l.out, l.in}, l.base, l.moment(), options(20, how));
    CHECK(q.error_before == 0);
    CHECK(q.error_after == 0);
    CHECK(std::ranges::all_of(q.spectrum.values(), [](float v) { return v == 0; }));
  }
}

TEST_CASE("layer_error is the norm of what reaches the output") {
  const oracle::layer l = oracle::make_layer(11, 70, 192, 40);
  std::vector<float> dense(l.out * l.in);
  l.base.dequantize(qwha::rows_view<float>(dense.data(), l.out, l.in));
  double expected = 0;
  for (std::size_t i = 0; i < l.out; ++i) expected += oracle::squared_error<double>(l, i, {}, {}, l.x);
  const double found = qwha::layer_error(l.weight(), {dense.data(), l.out, l.in}, l.moment());
  CHECK(found == Approx(std::sqrt(expected)).epsilon(1e-10));
  CHECK(found == qwha::layer_error(l.weight(), {dense.data(), l.out, l.in}, l.moment(), qwha::test::backwards()));
  CHECK_THROWS_AS(qwha::layer_error(l.weight(), {dense.data(), l.out - 1, l.in}, l.moment()), qwha::shape_error);
  dense[5] = std::numeric_limits<float>::quiet_NaN();
  CHECK_THROWS_AS(qwha::layer_error(l.weight(), {dense.data(), l.out, l.in}, l.moment()), qwha::value_error);
}

TEST_CASE("options are those of the documents") {
  const fit_options ours{.parameters = 5};
  CHECK(ours.temperature == 1);
  CHECK(ours.selection == selection::pursuit);
  CHECK(ours.refine);
  CHECK(ours.damping == 1e-4);
  CHECK(ours.seed == 0);
  const fit_options paper = qwha::paper_fit_options(5), held_out = qwha::held_out_fit_options(5);
  CHECK(paper.parameters == 5);
  CHECK(paper.temperature == 1);
  CHECK(paper.selection == selection::magnitude);
  CHECK(paper.refine);
  CHECK(paper.damping == 1e-4);
  CHECK(held_out.temperature == 2);
  CHECK(held_out.selection == selection::pursuit);
  CHECK(held_out.damping == 0.1);
}

TEST_CASE("bad input is refused where it enters, with its name") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  oracle::layer l = oracle::make_layer(12, 6, 16, 40);
  const qwha::second_moment s = l.moment();
  const auto refusal = [&](fit_options o) {
    return message_of<qwha::value_error>([&] { (void)qwha::initialize(l.weight(), l.base, s, o); });
  };
  CHECK(mentions(refusal(options(0, selection::pursuit)), "parameters = 0"));
  CHECK(mentions(refusal(options(97, selection::pursuit)), "parameters = 97"));
  CHECK(mentions(refusal(options(9, selection::pursuit, -1)), "damping"));
  CHECK(mentions(refusal(options(9, selection::pursuit, nan)), "damping"));
  fit_options hot = options(9, selection::magnitude);
  hot.temperature = nan;
  CHECK(mentions(refusal(hot), "temperature"));
  CHECK(mentions(message_of<qwha::value_error>([&] {
                   (void)qwha::initialize(l.weight(), l.base, qwha::second_moment(16), options(9, selection::energy));
                 }),
                 "no tokens"));
  CHECK(mentions(message_of<qwha::shape_error>(
                     [&] { (void)qwha::initialize({l.w.data(), 5, 16}, l.base, s, options(9, selection::energy)); }),
                 "[5, 16]"));
  qwha::second_moment wide(32);
  const std::vector<float> x(32, 1.0f);
  wide.accumulate({x.data(), 1, 32});
  CHECK(mentions(message_of<qwha::shape_error>(
                     [&] { (void)qwha::initialize(l.weight(), l.base, wide, options(9, selection::energy)); }),
                 "in = 32"));
  l.w[3 * 16 + 2] = std::numeric_limits<float>::infinity();
  CHECK(mentions(refusal(options(9, selection::magnitude)), "row 3"));

  const std::vector<float> w(2 * 7, 1.0f);
  const auto base = qwha::quantize<qwha::affine<2, 16>>(qwha::rows_view<const float>(w.data(), 2, 7));
  qwha::second_moment odd(7);
  odd.accumulate({w.data(), 2, 7});
  CHECK_THROWS_AS(qwha::initialize({w.data(), 2, 7}, base, odd, options(3, selection::energy)),
                  qwha::unsupported_order);

  // Weights so large that the coefficients leave the range of half.
  oracle::layer large = oracle::make_layer(12, 6, 16, 40);
  for (float& v : large.w) v *= 1e9f;
  CHECK(mentions(message_of<qwha::value_error>([&] {
                   (void)qwha::initialize<qwha::half>(large.weight(), large.base, s, options(9, selection::magnitude));
                 }),
                 "outside the range"));
}
