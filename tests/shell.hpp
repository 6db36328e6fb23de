// SPDX-License-Identifier: MIT
#pragma once
/// Programs run as their users run them: by the shell.

#include <sys/wait.h>

#include <cstddef>
#include <cstdio>
#include <string>

#include "catch.hpp"

namespace qwha::test {

struct shell_result {
  int status;
  std::string output;  // stdout and stderr
};

inline shell_result shell(const std::string& command) {
  FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::string output;
  char part[4096];
  for (std::size_t n; (n = std::fread(part, 1, sizeof part, pipe)) > 0;) output.append(part, n);
  const int status = ::pclose(pipe);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), output};
}

}  // namespace qwha::test
