// SPDX-License-Identifier: MIT
// libFuzzer: any bytes as a GGUF file are read or refused with a format_error, and what is read is coherent.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <qwha/io/gguf.hpp>
#include "io/fuzz/require.hpp"

namespace {

using qwha::test::require;

template <class T>
void read_value(const qwha::io::gguf_file& file, std::string_view key) {
  try {
    (void)file.value<T>(key);
  } catch (const qwha::format_error&) {
  }
}

void read_everything(const qwha::io::gguf_file& file, std::span<const std::byte> bytes) {
  for (const qwha::io::gguf_value& v : file.values()) {
    require(file.has_key(v.key));
    read_value<bool>(file, v.key);
    read_value<std::int16_t>(file, v.key);
    read_value<std::uint64_t>(file, v.key);
    read_value<float>(file, v.key);
    read_value<std::string>(file, v.key);
    read_value<std::vector<bool>>(file, v.key);
    read_value<std::vector<std::int32_t>>(file, v.key);
    read_value<std::vector<double>>(file, v.key);
    read_value<std::vector<std::string_view>>(file, v.key);
  }
  for (const qwha::io::tensor& t : file.tensors()) {
    require(&file.at(t.name) == &t);
    require(t.bytes.data() >= bytes.data() && t.bytes.data() + t.bytes.size() <= bytes.data() + bytes.size());
    try {
      require(file.read<float>(t.name).size() == t.size());
      if (t.rows() != 0) {
        std::vector<qwha::half> row(t.cols());
        file.read_rows(t.name, t.rows() - 1, qwha::rows_view<qwha::half>(row.data(), 1, row.size()));
      }
      require(file.read<std::int8_t>(t.name).size() == t.size());
    } catch (const qwha::value_error&) {
    } catch (const qwha::format_error&) {
    }
    try {
      (void)qwha::io::gguf_matrix<qwha::q4_k>(file, t.name);
    } catch (const qwha::format_error&) {
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span bytes(reinterpret_cast<const std::byte*>(data), size);
  try {
    read_everything(qwha::io::gguf_file::from_memory(bytes), bytes);
  } catch (const qwha::format_error& e) {
    require(e.what()[0] != '\0');
  }
  return 0;
}
