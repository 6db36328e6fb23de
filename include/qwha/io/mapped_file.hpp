// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// A file's bytes in memory, read only: mapped where the system can, else read.

#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <utility>

#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/io/posix.hpp>

#if !QWHA_HAS_POSIX_FILES
#include <fstream>
#include <vector>
#endif

namespace qwha::io::inline QWHA_ISA {

/// All bytes of a regular file. Move only; the bytes stay where they are when the object moves.
/// The file must not be made shorter while it is mapped: the system then ends the process (SIGBUS) at the next read.
class mapped_file {
 public:
  mapped_file() = default;
  /// Cost: no read; pages come when they are touched.
  /// @throws io_error that names the path and the system's reason
  explicit mapped_file(const std::filesystem::path& path) {
#if QWHA_HAS_POSIX_FILES
    const detail::descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) detail::throw_io_error(path, "open", errno);
    struct ::stat facts = {};
    if (::fstat(file.get(), &facts) != 0) detail::throw_io_error(path, "read its size", errno);
    if (S_ISDIR(facts.st_mode)) detail::throw_io_error(path, "read", EISDIR);
    if (!S_ISREG(facts.st_mode)) throw io_error(joined(path.string(), ": cannot map: not a regular file"));
    size_ = static_cast<std::size_t>(facts.st_size);
    if (size_ == 0) return;
    void* data = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.get(), 0);
    if (data == MAP_FAILED) detail::throw_io_error(path, "map", errno);
    data_ = static_cast<const std::byte*>(data);
#else
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    if (!file) detail::throw_io_error(path, "open", errno);
    const std::streamoff end = file.tellg();
    if (end < 0) throw io_error(joined(path.string(), ": cannot read its size"));
    copy_.resize(static_cast<std::size_t>(end));
    file.seekg(0);
    if (!file.read(reinterpret_cast<char*>(copy_.data()), end)) detail::throw_io_error(path, "read", errno);
    data_ = copy_.data();
    size_ = copy_.size();
#endif
  }
  mapped_file(mapped_file&& other) noexcept { swap(other); }
  mapped_file& operator=(mapped_file&& other) noexcept {
    swap(other);
    return *this;
  }
  ~mapped_file() {
#if QWHA_HAS_POSIX_FILES
    if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
#endif
  }

  std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }

 private:
  void swap(mapped_file& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
#if !QWHA_HAS_POSIX_FILES
    std::swap(copy_, other.copy_);
#endif
  }

  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
#if !QWHA_HAS_POSIX_FILES
  std::vector<std::byte> copy_;
#endif
};

}  // namespace qwha::io::inline QWHA_ISA
