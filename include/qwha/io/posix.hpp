// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// The little that file access asks of the operating system directly.

#include <cerrno>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>

#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/io/message.hpp>

#if __has_include(<sys/mman.h>) && __has_include(<unistd.h>)
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#define QWHA_HAS_POSIX_FILES 1
#else
#define QWHA_HAS_POSIX_FILES 0
#endif

namespace qwha::io::inline QWHA_ISA::detail {

/// @param what  completes "cannot …"
[[noreturn]] inline void throw_io_error(const std::filesystem::path& path, const std::string& what, int error_number) {
  throw io_error(joined(path.string(), ": cannot ", what, ": ", std::generic_category().message(error_number)));
}

#if QWHA_HAS_POSIX_FILES
/// A file descriptor that closes itself.
class descriptor {
 public:
  explicit descriptor(int fd = -1) noexcept : fd_(fd) {}
  descriptor(descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  descriptor& operator=(descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~descriptor() { close(); }
  int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }
  /// Closes now; false (and errno) when the system reports a late failure.
  bool close() noexcept { return fd_ < 0 || ::close(std::exchange(fd_, -1)) == 0; }

 private:
  int fd_;
};
#endif

}  // namespace qwha::io::inline QWHA_ISA::detail
