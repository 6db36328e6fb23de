// SPDX-License-Identifier: MIT
// libFuzzer: any bytes as a GPTQ checkpoint, the configuration up to the first zero byte, then safetensors.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <qwha/io/gptq_checkpoint.hpp>
#include "io/fuzz/require.hpp"

namespace {

using qwha::test::require;

void read_layer(const qwha::io::gptq_layer& layer) {
  using format = qwha::affine<4, 32>;
  require(layer.rows() > 0 && layer.cols() > 0);
  std::vector<float> row(layer.cols()), again(layer.cols());
  layer.dequantize_rows(layer.rows() - 1, {row.data(), 1, row.size()});
  require(qwha::all_finite(row.data(), row.size()));
  if (!layer.refusal<format>().empty()) return;
  const auto m = layer.matrix<format>();
  m.dequantize_row(layer.rows() - 1, again);
  require(row == again);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace io = qwha::io;
  const std::span bytes(reinterpret_cast<const std::byte*>(data), size);
  const auto end = static_cast<std::size_t>(std::find(bytes.begin(), bytes.end(), std::byte{0}) - bytes.begin());
  try {
    const io::gptq_config config = io::parse_gptq_config("config", io::parse_json("config", bytes.first(end)));
    const auto file = io::safetensors_file::from_memory(bytes.subspan(std::min(end + 1, size)));
    for (const auto repair : {io::gptq_zero_repair::per_field, io::gptq_zero_repair::per_word}) {
      const io::gptq_checkpoint checkpoint(file, config, repair);
      for (const std::string& module : checkpoint.modules()) read_layer(checkpoint.layer(module));
    }
  } catch (const qwha::format_error& e) {
    require(e.what()[0] != '\0');
  } catch (const qwha::value_error& e) {
    require(e.what()[0] != '\0');
  }
  return 0;
}
