// SPDX-License-Identifier: MIT
// Second moments: sums against the definition in double, the same bits for any executor, merging, files, refusals.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include <qwha/base/error.hpp>
#include <qwha/base/random.hpp>
#include <qwha/fit/second_moment.hpp>
#include <qwha/fit/second_moment_file.hpp>

#include "catch.hpp"
#include "executors.hpp"
#include "expect.hpp"

namespace {

using qwha::rows_view;
using qwha::second_moment;
using qwha::test::mentions;
using qwha::test::message_of;

constexpr std::uint64_t seed = 7;

/// Activations with unlike channels: scales from 1 to 100.
std::vector<float> activations(std::size_t tokens, std::size_t in, std::size_t stride) {
  std::vector<float> x(tokens * stride, std::numeric_limits<float>::quiet_NaN());
  const qwha::counter_random random(seed);
  for (std::size_t t = 0; t < tokens; ++t)
    for (std::size_t j = 0; j < in; ++j)
      x[t * stride + j] = static_cast<float>((random.uniform(t * in + j) - 0.4) * (1.0 + 99.0 * (j % 7 == 3)));
  return x;
}

std::vector<double> by_definition(rows_view<const float> x) {
  std::vector<double> s(x.cols * x.cols, 0.0);
  for (std::size_t t = 0; t < x.rows; ++t)
    for (std::size_t i = 0; i < x.cols; ++i)
      for (std::size_t j = 0; j < x.cols; ++j)
        s[i * x.cols + j] += static_cast<double>(x(t, i)) * static_cast<double>(x(t, j));
  return s;
}

bool same_bits(const second_moment& a, const second_moment& b) {
  return a.in() == b.in() && a.tokens() == b.tokens() &&
         std::memcmp(a.values().data, b.values().data, a.in() * a.in() * sizeof(double)) == 0;
}

struct temporary_file {
  std::filesystem::path path =
      std::filesystem::temp_directory_path() /
      ("qwha_second_moment_" + std::to_string(std::hash<std::thread::id>{}(std::this_thread::get_id())) + ".bin");
  ~temporary_file() { std::filesystem::remove(path); }
};

std::string bytes_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}
void write_bytes(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

}  // namespace

TEST_CASE("second_moment is X Xᵀ") {
  INFO("seed " << seed);
  struct shape {
    std::size_t tokens, in, stride;
  };
  for (const auto [tokens, in, stride] :
       {shape{1, 1, 1}, shape{5, 3, 4}, shape{300, 129, 140}, shape{520, 300, 300}, shape{30, 577, 577}}) {
    INFO("tokens " << tokens << ", in " << in);
    const std::vector<float> data = activations(tokens, in, stride);
    const rows_view<const float> x(data.data(), tokens, in, stride);
    second_moment s(in);
    s.accumulate(x);
    CHECK(s.tokens() == tokens);
    CHECK(s.in() == in);
    const std::vector<double> expected = by_definition(x);
    double worst = 0;
    bool symmetric = true;
    for (std::size_t i = 0; i < in; ++i)
      for (std::size_t j = 0; j < in; ++j) {
        const double scale = std::sqrt(expected[i * in + i] * expected[j * in + j]);
        worst = std::max(worst, std::abs(s.values()(i, j) - expected[i * in + j]) / scale);
        symmetric &= s.values()(i, j) == s.values()(j, i);
      }
    CHECK(worst <= 256 * 0x1p-24);  // the documented bound; Cauchy-Schwarz bounds the sum of magnitudes by `scale`
    CHECK(symmetric);
  }
}

TEST_CASE("second_moment has the same bits for any executor") {
  const std::size_t tokens = 600, in = 600;  // two tiles of S a side
  const std::vector<float> data = activations(tokens, in, in);
  const rows_view<const float> x(data.data(), tokens, in);
  second_moment a(in);
  a.accumulate(x);
  for (const qwha::executor& where : {qwha::executor::serial(), qwha::test::backwards(), qwha::test::three_threads()}) {
    second_moment b(in);
    b.accumulate(x, where);
    CHECK(same_bits(a, b));
  }
}

TEST_CASE("second_moment merges and copies") {
  const std::size_t in = 40;
  const std::vector<float> data = activations(512, in, in);
  const rows_view<const float> x(data.data(), 512, in);
  second_moment whole(in), first(in), second(in);
  whole.accumulate(x);
  first.accumulate(x.rows_from(0, 256));
  second.accumulate(x.rows_from(256, 256));
  const second_moment kept = first;
  first.merge(second);
  CHECK(same_bits(whole, first));  // runs of 256 tokens are summed in double either way
  CHECK(kept.tokens() == 256);
  CHECK_FALSE(same_bits(kept, first));
  CHECK(mentions(message_of<qwha::shape_error>([&] { first.merge(second_moment(41)); }), "41"));
}

TEST_CASE("second_moment refuses bad input and keeps its sums") {
  const std::size_t in = 8;
  std::vector<float> data = activations(4, in, in);
  second_moment s(in);
  s.accumulate({data.data(), 4, in});
  const second_moment before = s;
  const auto refusal = [&](float bad) {
    data[2 * in + 5] = bad;
    return message_of<qwha::value_error>([&] { s.accumulate(rows_view<const float>(data.data(), 4, in)); });
  };
  CHECK(mentions(refusal(std::numeric_limits<float>::quiet_NaN()), "token 2"));
  CHECK(mentions(refusal(-std::numeric_limits<float>::infinity()), "token 2"));
  CHECK(mentions(refusal(3e30f), "1e17"));
  CHECK(same_bits(before, s));
  CHECK(mentions(message_of<qwha::shape_error>([&] { s.accumulate({data.data(), 2, 7}); }), "7 columns"));
  CHECK_THROWS_AS(second_moment(0), qwha::shape_error);
  CHECK_THROWS_AS(second_moment(std::numeric_limits<std::size_t>::max() / 2), qwha::shape_error);
  s.accumulate({data.data(), 0, in});
  CHECK(s.tokens() == 4);
}

TEST_CASE("second_moment refuses views without data or with rows that overlap") {
  qwha::second_moment s(4);
  const std::vector<float> x(8);
  CHECK_THROWS_AS(s.accumulate(qwha::rows_view<const float>(nullptr, 2, 4)), qwha::shape_error);
  CHECK_THROWS_AS(s.accumulate(qwha::rows_view<const float>(x.data(), 2, 4, 3)), qwha::shape_error);
  CHECK_THROWS_AS(qwha::second_moment(qwha::rows_view<const double>(nullptr, 4, 4), 1), qwha::shape_error);
  CHECK(s.tokens() == 0);
}

TEST_CASE("second_moment takes sums made elsewhere") {
  std::vector<double> values{4, 1, 1, 9};
  const second_moment s(rows_view<const double>(values.data(), 2, 2), 12);
  CHECK(s.tokens() == 12);
  CHECK(s.values()(0, 1) == 1);
  CHECK(s.mean_diagonal() == 6.5);
  const auto refusal = [](std::vector<double> v) {
    return message_of<qwha::value_error>([&] { second_moment(std::move(v), 1); });
  };
  CHECK(mentions(refusal({4, 1, 2, 9}), "row 1 breaks symmetry"));
  CHECK(mentions(refusal({-4, 1, 1, 9}), "row 0 has a negative diagonal"));
  CHECK(mentions(refusal({4, 1, 1, std::numeric_limits<double>::quiet_NaN()}), "row 1 holds NaN"));
  CHECK_THROWS_AS(second_moment(std::vector<double>{1, 2, 3}, 1), qwha::shape_error);
}

TEST_CASE("second_moment survives a file, and damage does not") {
  const std::size_t in = 11;
  const std::vector<float> data = activations(30, in, in);
  second_moment s(in);
  s.accumulate({data.data(), 30, in});
  const temporary_file file;
  qwha::save_second_moment(file.path, s);
  CHECK(same_bits(s, qwha::load_second_moment(file.path)));
  CHECK_FALSE(std::filesystem::exists(file.path.string() + ".part"));

  const std::string good = bytes_of(file.path);
  REQUIRE(good.size() == (4 + 11 * 12 / 2) * 8);
  CHECK(good.substr(0, 8) == "QWHAmom1");
  const auto refused = [&](const std::string& bytes) {
    write_bytes(file.path, bytes);
    return message_of<qwha::format_error>([&] { (void)qwha::load_second_moment(file.path); });
  };
  for (std::size_t byte = 0; byte < good.size(); ++byte) {
    std::string bad = good;
    bad[byte] = static_cast<char>(bad[byte] ^ 0x10);
    INFO("byte " << byte);
    CHECK(mentions(refused(bad), file.path.string()));
  }
  for (const std::size_t length : {std::size_t{0}, std::size_t{7}, std::size_t{24}, good.size() - 8, good.size() - 1})
    CHECK(mentions(refused(good.substr(0, length)), file.path.string()));
  CHECK(mentions(refused(good + '\0'), "length"));
  std::string huge = good;
  huge.replace(8, 8, std::string(8, '\xff'));  // in = 2^64 - 1 asks for no memory
  CHECK(mentions(refused(huge), "length"));
  CHECK_THROWS_AS(qwha::load_second_moment(file.path.string() + ".absent"), qwha::io_error);
  CHECK_THROWS_AS(qwha::save_second_moment(file.path / "below" / "a file", s), qwha::io_error);
}
