// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// The measuring core of the benches: contestants of one contest take turns within one process, so that a machine whose
/// speed drifts slows all of them alike, and what is reported are medians and ratios within a turn.
///
///   int main(int argc, char** argv) {
///     bench::session s("adapter", argc, argv);               // --json FILE, --only TEXT, --long, --quick, --list
///     for (std::size_t tokens : {1, 8, 64}) {
///       bench::contest c{.name = "forward 4096x4096", .parameter = "tokens", .value = double(tokens)};
///       c.reference = "base alone";                          // ratio = time / time of this one, in the same turn
///       c.add("base alone", [&] { base(); });
///       c.add("qwha", [&] { forward(); }, bytes_moved);      // bytes read and written by one call, if known
///       s.run(c);                                            // measures, prints; skips what --only does not name
///     }
///     return s.finish();                                     // writes the JSON file
///   }
///
/// A function runs many times on what its last call left behind: let it do the same work each time, and keep its
/// numbers finite. Slow set-up belongs behind `if (s.wanted(c.name))`. CMake: `qwha_add_bench(name SOURCES … LINK …)`; the
/// target `bench` then runs it and the figures see it. Single kernels that have nobody to be compared with are measured
/// with Google Benchmark (google_benchmark.cpp), which leaves the same rows.

#include <chrono>
#include <cstddef>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace bench {

/// What was written to memory has to be there: call it at the end of work that nobody reads.
inline void written() { asm volatile("" ::: "memory"); }

/// A value that nobody reads has to be computed.
template <class T>
void computed(const T& value) {
  asm volatile("" : : "g"(&value) : "memory");
}

/// Those that are compared on one size of one task.
struct contest {
  struct contestant {
    std::string name;
    std::function<double(std::size_t)> seconds;  ///< of so many calls
    double bytes, items;
  };

  std::string name;                ///< the task; one figure or table shows one
  std::string parameter;           ///< what changes over the figure's axis, "N"
  double value = 0;                ///< its value here
  std::string reference = "qwha";  ///< a contestant: `ratio` is the time of an item over its
  std::string bandwidth = {};  ///< a contestant: `share` is a rate over its rate; empty: "copy", which then takes part
  double seconds = 0;          ///< to spend; 0: the session's. A turn of all contestants is taken in any case
  std::size_t least_rounds = 5;
  std::vector<contestant> contestants = {};

  /// @param bytes  read plus written by one call; 0: unknown
  /// @param items  units of work in one call, where contestants differ: ratios compare the time of an item
  template <class F>
  void add(std::string contestant_name, F work, double bytes = 0, double items = 1) {
    contestants.push_back({std::move(contestant_name),
                           [work](std::size_t calls) mutable {
                             const auto start = std::chrono::steady_clock::now();
                             for (std::size_t i = 0; i < calls; ++i) {
                               work();
                               written();
                             }
                             const auto stop = std::chrono::steady_clock::now();
                             return std::chrono::duration<double>(stop - start).count();
                           },
                           bytes, items});
  }
};

/// What was measured of one contestant; times are seconds of one call.
struct row {
  std::string contest, parameter = {};
  double value = 0;
  std::string contestant = {};
  double median = 0, lower_quartile = 0, upper_quartile = 0;
  double bytes = 0, items = 1;        ///< of one call; no bytes: unknown
  std::string bandwidth = {};         ///< the contestant whose rate is the copy's; empty: bytes are unknown
  double share = 0;                   ///< rate over its rate; 0: none
  std::string reference = {};         ///< empty: not in this contest
  double ratio = 0;                   ///< median over the turns of an item's time over that of `reference`
  std::size_t rounds = 0, calls = 0;  ///< turns, and calls in each

  double spread() const { return (upper_quartile - lower_quartile) / median; }
};

/// "351 ns", "12.4 us", "9.52 ms"
std::string time_text(double seconds);

/// The median of `values`, and other quantiles by linear interpolation. @pre not empty; `q` in [0, 1]
double quantile(std::vector<double> values, double q);

class session {
 public:
  /// Exits with 2 and a sentence where the arguments are not understood.
  session(std::string bench, int argc, char** argv);

  bool wanted(const std::string& contest_name) const;
  /// A line for the reader and the results: "FFHT: skipped, QWHA_BENCH_FFHT is not set".
  void note(const std::string& sentence);
  void run(contest c);
  /// Takes over what somebody else has measured: rows of one contest, whose shares are those of a copy made now.
  void record(std::vector<row> rows);
  /// @return what main returns
  int finish() const;

  bool quick() const { return quick_; }  ///< one short turn: does it run?
  bool list() const { return list_; }    ///< names only
  double effort() const { return effort_; }
  const std::string& only() const { return only_; }

 private:
  void print(const std::vector<row>& rows) const;

  std::string bench_, json_, only_;
  double effort_ = 1;  // factor of all contests' seconds
  bool quick_ = false, list_ = false;
  std::vector<row> rows_;
  std::vector<std::string> notes_;
};

}  // namespace bench
