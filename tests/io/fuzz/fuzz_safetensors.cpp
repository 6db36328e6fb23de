// SPDX-License-Identifier: MIT
// libFuzzer: any bytes as a safetensors file are read or refused with a format_error, and what is read is coherent.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include <qwha/io/safetensors.hpp>
#include <qwha/io/safetensors_writer.hpp>
#include "io/fuzz/require.hpp"

namespace {

using qwha::test::require;

void read_everything(const qwha::io::safetensors_file& file, std::span<const std::byte> bytes) {
  for (const qwha::io::tensor& t : file.tensors()) {
    require(&file.at(t.name) == &t);
    require(t.bytes.data() >= bytes.data() && t.bytes.data() + t.bytes.size() <= bytes.data() + bytes.size());
    try {
      require(file.read<float>(t.name).size() == t.size());
      require(file.read<std::int32_t>(t.name).size() == t.size());
    } catch (const qwha::value_error&) {
    } catch (const qwha::format_error&) {
    }
  }
  // What was read can be written, and reads back the same.
  std::string again;
  qwha::io::emit_safetensors(
      [&](const void* data, std::size_t size) { again.append(static_cast<const char*>(data), size); }, "again",
      file.tensors(), file.metadata());
  const auto copy = qwha::io::safetensors_file::from_memory(std::as_bytes(std::span(again)));
  require(copy.tensors().size() == file.tensors().size() && copy.metadata() == file.metadata());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span bytes(reinterpret_cast<const std::byte*>(data), size);
  try {
    read_everything(qwha::io::safetensors_file::from_memory(bytes), bytes);
  } catch (const qwha::format_error& e) {
    require(e.what()[0] != '\0');
  }
  return 0;
}
