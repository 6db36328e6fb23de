// SPDX-License-Identifier: MIT
// Columns of words as rows: every size around the vectors' sides, any address, and not a byte too many.

#include <algorithm>
#include <cstddef>
#include <vector>

#include <qwha/base/aligned_buffer.hpp>
#include <qwha/base/random.hpp>
#include <qwha/io/word_transpose.hpp>
#include "catch.hpp"

using qwha::io::detail::destination;

TEST_CASE("words are turned, and nothing else is touched", "[io][word_transpose]") {
  const qwha::counter_random random(1);
  constexpr std::size_t width = 90, first = 3;
  constexpr std::byte untouched{0x5a};
  for (const std::size_t shift : {0, 1, 8, 60})  // of the file's bytes: a header has any length
    for (const std::size_t height : {1, 2, 15, 16, 17, 40}) {
      std::vector<std::byte> words(shift + 4 * width * height);
      for (std::size_t i = 0; i < words.size(); ++i) words[i] = static_cast<std::byte>(random.bits(i));
      for (const std::size_t count : {1, 15, 16, 17, 31, 64, 87})
        for (const std::size_t most : {4 * height, 4 * height - 1, 2 * height + 1})
          for (const std::size_t stride : {4 * height, (4 * height + 95) / 96 * 96})
            for (const destination where : {destination::cache, destination::memory}) {
              qwha::aligned_buffer<std::byte> out(count * stride + 64, untouched);
              qwha::io::detail::transpose_words(words.data() + shift, width, height, first, count, out.data(), stride,
                                                most, where);
              const auto expected = [&](std::size_t i) {
                const std::size_t column = i / stride, byte = i % stride;
                if (column >= count || byte >= std::min(most, 4 * height)) return untouched;
                return words[shift + 4 * (byte / 4 * width + first + column) + byte % 4];
              };
              bool same = true;
              for (std::size_t i = 0; i < out.size(); ++i) same = same && out[i] == expected(i);
              INFO(shift << " " << height << " " << count << " " << most << " " << stride);
              REQUIRE(same);
            }
    }
}
