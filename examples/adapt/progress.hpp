// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// One line on stderr that says how far the work is, how fast it goes and when it will be done.

#include <chrono>
#include <string>

namespace adapt {

/// Thrown by `progress::advance` after Ctrl-C: the stack unwinds, so files that were not finished are removed.
struct interrupted {};

/// From now on Ctrl-C asks the work to stop at the next step; a second one ends the program at once.
void stop_at_interrupt();

/// Work in units of floating-point operations, drawn as a bar on a terminal and as a line every few seconds elsewhere.
class progress {
 public:
  /// @param total  the work to come; an estimate, since only the fraction is shown
  explicit progress(double total);
  ~progress();
  progress(const progress&) = delete;
  progress& operator=(const progress&) = delete;

  /// Says what happens next. @throws interrupted after Ctrl-C
  void step(const std::string& what);
  /// `work` more units are done. @throws interrupted after Ctrl-C
  void advance(double work);
  /// Clears the line.
  void finish();

 private:
  using clock = std::chrono::steady_clock;
  void draw(bool now);

  double total_;
  double done_ = 0;
  bool terminal_;
  bool finished_ = false;
  std::string what_;
  clock::time_point start_ = clock::now();
  clock::time_point drawn_{};
};

}  // namespace adapt
