// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// A file that appears whole or not at all: written under a temporary name beside its place, then renamed.

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <qwha/base/aligned_buffer.hpp>
#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/io/message.hpp>
#include <qwha/io/posix.hpp>

#if !QWHA_HAS_POSIX_FILES
#include <fstream>
#include <random>
#endif

namespace qwha::io::inline QWHA_ISA {

namespace detail {

/// Ends the names of this process's temporary files.
inline const std::string& temporary_suffix() {
#if QWHA_HAS_POSIX_FILES
  static const std::string suffix = joined(".qwha-", ::getpid(), ".tmp");
#else
  static const std::string suffix = joined(".qwha-", std::random_device{}(), ".tmp");
#endif
  return suffix;
}

}  // namespace detail

/// Writes a file. Nothing is seen at `path` before `commit`; an object that dies without it, by exception say, leaves
/// nothing behind. Several files that belong together are written all, then committed all.
class atomic_file {
 public:
  /// Creates the temporary file. @throws io_error that names `path` and the system's reason
  explicit atomic_file(std::filesystem::path path) : path_(std::move(path)), buffer_(buffer_size) {
    if (path_.filename().empty()) throw io_error(joined(path_.string(), ": cannot write: the path names no file"));
    constexpr int most = 1000;  // writers of one path at one time
    for (int i = 0; i < most && !open_; ++i) {
      const std::string number = i == 0 ? "" : joined(".", i);
      temporary_ = path_.parent_path() / joined(".", path_.filename().string(), number, detail::temporary_suffix());
#if QWHA_HAS_POSIX_FILES
      file_ = detail::descriptor(::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
      open_ = static_cast<bool>(file_);
      if (!open_ && errno != EEXIST) detail::throw_io_error(path_, "write", errno);
#else
      if (std::filesystem::exists(temporary_)) continue;
      file_.open(temporary_, std::ios::binary | std::ios::trunc);
      open_ = file_.is_open();
      if (!open_) detail::throw_io_error(path_, "write", errno);
#endif
    }
    if (!open_) detail::throw_io_error(path_, "write", EEXIST);
  }
  atomic_file(const atomic_file&) = delete;
  atomic_file& operator=(const atomic_file&) = delete;
  ~atomic_file() { discard(); }

  const std::filesystem::path& path() const noexcept { return path_; }

  /// Appends bytes. @throws io_error that names the file, when the disk is full say
  void write(const void* data, std::size_t size) {
    if (size > buffer_.size() - buffered_) flush_buffer();
    if (size > buffer_.size()) {
      write_through(data, size);
    } else if (size != 0) {
      std::memcpy(buffer_.data() + buffered_, data, size);
      buffered_ += size;
    }
  }
  void write(std::string_view text) { write(text.data(), text.size()); }

  /// Brings everything to the disk and closes, still under the temporary name. @throws io_error
  void finish() {
    if (!open_) return;
    flush_buffer();
#if QWHA_HAS_POSIX_FILES
    if (::fsync(file_.get()) != 0 && errno != EINVAL) detail::throw_io_error(path_, "write", errno);
    if (!file_.close()) detail::throw_io_error(path_, "write", errno);
#else
    file_.close();
    if (!file_) detail::throw_io_error(path_, "write", errno);
#endif
    open_ = false;
  }

  /// `finish`, then gives the file its name, in place of one that may be there. @throws io_error
  void commit() {
    finish();
    std::error_code failure;
    std::filesystem::rename(temporary_, path_, failure);
    if (failure) throw io_error(joined(path_.string(), ": cannot rename into place: ", failure.message()));
    temporary_.clear();
#if QWHA_HAS_POSIX_FILES
    // So that the name survives a power cut; where a directory cannot be synchronised, nothing is lost by going on.
    const std::filesystem::path folder = path_.has_parent_path() ? path_.parent_path() : ".";
    if (const detail::descriptor d(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)); d) ::fsync(d.get());
#endif
  }

 private:
  static constexpr std::size_t buffer_size = std::size_t{1} << 16;

  void flush_buffer() { write_through(buffer_.data(), std::exchange(buffered_, 0)); }

  void write_through(const void* data, std::size_t size) {
#if QWHA_HAS_POSIX_FILES
    for (const char* from = static_cast<const char*>(data); size != 0;) {
      const auto written = ::write(file_.get(), from, size);
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) detail::throw_io_error(path_, "write", errno);
      from += written;
      size -= static_cast<std::size_t>(written);
    }
#else
    if (!file_.write(static_cast<const char*>(data), static_cast<std::streamsize>(size)))
      detail::throw_io_error(path_, "write", errno);
#endif
  }

  void discard() noexcept {
    if (temporary_.empty()) return;
    file_.close();
    std::error_code ignored;
    std::filesystem::remove(temporary_, ignored);
  }

  std::filesystem::path path_, temporary_;
  aligned_buffer<std::byte> buffer_;
  std::size_t buffered_ = 0;
  bool open_ = false;
#if QWHA_HAS_POSIX_FILES
  detail::descriptor file_;
#else
  std::ofstream file_;
#endif
};

/// A whole text file at once.
inline void write_file(const std::filesystem::path& path, std::string_view text) {
  atomic_file file(path);
  file.write(text);
  file.commit();
}

/// Removes the temporary files that unfinished `atomic_file`s of this process have in `folder`: for a program that ends
/// on a signal without unwinding. Not for use inside a signal handler. Returns how many there were.
inline std::size_t remove_temporaries(const std::filesystem::path& folder) noexcept {
  std::size_t removed = 0;
  try {
    std::error_code ignored;
    const std::string suffix = detail::temporary_suffix();
    for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
      const std::string file = entry.path().filename().string();
      if (file.size() > suffix.size() && file.starts_with('.') && file.ends_with(suffix))
        removed += std::filesystem::remove(entry.path(), ignored) ? 1 : 0;
    }
  } catch (...) {  // out of memory: what is left stays
  }
  return removed;
}

}  // namespace qwha::io::inline QWHA_ISA
