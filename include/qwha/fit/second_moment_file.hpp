// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Second moments in files: calibrate once, fit many times, or sum what several processes have seen.
///
/// Layout, little-endian, 64-bit words: the magic number "QWHAmom1"; in; tokens; the lower triangle of S by rows as
/// double, in (in + 1) / 2 words; the FNV-1a hash of all words before it.

#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>
#include <vector>

#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/base/finite.hpp>
#include <qwha/fit/second_moment.hpp>

namespace qwha::inline QWHA_ISA {
namespace detail {

inline constexpr std::uint64_t moment_magic = 0x316d6f6d41485751;  // "QWHAmom1" read as a little-endian word

/// FNV-1a, a word at a time.
class word_hash {
 public:
  void add(std::uint64_t word) noexcept { value_ = (value_ ^ word) * 0x100000001b3u; }
  std::uint64_t value() const noexcept { return value_; }

 private:
  std::uint64_t value_ = 0xcbf29ce484222325u;
};

/// To and from the file's byte order.
constexpr std::uint64_t little_endian(std::uint64_t word) noexcept {
  if constexpr (std::endian::native == std::endian::little) return word;
  std::uint64_t swapped = 0;
  for (int i = 0; i < 8; ++i) swapped |= (word >> (8 * i) & 0xff) << (8 * (7 - i));
  return swapped;
}

}  // namespace detail

/// Not in <qwha/qwha.hpp>: include this header.
/// Writes under a temporary name beside `path` and renames, so that a reader never sees half a file.
/// @throws io_error that names the file
template <class Isa = isa>
void save_second_moment(const std::filesystem::path& path, const second_moment& s) {
  const std::filesystem::path temporary =
      path.string() + "." + std::to_string(std::chrono::steady_clock::now().time_since_epoch().count()) + ".part";
  {
    std::ofstream file(temporary, std::ios::binary | std::ios::trunc);
    detail::word_hash hash;
    std::vector<std::uint64_t> words{detail::moment_magic, s.in(), s.tokens()};
    const auto write = [&] {
      for (std::uint64_t& word : words) {
        hash.add(word);
        word = detail::little_endian(word);
      }
      file.write(reinterpret_cast<const char*>(words.data()), static_cast<std::streamsize>(words.size() * 8));
    };
    write();
    for (std::size_t i = 0; i < s.in() && file; ++i) {
      words.resize(i + 1);
      for (std::size_t j = 0; j <= i; ++j) words[j] = std::bit_cast<std::uint64_t>(s.values()(i, j));
      write();
    }
    words = {hash.value()};
    write();
    file.close();
    if (!file) {
      std::error_code ignored;
      std::filesystem::remove(temporary, ignored);
      throw io_error("second moment " + path.string() + ": cannot be written");
    }
  }
  std::error_code failure;
  std::filesystem::rename(temporary, path, failure);
  if (failure) throw io_error("second moment " + path.string() + ": " + failure.message());
}

/// @throws io_error when the file cannot be read; format_error that names the file and the rule it breaks. A damaged or
///         hostile file allocates no more than its own length warrants.
template <class Isa = isa>
second_moment load_second_moment(const std::filesystem::path& path) {
  const auto fail = [&](const std::string& rule) {
    throw format_error("second moment " + path.string() + ": " + rule);
  };
  std::ifstream file(path, std::ios::binary);
  std::error_code failure;
  const std::uintmax_t bytes = std::filesystem::file_size(path, failure);
  if (!file || failure) throw io_error("second moment " + path.string() + ": cannot be read");

  detail::word_hash hash;
  std::vector<std::uint64_t> words;
  const auto read = [&](std::size_t count) {
    words.resize(count);
    file.read(reinterpret_cast<char*>(words.data()), static_cast<std::streamsize>(count * 8));
    if (!file) fail("ends too early");
    for (std::uint64_t& word : words) word = detail::little_endian(word);
  };
  const auto read_hashed = [&](std::size_t count) {
    read(count);
    for (const std::uint64_t word : words) hash.add(word);
  };

  read_hashed(3);
  if (words[0] != detail::moment_magic) fail("does not start with QWHAmom1");
  const std::uint64_t in = words[1], tokens = words[2];
  if (in == 0 || in > 0x7fffffff || bytes != (4 + in * (in + 1) / 2) * 8)
    fail("its length does not fit in = " + std::to_string(in));
  std::vector<double> values(in * in);
  for (std::size_t i = 0; i < in; ++i) {
    read_hashed(i + 1);
    for (std::size_t j = 0; j <= i; ++j) values[i * in + j] = values[j * in + i] = std::bit_cast<double>(words[j]);
    if (!all_finite(values.data() + i * in, i + 1)) fail("row " + std::to_string(i) + " holds NaN or infinity");
    if (values[i * in + i] < 0) fail("row " + std::to_string(i) + " has a negative diagonal");
  }
  const std::uint64_t expected = hash.value();
  read(1);
  if (words[0] != expected) fail("the checksum does not match");
  return second_moment(std::move(values), static_cast<std::size_t>(tokens));
}

}  // namespace qwha::inline QWHA_ISA
