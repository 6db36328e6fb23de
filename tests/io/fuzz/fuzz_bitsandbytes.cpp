// SPDX-License-Identifier: MIT
// libFuzzer: any bytes as a safetensors file with layers of bitsandbytes.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <qwha/io/bitsandbytes.hpp>
#include <qwha/io/safetensors.hpp>
#include "io/fuzz/require.hpp"

namespace {

using qwha::test::require;

void read_layer(const qwha::io::bitsandbytes_layer& layer) {
  require(layer.rows() > 0 && layer.cols() > 0);
  std::vector<float> row(layer.cols()), again(layer.cols());
  layer.dequantize_rows(layer.rows() - 1, {row.data(), 1, row.size()});
  require(qwha::all_finite(row.data(), row.size()));
  if (!layer.refusal<qwha::nf4<32>>().empty()) return;
  layer.matrix<qwha::nf4<32>>().dequantize_row(layer.rows() - 1, again);
  require(row == again);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace io = qwha::io;
  try {
    const auto file = io::safetensors_file::from_memory({reinterpret_cast<const std::byte*>(data), size});
    for (const std::string& module : io::bitsandbytes_modules(file)) read_layer(io::bitsandbytes_layer(file, module));
  } catch (const qwha::format_error& e) {
    require(e.what()[0] != '\0');
  } catch (const qwha::value_error& e) {
    require(e.what()[0] != '\0');
  }
  return 0;
}
