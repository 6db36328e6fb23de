// SPDX-License-Identifier: MIT
// GPTQ checkpoints that qwha writes: read back bit for bit, and refused where the format cannot hold them.

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <qwha/base/random.hpp>
#include <qwha/io/gptq_checkpoint.hpp>
#include <qwha/io/gptq_writer.hpp>
#include <qwha/quant/quantize.hpp>
#include "catch.hpp"
#include "expect.hpp"
#include "io/files.hpp"

namespace {

using namespace qwha;
using namespace qwha::test;

template <class Matrix>
std::vector<float> all_of(const Matrix& m) {
  std::vector<float> w(m.rows() * m.cols());
  m.dequantize({w.data(), m.rows(), m.cols()});
  return w;
}

}  // namespace

TEST_CASE("a checkpoint that the writer writes reads back the same", "[io][gptq]") {
  const counter_random random(7);
  const std::size_t out = 64, in = 160;
  std::vector<float> w(out * in);
  for (std::size_t i = 0; i < w.size(); ++i) w[i] = static_cast<float>(random.uniform(i)) - 0.5f;
  std::vector<half> bias(out, half(0.25f));
  const std::vector<float> norm{1, 2, 3};
  const auto check = [&]<class Q>(Q, io::gptq_version version) {
    INFO(Q::name() << " version " << (version == io::gptq_version::v1 ? 1 : 2));
    const scratch_folder folder;
    const auto m = quantize<Q>({w.data(), out, in});
    io::gptq_writer writer(version);
    writer.add("a.b", m, bias);
    writer.add("c", m);
    writer.add(io::tensor_of<float>("norm.weight", {3}, norm));
    writer.set_model_config({{"model_type", "llama"}});
    writer.save(folder.path());
    CHECK(folder.entries() == 3);
    const io::gptq_checkpoint checkpoint(folder.path());
    CHECK(checkpoint.config().version == version);
    CHECK(checkpoint.config().bits == Q::bits);
    CHECK(checkpoint.config().group_size == Q::block_size);
    CHECK(checkpoint.config().symmetric == Q::symmetric);
    CHECK(checkpoint.config().quantizer == std::vector<std::string>{"qwha"});
    CHECK(checkpoint.modules().size() == 2);
    CHECK(checkpoint.tensors().read<float>("norm.weight") == norm);
    for (const char* module : {"a.b", "c"}) {
      const io::gptq_layer layer = checkpoint.layer(module);
      CHECK(all_of(layer) == all_of(m));
      CHECK(all_of(layer.template matrix<Q>()) == all_of(m));
      CHECK(layer.bias() == (module[0] == 'a' ? std::vector<float>(out, 0.25f) : std::vector<float>{}));
    }
    const auto model = nlohmann::json::parse(read_bytes(folder / "config.json"));
    CHECK(model["model_type"] == "llama");
    CHECK(model["quantization_config"]["bits"] == Q::bits);
  };
  check(affine<2, 64>{}, io::gptq_version::v2);
  check(affine<3, 64>{}, io::gptq_version::v2);
  check(affine<8, 32>{}, io::gptq_version::v2);
  check(affine<3, 32, zero_point::symmetric>{}, io::gptq_version::v2);
  check(affine<4, 32, zero_point::symmetric>{}, io::gptq_version::v1);

  // The words of a symmetric layer of 4 bits are known.
  const scratch_folder folder;
  io::gptq_writer writer(io::gptq_version::v1);
  const auto symmetric = quantize<affine<4, 32, zero_point::symmetric>>({w.data(), out, in});
  writer.add("m", symmetric);
  writer.save(folder.path());
  for (const auto word : io::safetensors_file(folder.path()).read<std::uint32_t>("m.qzeros"))
    REQUIRE(word == 0x77777777u);
}

TEST_CASE("the writer refuses what a checkpoint cannot hold", "[io][gptq]") {
  std::vector<float> w(64 * 64, 0.5f);
  for (std::size_t i = 0; i < w.size(); i += 2) w[i] = 1;
  const auto m = quantize<affine<4, 32>>({w.data(), 64, 64});  // weights above zero: zero points are 0
  io::gptq_writer old(io::gptq_version::v1);
  CHECK(mentions(message_of<value_error>([&] { old.add("x", m); }), {"'x'", "zero point 0", "version 2"}));
  io::gptq_writer writer;
  writer.add("x", m);
  CHECK(mentions(message_of<value_error>([&] { writer.add("y", quantize<affine<4, 64>>({w.data(), 64, 64})); }),
                 {"'y'", "int4 g64"}));
  CHECK(mentions(message_of<shape_error>([&] { writer.add("z", quantize<affine<4, 32>>({w.data(), 48, 64})); }),
                 {"'z'", "[48, 64]"}));
  const std::vector<half> bias(3);
  CHECK(mentions(message_of<shape_error>([&] { writer.add("b", m, bias); }), {"'b'", "3 values"}));
  const scratch_folder folder;
  CHECK_THROWS_AS(io::gptq_writer().save(folder.path()), value_error);
  CHECK(folder.entries() == 0);
}
