// SPDX-License-Identifier: MIT
// Runs the fuzz targets without a fuzzer: over the kept inputs of tests/io/corpus, over mutations of them, the same
// ones every time, and over every shortened form of the small ones.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#define LLVMFuzzerTestOneInput fuzz_safetensors
#include "io/fuzz/fuzz_safetensors.cpp"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_gguf
#include "io/fuzz/fuzz_gguf.cpp"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_adapter
#include "io/fuzz/fuzz_adapter.cpp"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_gptq
#include "io/fuzz/fuzz_gptq.cpp"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_bitsandbytes
#include "io/fuzz/fuzz_bitsandbytes.cpp"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_fp4
#include "io/fuzz/fuzz_fp4.cpp"
#undef LLVMFuzzerTestOneInput

#include <qwha/base/random.hpp>

namespace {

using target = int (*)(const std::uint8_t*, std::size_t);

void run(target fuzz, const std::string& bytes) {
  // A copy of exactly this size, so that a sanitizer sees a read past its end.
  const std::vector<std::uint8_t> exact(bytes.begin(), bytes.end());
  fuzz(exact.data(), exact.size());
}

/// One to four edits: a bit, a byte, an interesting 64-bit number, a piece removed, a piece repeated.
std::string mutated(std::string bytes, const qwha::counter_random& random, std::uint64_t& draw) {
  const auto below = [&](std::size_t n) { return random.below(static_cast<std::uint32_t>(n), draw++); };
  constexpr std::uint64_t interesting[] = {0, 1, 31, 255, 1u << 31, ~0u, 1ull << 62, ~0ull >> 1, ~0ull};
  for (std::uint32_t edits = 1 + below(4); edits > 0 && !bytes.empty(); --edits) {
    const std::size_t at = below(bytes.size());
    switch (below(5)) {
      case 0: bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8))); break;
      case 1: bytes[at] = static_cast<char>(below(256)); break;
      case 2: {
        const std::uint64_t number = interesting[below(std::size(interesting))];
        const std::size_t width = std::min<std::size_t>(std::size_t{1} << below(4), bytes.size() - at);
        for (std::size_t i = 0; i < width; ++i) bytes[at + i] = static_cast<char>(number >> (8 * i));
        break;
      }
      case 3: bytes.erase(at, 1 + below(16)); break;
      default: bytes.insert(at, bytes.substr(at, 1 + below(16)));
    }
  }
  return bytes;
}

std::size_t replay(target fuzz, const std::filesystem::path& folder, std::size_t mutations) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  std::uint64_t draw = 0;
  const qwha::counter_random random(20250922);
  for (const auto& file : files) {
    std::ifstream in(file, std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(in), {}};
    run(fuzz, bytes);
    for (std::size_t length = 0; length < std::min<std::size_t>(bytes.size(), 512); ++length)
      run(fuzz, bytes.substr(0, length));
    for (std::size_t i = 0; i < mutations; ++i) run(fuzz, mutated(bytes, random, draw));
  }
  return files.size();
}

}  // namespace

int main() {
  const std::filesystem::path corpus = QWHA_TEST_SOURCE_DIR "/io/corpus";
  const std::size_t files =
      replay(fuzz_safetensors, corpus / "safetensors", 3000) + replay(fuzz_gguf, corpus / "gguf", 3000) +
      replay(fuzz_adapter, corpus / "adapter", 3000) + replay(fuzz_gptq, corpus / "gptq", 3000) +
      replay(fuzz_bitsandbytes, corpus / "bitsandbytes", 3000) + replay(fuzz_fp4, corpus / "fp4", 3000);
  std::printf("%zu inputs replayed\n", files);
  return files == 0 ? 1 : 0;
}
