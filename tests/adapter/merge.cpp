// SPDX-License-Identifier: MIT
// Dense forms: delta, merge, and unmerge bit for bit.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "catch.hpp"
#include "oracle.hpp"

#include <qwha/adapter/merge.hpp>
#include <qwha/adapter/sparse_spectral_adapter.hpp>
#include <qwha/base/aligned_buffer.hpp>
#include <qwha/quant/affine.hpp>
#include <qwha/quant/quantize.hpp>

using base_format = qwha::affine<3, 64>;

TEMPLATE_TEST_CASE("delta is F T, and merge is WQ + F T", "[adapter]", float, double, qwha::half, qwha::bfloat16) {
  for (const std::size_t in : {64, 80, 96, 112, 640}) {
    const std::size_t out = 41;
    INFO("in " << in);
    const oracle::strided w(out, in, 0, 3);
    const auto base = qwha::quantize<base_format>(w.view());
    const qwha::sparse_spectral_adapter<TestType, base_format> adapter(
        base, oracle::random_spectrum<TestType>(out, in, 8, in));
    oracle::strided delta(out, in, 3), merged(out, in, 2), plain(out, in, 0);
    adapter.delta(delta.view());
    const oracle::matrix exact = oracle::delta(adapter.spectrum(), oracle::transform(in));
    const double eps = std::numeric_limits<float>::epsilon();
    for (std::size_t r = 0; r < out; ++r) {  // a transform errs by levels · eps of the row's norm; one rounding of F
      double norm = 0;
      for (std::size_t c = 0; c < in; ++c) norm += exact(r, c) * exact(r, c);
      const double bound = eps * (std::log2(static_cast<double>(in)) + 12 + 2) * std::sqrt(norm);
      for (std::size_t c = 0; c < in; ++c)
        CHECK(std::fabs(static_cast<double>(delta.view()(r, c)) - exact(r, c)) <= bound);
      std::vector<float> row(in);
      adapter.delta_row(r, row);
      CHECK(oracle::same_bits(qwha::rows_view<const float>(row.data(), 1, in), delta.view().rows_from(r, 1)));
    }
    adapter.merge(merged.view());
    base.dequantize(plain.view());
    for (std::size_t r = 0; r < out; ++r)
      for (std::size_t c = 0; c < in; ++c) CHECK(merged.view()(r, c) == plain.view()(r, c) + delta.view()(r, c));

    CHECK_THROWS_AS(adapter.delta(merged.view().rows_from(0, out - 1)), qwha::shape_error);
    CHECK_THROWS_AS(adapter.merge(qwha::rows_view<float>(merged.view().data, out, in - 1, in)), qwha::shape_error);
    std::vector<float> row(in);
    CHECK_THROWS_AS(adapter.delta_row(out, row), qwha::shape_error);
  }
}

TEST_CASE("a delta larger than the caches is its rows", "[adapter]") {
  for (const std::size_t in : {std::size_t{4096}, std::size_t{1280}}) {
    const std::size_t out = (std::size_t{1} << 21) / in + 3;
    qwha::quantized_matrix<base_format> base(out, in);
    const qwha::sparse_spectral_adapter<float, base_format> adapter(base,
                                                                    oracle::random_spectrum<float>(out, in, 30, in));
    qwha::aligned_buffer<float> memory(out * in + 16);
    std::vector<float> row(in);
    oracle::team team(3);
    for (const std::size_t shift : {std::size_t{0}, std::size_t{1}}) {  // whole lines of memory, and not
      std::fill_n(memory.data(), memory.size(), 7.0f);
      const qwha::rows_view<float> delta(memory.data() + shift, out, in);
      adapter.delta(delta, team.executor());
      bool same = true;
      for (std::size_t r = 0; r < out; ++r) {
        adapter.delta_row(r, row);
        same &= std::equal(row.begin(), row.end(), delta.row(r));
      }
      CHECK(same);
      CHECK(memory.data()[shift + out * in] == 7);
    }
  }
}

TEST_CASE("unmerge restores a float base bit for bit", "[adapter]") {
  const std::size_t out = 90, in = 160;
  oracle::strided w(out, in, 4, 17);
  // Weights that a difference cannot restore: far below and far above the delta, zeros of both signs, subnormals.
  for (std::size_t r = 0; r < out; ++r)
    for (std::size_t c = 0; c < in; c += 3)
      w.view()(r, c) = std::ldexp(w.view()(r, c), static_cast<int>((r * in + c) % 120) - 60);
  w.view()(0, 0) = 0.0f;
  w.view()(0, 1) = -0.0f;
  w.view()(1, 0) = -std::numeric_limits<float>::denorm_min();
  w.view()(1, 1) = 3 * std::numeric_limits<float>::denorm_min();
  const std::vector<float> original = w.memory;
  const auto bits = [](const std::vector<float>& v) {
    std::vector<std::uint32_t> b;
    for (const float f : v) b.push_back(std::bit_cast<std::uint32_t>(f));
    return b;
  };
  const auto f = oracle::random_spectrum<float>(out, in, 30, 17);
  const qwha::merge_record record = qwha::merge(w.view(), f);
  oracle::matrix before(out, in);
  for (std::size_t r = 0; r < out; ++r)
    for (std::size_t c = 0; c < in; ++c) before(r, c) = static_cast<double>(original[1 + r * w.stride + c]);
  const oracle::matrix exact = oracle::sum(oracle::delta(f, oracle::transform(in)), before);
  for (std::size_t r = 0; r < out; ++r)
    for (std::size_t c = 0; c < in; ++c)
      CHECK(std::fabs(static_cast<double>(w.view()(r, c)) - exact(r, c)) <= 1e-6 * (std::fabs(before(r, c)) + 1));
  CHECK(bits(w.memory) != bits(original));

  SECTION("on any executor") {
    oracle::team team(3);
    qwha::unmerge(w.view(), f, record, team.executor());
    CHECK(bits(w.memory) == bits(original));
  }
  SECTION("and again after a second round") {
    qwha::unmerge(w.view(), f, record);
    const auto second = qwha::merge(w.view(), f, qwha::executor::serial());
    CHECK(second.merged == record.merged);
    qwha::unmerge(w.view(), f, second);
    CHECK(bits(w.memory) == bits(original));
  }
  SECTION("but not from other weights, or with another spectrum") {
    const std::vector<float> merged = w.memory;
    auto trained = f;
    trained.values()[5] += 0.25f;
    CHECK_THROWS_AS(qwha::unmerge(w.view(), trained, record), qwha::value_error);
    CHECK(bits(w.memory) == bits(merged));
    CHECK_THROWS_AS(qwha::unmerge(w.view().rows_from(0, out - 1), f, record), qwha::shape_error);
    w.view()(3, 3) += 1;
    CHECK_THROWS_AS(qwha::unmerge(w.view(), f, record), qwha::value_error);
  }
}

TEST_CASE("the record of ordinary weights is little more than a byte each", "[adapter]") {
  const std::size_t out = 60, in = 256;
  oracle::strided w(out, in, 0, 4);
  auto f = oracle::random_spectrum<float>(out, in, 20, 4);
  for (float& v : f.values()) v *= 0.1f;  // a delta below the weights, as a repair is
  CHECK(static_cast<double>(qwha::merge(w.view(), f).size_bytes()) < 1.1 * static_cast<double>(out * in));
}

TEST_CASE("merge refuses what it could not represent, and leaves the weights alone", "[adapter]") {
  oracle::strided w(20, 64, 0, 2);
  const auto f = oracle::random_spectrum<float>(20, 64, 64, 2);
  CHECK_THROWS_AS(qwha::merge(w.view().rows_from(0, 19), f), qwha::shape_error);
  w.view()(7, 5) = std::numeric_limits<float>::infinity();
  CHECK_THROWS_AS(qwha::merge(w.view(), f), qwha::value_error);
  w.view()(7, 5) = 1;
  auto huge = f;
  for (float& v : huge.values()) v = std::copysign(3e38f, v);
  const std::vector<float> before = w.memory;
  CHECK_THROWS_AS(qwha::merge(w.view(), huge), qwha::value_error);
  CHECK(oracle::same_bits(w.view(), qwha::rows_view<const float>(before.data() + 1, 20, 64)));
}
