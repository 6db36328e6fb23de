// SPDX-License-Identifier: MIT
// libFuzzer: any bytes as an adapter file. The first byte chooses the format: our safetensors, our GGUF, or a folder of
// the reference, whose config ends at the first zero byte.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include <qwha/io/adapter_file.hpp>
#include "io/fuzz/require.hpp"

namespace {

using bytes_view = std::span<const std::byte>;

using qwha::test::require;

qwha::io::adapter_file load(int format, bytes_view bytes) {
  namespace io = qwha::io;
  if (format == 0) return io::adapter_from_safetensors(io::safetensors_file::from_memory(bytes));
  if (format == 1) return io::adapter_from_gguf(io::gguf_file::from_memory(bytes));
  const auto end = static_cast<std::size_t>(std::find(bytes.begin(), bytes.end(), std::byte{0}) - bytes.begin());
  const auto config = io::detail::parse_qhft_config("config", bytes.first(end));
  const auto model = io::safetensors_file::from_memory(bytes.subspan(std::min(end + 1, bytes.size())));
  io::qhft_options options;
  options.shape = [](std::string_view module) -> std::optional<io::layer_shape> {
    if (module.size() % 2 == 0) return std::nullopt;
    return io::layer_shape{4, 8};
  };
  return io::detail::qhft_adapter(model, config, io::detail::shape_source({}, model, config, options), model, options);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const bytes_view bytes(reinterpret_cast<const std::byte*>(data), size);
  try {
    for (const auto& m : load(data[0] % 3, bytes.subspan(1)).modules) {
      require(m.order_name == qwha::order_name(m.spectrum.cols()));
      require(qwha::all_finite(m.spectrum.values().data(), m.spectrum.size()));
    }
  } catch (const qwha::format_error& e) {
    require(e.what()[0] != '\0');
  }
  return 0;
}
