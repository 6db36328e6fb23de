// SPDX-License-Identifier: MIT
// The transform against everybody else's, in one process: one row and a batch in the first-level cache, a batch larger
// than every cache against scaling it in place, 16-bit types, orders m · 2^k, two threads. What a contestant computes
// is compared with ours before it is timed.
//
// Peers work in place on zeros: transforms that are not scaled would overflow after a few calls, and the time of
// additions and multiplications does not depend on their operands as long as these are not subnormal. That of rounding
// to bfloat16 does: the 16-bit types, which only our own scaled transforms compete in, have random numbers.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <sstream>
#include <string>
#include <vector>

#include <qwha/base/aligned_buffer.hpp>
#include <qwha/base/random.hpp>
#include <qwha/transform/order.hpp>

#include "entrants.hpp"

namespace bench {

std::vector<peer>& peers() {
  static std::vector<peer> all;
  return all;
}

std::vector<variant>& variants() {
  static std::vector<variant> all;
  return all;
}

}  // namespace bench

namespace {

using bench::contest;

constexpr std::size_t large_bytes = std::size_t{1} << 28;
constexpr std::size_t small_bytes = std::size_t{1} << 14;
constexpr std::size_t shortest = 64, longest = 65536;
constexpr std::size_t model_orders[] = {640, 768, 896, 1536, 2560, 3072, 3584, 5120, 6144, 7168, 11008, 14336, 18944};

/// The memory that every contestant works on, as any type: one block for all contests, so that a row lies at the same
/// address in each of them, and with it what it shares cache sets with.
class arena {
 public:
  /// @pre count * sizeof(T) <= large_bytes
  template <class T>
  T* zeros(std::size_t count) {
    std::fill_n(memory_.data(), (count * sizeof(T) + sizeof(double) - 1) / sizeof(double), 0.0);
    return reinterpret_cast<T*>(memory_.data());
  }

  /// Uniform in (-1, 1).
  template <class T>
  T* numbers(std::size_t count) {
    T* const x = reinterpret_cast<T*>(memory_.data());
    const qwha::counter_random random(count);
    for (std::size_t i = 0; i < count; ++i) x[i] = T(static_cast<float>(2 * random.uniform(i) - 1));
    return x;
  }

 private:
  qwha::aligned_buffer<double> memory_{large_bytes / sizeof(double)};
};

/// The definition: entry (i, j) of the Sylvester matrix is the parity of the bits that i and j share.
std::vector<double> walsh_hadamard(const std::vector<double>& x, std::size_t rows_wanted) {
  std::vector<double> y(rows_wanted);
  for (std::size_t i = 0; i < rows_wanted; ++i)
    for (std::size_t j = 0; j < x.size(); ++j) y[i] += std::popcount(i & j) % 2 == 0 ? x[j] : -x[j];
  return y;
}

template <class T>
bench::entry<T> entry_of(const bench::peer& p) {
  if constexpr (sizeof(T) == sizeof(float))
    return p.floats;
  else
    return p.doubles;
}

/// Whether the last of `c` turns x into what it says, as far as its first entries tell.
template <class T>
bool keeps_its_word(contest& c, bench::result gives, T* x, std::size_t n) {
  if (gives == bench::result::other) return true;
  const bool any_sign = gives == bench::result::hadamard_up_to_signs;
  const qwha::counter_random random(n);
  std::vector<double> in(n);
  for (std::size_t i = 0; i < n; ++i) x[i] = static_cast<T>(in[i] = static_cast<float>(random.uniform(i) - 0.5));
  c.contestants.back().seconds(1);
  const std::vector<double> h = walsh_hadamard(in, std::min<std::size_t>(n, 40));
  const auto close = [&](double scale) {
    for (std::size_t i = 0; i < h.size(); ++i) {
      const double y = static_cast<double>(x[i]), expected = scale * h[i];
      const double error = any_sign ? std::abs(y) - std::abs(expected) : y - expected;
      if (!(std::abs(error) < 1e-4 * scale * std::sqrt(static_cast<double>(n)))) return false;
    }
    return true;
  };
  return close(1) || close(1 / std::sqrt(static_cast<double>(n)));
}

class contests {
 public:
  explicit contests(bench::session& s) : session_(s) {}

  /// Everybody, on rows that stay in the first-level cache.
  template <class T>
  void in_cache(const std::string& type) {
    for (std::size_t n = shortest; n <= longest; n *= 2) everybody<T>(type + ", one row in cache", n, 1);
    for (std::size_t n = shortest; n * sizeof(T) < small_bytes; n *= 2)
      everybody<T>(type + ", 16 KiB of rows", n, small_bytes / sizeof(T) / n);
  }

  template <class T>
  void out_of_cache(const std::string& type) {
    const std::string name = type + ", 256 MiB of rows";
    for (std::size_t n = shortest; n <= longest; n *= 2) large<T>(name, n);
  }

  void sixteen_bits() {
    arena halves, bfloats;
    const auto against_float = [&](const std::string& name, std::size_t n, std::size_t rows, double seconds) {
      if (!session_.wanted(name)) return;
      contest c{.name = name, .parameter = "N", .value = static_cast<double>(n), .reference = "float"};
      c.seconds = seconds;
      const bench::variant& v = bench::variants().front();
      const auto serial = qwha::executor::serial();
      v.floats(c, "float", memory_.numbers<float>(rows * n), rows, n, serial);
      v.halves(c, "half", halves.numbers<qwha::half>(rows * n), rows, n, serial);
      v.bfloats(c, "bfloat16", bfloats.numbers<qwha::bfloat16>(rows * n), rows, n, serial);
      session_.run(c);
    };
    for (std::size_t n = shortest; n <= longest; n *= 2) against_float("16-bit types, one row in cache", n, 1, 0);
    for (std::size_t n = shortest; n <= longest; n *= 4)
      against_float("16-bit types, 64 Mi elements", n, (std::size_t{1} << 26) / n, 0.5);
  }

  /// Time per element against the nearest power of two.
  void orders() {
    for (const std::size_t n : model_orders) {
      const std::size_t below = std::bit_floor(n), above = 2 * below;
      against_power(n, n * n < below * above ? below : above);
    }
  }

  void threads() {
    const auto contest_of = [&](const std::string& name, std::size_t n, std::size_t rows) {
      if (!session_.wanted(name)) return;
      contest c{.name = name, .parameter = "N", .value = static_cast<double>(n), .reference = "all threads"};
      const bench::variant& v = bench::variants().front();
      float* x = memory_.zeros<float>(rows * n);
      v.floats(c, "one thread", x, rows, n, qwha::executor::serial());
      v.floats(c, "all threads", x, rows, n, qwha::default_executor());
      c.seconds = 0.5;
      session_.run(c);
    };
    for (const std::size_t n : {256u, 4096u, 14336u, 65536u}) {
      contest_of("threads, 1 MiB of rows", n, std::max<std::size_t>(1, (std::size_t{1} << 18) / n));
      contest_of("threads, 256 MiB of rows", n, (std::size_t{1} << 26) / n);
    }
    for (const std::size_t n : {65536u, 262144u, 1048576u}) contest_of("threads, one row", n, 1);
  }

 private:
  template <class T>
  contest start(const std::string& name, std::size_t n) {
    return {.name = name, .parameter = "N", .value = static_cast<double>(n), .bandwidth = "x *= c"};
  }

  template <class T>
  void enter_ours(contest& c, T* x, std::size_t rows, std::size_t n) {
    for (const bench::variant& v : bench::variants())
      if constexpr (sizeof(T) == sizeof(float))
        v.floats(c, v.name, x, rows, n, qwha::executor::serial());
      else
        v.doubles(c, v.name, x, rows, n, qwha::executor::serial());
  }

  template <class T>
  void everybody(const std::string& name, std::size_t n, std::size_t rows) {
    if (!session_.wanted(name)) return;
    contest c = start<T>(name, n);
    T* x = memory_.zeros<T>(rows * n);
    enter_ours(c, x, rows, n);
    for (const bench::peer& p : bench::peers()) {
      const std::size_t before = c.contestants.size();
      if (rows > 1 && p.takes_part == bench::scope::one_row) continue;
      if (const auto enter = entry_of<T>(p)) enter(c, x, rows, n);
      if (c.contestants.size() > before && !keeps_its_word(c, p.gives, x, n)) {
        std::ostringstream sentence;
        sentence << p.name << " does not compute the Walsh-Hadamard transform of order " << n << ": left out";
        session_.note(sentence.str());
        c.contestants.pop_back();
      }
    }
    memory_.zeros<T>(rows * n);
    session_.run(c);
  }

  template <class T>
  void large(const std::string& name, std::size_t n) {
    if (!session_.wanted(name)) return;
    contest c = start<T>(name, n);
    const std::size_t rows = large_bytes / sizeof(T) / n;
    T* x = memory_.zeros<T>(rows * n);
    enter_ours(c, x, rows, n);
    for (const bench::peer& p : bench::peers())
      if (const auto enter = entry_of<T>(p); enter && p.takes_part == bench::scope::everywhere) enter(c, x, rows, n);
    c.seconds = 1;
    c.least_rounds = 7;
    session_.run(c);
  }

  void against_power(std::size_t n, std::size_t power) {
    const std::string in_cache = "float, m 2^k, one row in cache", large = "float, m 2^k, 256 MiB of rows";
    for (const bool is_large : {false, true}) {
      if (!session_.wanted(is_large ? large : in_cache)) continue;
      contest c{.name = is_large ? large : in_cache,
                .parameter = "N",
                .value = static_cast<double>(n),
                .reference = "nearest power of two",
                .bandwidth = is_large ? "x *= c" : ""};
      if (is_large) c.seconds = 0.5;
      const bench::variant& v = bench::variants().front();
      const auto rows_of = [&](std::size_t order) { return is_large ? large_bytes / sizeof(float) / order : 1; };
      float* x = memory_.zeros<float>(std::max(rows_of(n) * n, rows_of(power) * power));
      for (const std::size_t order : {n, power}) {
        v.floats(c, order == n ? "m 2^k" : c.reference, x, rows_of(order), order, qwha::executor::serial());
        c.contestants.back().items = static_cast<double>(rows_of(order) * order);
      }
      for (const bench::peer& p : bench::peers())
        if (p.name == c.bandwidth) {
          p.floats(c, x, rows_of(n), n);
          c.contestants.back().items = static_cast<double>(rows_of(n) * n);
        }
      session_.run(c);
    }
  }

  bench::session& session_;
  arena memory_;
};

}  // namespace

int main(int argc, char** argv) {
  bench::session session("transform", argc, argv);
  std::istringstream absent(QWHA_BENCH_ABSENT);
  for (std::string sentence; std::getline(absent, sentence, '|');) session.note(sentence);
  // Registered in the linker's order. The variant for this machine is the one that the others are measured against.
  std::ranges::sort(bench::variants(), {}, &bench::variant::name);
  contests all(session);
  all.in_cache<float>("float");
  all.in_cache<double>("double");
  all.out_of_cache<float>("float");
  all.sixteen_bits();
  all.orders();
  all.threads();
  return session.finish();
}
