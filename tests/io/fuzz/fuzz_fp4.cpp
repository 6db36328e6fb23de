// SPDX-License-Identifier: MIT
// libFuzzer: any bytes as a safetensors file with MXFP4 and NVFP4 weights.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <qwha/io/mxfp4_checkpoint.hpp>
#include <qwha/io/nvfp4_checkpoint.hpp>
#include <qwha/io/safetensors.hpp>
#include "io/fuzz/require.hpp"

namespace {

using qwha::test::require;

template <class Matrix>
void read_last_row(const Matrix& m) {
  require(m.rows() > 0 && m.cols() > 0);
  std::vector<float> row(m.cols());
  m.dequantize_rows(m.rows() - 1, {row.data(), 1, row.size()});
  require(qwha::all_finite(row.data(), row.size()));
}

template <class F>
void refused_or(F&& read) {
  try {
    read();
  } catch (const qwha::format_error& e) {
    require(e.what()[0] != '\0');
  } catch (const qwha::value_error& e) {
    require(e.what()[0] != '\0');
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace io = qwha::io;
  refused_or([&] {
    const auto file = io::safetensors_file::from_memory({reinterpret_cast<const std::byte*>(data), size});
    for (const std::string& module : io::mxfp4_modules(file))
      refused_or([&] { read_last_row(io::mxfp4_matrix(file, module)); });
    for (const std::string& module : io::nvfp4_modules(file))
      refused_or([&] {
        const io::nvfp4_layer layer(file, module);
        read_last_row(layer);
        read_last_row(layer.matrix());
      });
  });
  return 0;
}
