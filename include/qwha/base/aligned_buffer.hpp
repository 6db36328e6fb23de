// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Memory that the library owns: 64-byte aligned, trivial elements, not initialised unless asked.

#include <cstddef>
#include <cstdlib>
#include <new>
#include <span>
#include <type_traits>
#include <utility>

namespace qwha {

/// Owner of `size` elements at a 64-byte boundary (one cache line, one AVX-512 vector).
/// Move only. Elements are not initialised: `T` is trivial and the owner writes before it reads.
template <class T>
class aligned_buffer {
  static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);

 public:
  static constexpr std::size_t alignment = 64;

  aligned_buffer() = default;
  /// @throws std::bad_alloc, also where size * sizeof(T) would overflow
  explicit aligned_buffer(std::size_t size) : data_(allocate(size)), size_(size) {}
  aligned_buffer(std::size_t size, const T& fill) : aligned_buffer(size) {
    for (std::size_t i = 0; i < size; ++i) data_[i] = fill;
  }
  aligned_buffer(aligned_buffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  aligned_buffer& operator=(aligned_buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~aligned_buffer() { ::operator delete(data_, std::align_val_t{alignment}); }

  /// Empty on failure instead of an exception: for paths that are noexcept.
  static aligned_buffer try_allocate(std::size_t size) noexcept {
    aligned_buffer b;
    if (size == 0 || size > max_size) return b;
    b.data_ = static_cast<T*>(::operator new(size * sizeof(T), std::align_val_t{alignment}, std::nothrow));
    b.size_ = b.data_ == nullptr ? 0 : size;
    return b;
  }

  T* data() noexcept { return data_; }
  const T* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }
  T& operator[](std::size_t i) noexcept { return data_[i]; }
  const T& operator[](std::size_t i) const noexcept { return data_[i]; }
  T* begin() noexcept { return data_; }
  T* end() noexcept { return data_ + size_; }
  const T* begin() const noexcept { return data_; }
  const T* end() const noexcept { return data_ + size_; }
  operator std::span<T>() noexcept { return {data_, size_}; }
  operator std::span<const T>() const noexcept { return {data_, size_}; }

 private:
  static constexpr std::size_t max_size = static_cast<std::size_t>(-1) / 2 / sizeof(T);
  static T* allocate(std::size_t size) {
    if (size == 0) return nullptr;
    if (size > max_size) throw std::bad_array_new_length();
    return static_cast<T*>(::operator new(size * sizeof(T), std::align_val_t{alignment}));
  }
  T* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace qwha
