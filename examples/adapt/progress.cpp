// SPDX-License-Identifier: MIT
#include "progress.hpp"

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>

namespace adapt {
namespace {

volatile std::sig_atomic_t stop_requested = 0;

void request_stop(int signal) {
  stop_requested = 1;
  std::signal(signal, SIG_DFL);
}

std::string minutes(double seconds) {
  const auto whole = static_cast<long>(seconds + 0.5);
  char text[32];
  std::snprintf(text, sizeof text, "%ld:%02ld", whole / 60, whole % 60);
  return text;
}

}  // namespace

void stop_at_interrupt() {
  std::signal(SIGINT, request_stop);
  std::signal(SIGTERM, request_stop);
}

progress::progress(double total) : total_(std::max(total, 1.0)), terminal_(isatty(STDERR_FILENO) != 0) {}

progress::~progress() {
  if (!finished_) finish();
}

void progress::step(const std::string& what) {
  what_ = what;
  draw(false);
  if (stop_requested) throw interrupted{};
}

void progress::advance(double work) {
  done_ += work;
  draw(false);
  if (stop_requested) throw interrupted{};
}

void progress::finish() {
  if (terminal_) std::fprintf(stderr, "\r\033[K");
  std::fflush(stderr);
  finished_ = true;
}

void progress::draw(bool now) {
  const auto time = clock::now();
  const double pause = terminal_ ? 0.1 : 5.0;
  if (!now && std::chrono::duration<double>(time - drawn_).count() < pause) return;
  drawn_ = time;
  const double elapsed = std::chrono::duration<double>(time - start_).count();
  const double share = std::clamp(done_ / total_, 0.0, 1.0);
  const std::string left = share > 0.01 ? minutes(elapsed * (1 - share) / share) + " left" : "…";
  constexpr int width = 24;
  std::string bar;
  for (int i = 0; i < width; ++i) bar += i < static_cast<int>(share * width) ? "█" : "·";
  std::fprintf(stderr, "%s%s %3.0f %%  %s  %6.1f Gflop/s  %s%s", terminal_ ? "\r\033[K" : "", bar.c_str(), 100 * share,
               left.c_str(), elapsed > 0 ? done_ / elapsed * 1e-9 : 0.0, what_.c_str(), terminal_ ? "" : "\n");
  std::fflush(stderr);
}

}  // namespace adapt
