// SPDX-License-Identifier: MIT
// y = F x̂ through tiles against its definition, for patterns that fill tiles unevenly; and adapters whose coefficients
// are written after they were arranged.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "catch.hpp"
#include "oracle.hpp"

#include <qwha/adapter/sparse_spectral_adapter.hpp>
#include <qwha/adapter/spectrum_tiles.hpp>
#include <qwha/quant/affine.hpp>
#include <qwha/quant/quantize.hpp>

#if QWHA_HAS_AVX512VBMI

namespace {

enum class pattern { scattered, one_full_row, one_full_column, every_third_row, nothing };

template <class T>
qwha::sparse_spectrum<T> patterned(std::size_t rows, std::size_t cols, pattern which) {
  const qwha::counter_random random(rows * 7 + cols);
  std::vector<qwha::spectrum_entry<T>> entries;
  const auto value = [&] { return T(static_cast<float>(random.uniform(entries.size()) - 0.5)); };
  const std::size_t full_row = rows / 2, step = cols > 5000 ? 501 : 1;
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t c = r % step; c < cols; c += step) {
      const bool drawn = random.uniform(std::size_t{1} << 32 | (r * cols + c)) < (r % 5 == 0 ? 0.2 : 0.03);
      const bool taken = which == pattern::scattered         ? drawn
                         : which == pattern::one_full_row    ? r == full_row
                         : which == pattern::one_full_column ? c == r % step + (cols - 1 - r % step) / step * step
                         : which == pattern::every_third_row ? r % 3 == 1 && drawn
                                                             : false;
      if (taken) entries.push_back({r, c, value()});
    }
  return qwha::spectrum_from_entries(rows, cols, std::move(entries));
}

}  // namespace

TEMPLATE_TEST_CASE("a product by tiles is the definition", "[adapter]", float, double, qwha::half, qwha::bfloat16) {
  using tiles = qwha::detail::spectrum_tiles<TestType>;
  for (const auto& [rows, cols] : std::vector<std::pair<std::size_t, std::size_t>>{
           {1, 1}, {1, 64}, {127, 96}, {128, 128}, {130, 129}, {300, 700}, {40, 140000}})
    for (const pattern which : {pattern::scattered, pattern::one_full_row, pattern::one_full_column,
                                pattern::every_third_row, pattern::nothing}) {
      INFO(rows << " x " << cols << ", pattern " << static_cast<int>(which));
      const auto f = patterned<TestType>(rows, cols, which);
      const tiles t(f);
      CHECK(t.empty() == (f.size() == 0));
      const oracle::strided x(1, cols, 0, 3);
      std::vector<float> planes(t.floats()), sums(tiles::side);
      t.split(x.view().data, cols, planes.data());
      for (std::size_t r = 0; r < rows; ++r) {
        if (r % tiles::side == 0) t.multiply(r / tiles::side, planes.data(), sums.data());
        double exact = 0, magnitude = 0;
        for (std::size_t k = f.offsets()[r]; k < f.offsets()[r + 1]; ++k) {
          const double product = static_cast<double>(f.values()[k]) * static_cast<double>(x.view()(0, f.columns()[k]));
          exact += product;
          magnitude += std::fabs(product);
        }
        const double count = static_cast<double>(f.offsets()[r + 1] - f.offsets()[r]);
        const double bound = std::numeric_limits<float>::epsilon() * (2 * std::sqrt(count) + 4) * magnitude;
        REQUIRE(std::fabs(static_cast<double>(sums[r % tiles::side]) - exact) <= bound);
      }
    }
}

#endif

TEST_CASE("coefficients written after construction count at once, and never in what was packed before", "[adapter]") {
  using format = qwha::affine<4, 64>;
  const std::size_t out = 150, in = 192;
  const oracle::strided w(out, in, 0, 3);
  const auto base = qwha::quantize<format>(w.view());
  using adapter_type = qwha::sparse_spectral_adapter<float, format>;
  adapter_type trained(base, oracle::random_spectrum<float>(out, in, 9, 4));
  const oracle::matrix t = oracle::transform(in), wq = oracle::dense(base);
  const auto check = [&](const adapter_type& adapter) {
    for (const std::size_t tokens : {1, 2, 8, 16, 17}) {
      INFO(tokens << " tokens");
      const oracle::strided x(tokens, in, 1, 5);
      oracle::strided y(tokens, out, 2);
      REQUIRE(adapter.forward(x.view(), y.view(), {.path = qwha::adapter_path::activations}) == qwha::status::ok);
      const oracle::matrix exact =
          oracle::product_transposed(oracle::dense(x.view()), oracle::sum(oracle::delta(adapter.spectrum(), t), wq));
      CHECK(oracle::first_difference(y.view(), exact,
                                     oracle::forward_bound(oracle::dense(x.view()), wq, adapter.spectrum())) == "");
    }
  };
  const auto one_token = [&](const adapter_type& adapter) {
    const oracle::strided x(1, in, 0, 6);
    std::vector<float> y(out);
    REQUIRE(adapter.forward(x.view(), {y.data(), 1, out}) == qwha::status::ok);
    return y;
  };
  check(trained);
  const std::span<float> values = trained.values();
  for (float& c : values) c = 3 * c + 0.25f;
  check(trained);

  adapter_type served = trained.packed();
  check(served);
  const std::vector<float> before = one_token(served), coefficients(values.begin(), values.end());
  for (float& c : values) c = -c;  // a span from before packed()
  check(trained);
  CHECK(one_token(served) == before);
  CHECK(std::ranges::equal(served.spectrum().values(), coefficients));

  for (float& c : served.values()) c *= 2;
  check(served);
  check(trained);
  check(adapter_type(served));
}
