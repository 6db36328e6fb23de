// SPDX-License-Identifier: MIT
// Gemma 3 270M against a few figures of llama.cpp 0c1e57098bba (weights dequantized to fp32, KV cache fp32), wherever
// the cache holds the model. Exit status 4, skipped, where it does not. golden.cpp compares everything.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <span>

#include <engine/evaluate.hpp>
#include <engine/graph.hpp>
#include <engine/model.hpp>

#include "catch.hpp"
#include "support.hpp"

namespace {

using engine::token;

const engine::model& gemma() {
  static const auto path = engine_test::real_model();
  if (!path) {
    std::puts("skipped: the cache folder has no gemma-3-270m-q4_k_m.gguf (cmake/setup.sh puts it there)");
    std::exit(4);
  }
  static const engine::model m(*path);
  return m;
}

struct encoded {
  const char* hex;
  std::vector<token> ids;
};

// The first 65 tokens of WikiText-2's evaluation part, BOS first.
const std::vector<token> text{2,      578,   13244,  128512, 25303, 578,   236743, 107,   1455,   7184,  128512,
                              25303,  563,   614,    10293,  19544, 600,   4065,   496,   1806,   1392,  236772,
                              236940, 4374,  524,    16860,  629,   17350, 7906,   12123, 1031,   19846, 1031,
                              532,    6800,  783,    799,    910,   7488,  3739,   1031,  7184,   1225,  547,
                              1472,   659,   112468, 528,    506,   8459,  3719,   529,   212026, 783,   13244,
                              128512, 25303, 22067,  659,    992,   1456,  618,    24576, 79482,  528};

}  // namespace

TEST_CASE("strings, some of them no UTF-8, give the ids of llama.cpp") {
  const encoded cases[] = {{"200a", {236743, 107}},
                           {"203d20526f6265727420426f756c746572203d200a", {578, 9877, 151936, 589, 578, 236743, 107}},
                           {"0a20", {107, 236743}},
                           {"48656c6c6f0a776f726c64", {9259, 107, 12392}},
                           {"48656c6c6f0d0a776f726c64", {9259, 251, 107, 12392}},
                           {"2009200a", {236743, 255968, 236743, 107}},
                           {"6120", {236746, 236743}},
                           {"48656c6c6f2c20776f726c6421", {9259, 236764, 1902, 236888}},
                           {"48656c6c6f2c776f726c6421", {9259, 236764, 12392, 236888}},
                           {"206120", {496, 236743}},
                           {"20402d4020", {1392, 236772, 236940, 236743}},
                           {"20402c4020", {1392, 137578, 236743}},
                           {"3132", {236770, 236778}},
                           {"313233", {236770, 236778, 236800}},
                           {"31323334", {236770, 236778, 236800, 236812}},
                           {"e282ac3230", {237762, 236778, 236771}},
                           {"c2a335", {237704, 236810}},
                           {"c2a5313030", {240262, 236770, 236771, 236771}},
                           {"48656c6c6f2020776f726c64", {9259, 138, 12392}},
                           {"48656c6c6f202020776f726c64", {9259, 139, 12392}},
                           {"747261696c696e67202020", {136697, 139}},
                           {"48656c6c6f09776f726c64", {9259, 255968, 12392}},
                           {"09696e64656e746564", {255968, 724, 16764}},
                           {"e2809c71756f746573e2809d", {236913, 52231, 236919}},
                           {"e2809873696e676c65e28099", {237095, 18999, 236858}},
                           {"6e61c3af766520636166c3a9", {1789, 238527, 560, 33443}},
                           {"23696e636c756465203c696f73747265616d3e", {236865, 3917, 655, 33454, 236813}},
                           {"3c68746d6c3e3c626f64793e68693c2f626f64793e3c2f68746d6c3e", {217, 218, 2202, 229, 228}},
                           {"3c626f733e", {236820, 46757, 236813}},
                           {"efac81206c69676174757265", {240811, 107109}},
                           {"e697a5e69cace8aa9ee381aee38386e382ade382b9e38388", {94951, 236945, 95830}},
                           {"e38193e38293e381abe381a1e381afe4b896e7958c", {85141, 12811}},
                           {"3c756e75736564303e", {236820, 63634, 236771, 236813}},
                           {"3c307834313e", {236820, 236771, 236781, 236812, 236770, 236813}},
                           {"20e2968120", {236743, 236743, 236743}},
                           {"20202020696e64656e746564", {140, 724, 16764}},
                           {"6c696e65310a6c696e65320a", {1257, 236770, 107, 1257, 236778, 107}},
                           {"310a320a33", {236770, 107, 236778, 107, 236800}},
                           {"3c2f733e", {954, 236751, 236813}},
                           {"ff", {493}},
                           {"fffe", {493, 492}},
                           {"616263ff646566", {28180, 493, 338, 339, 340}},
                           {"c3", {433}},
                           {"61e282", {236746, 464, 368}},
                           {"f09f98", {478, 397, 390}},
                           {"8080", {366, 366}},
                           {"6f6b20c0af206f6b", {680, 236743, 430, 413, 7546}},
                           {"eda080", {475, 398, 366}},
                           {"7461696cf4908080", {14170, 482, 382, 366, 366}}};
  for (const encoded& c : cases) {
    INFO("bytes " << c.hex);
    const std::string bytes = engine_test::bytes_of_hex(c.hex);
    CHECK(gemma().text().encode(bytes, false) == c.ids);
    std::vector<token> with_bos{2};
    with_bos.insert(with_bos.end(), c.ids.begin(), c.ids.end());
    CHECK(gemma().text().encode(bytes, true) == with_bos);
  }
  CHECK(gemma().text().encode("<bos>a", false, true) == std::vector<token>{2, 236746});
}

TEST_CASE("likelihoods, predictions and continuation are those of llama.cpp") {
  const engine::model& m = gemma();
  const std::size_t n = text.size() - 1;
  std::vector<engine::block_weights> blocks;
  for (std::size_t layer = 0; layer < m.layers(); ++layer) blocks.push_back(m.load_block(layer));
  engine::matrix hidden(n, m.config().hidden);
  m.embed(std::span(text).first(n), hidden.view());
  for (std::size_t layer = 0; layer < m.layers(); ++layer)
    engine::forward_block(m.config(), layer, blocks[layer], hidden.view(), n);
  m.final_norm(hidden.view());

  std::vector<double> nll(n);
  engine::negative_log_likelihood(m, hidden.view(), std::span(text).subspan(1), nll);
  double sum = 0;
  for (const double v : nll) sum += v;
  CHECK(sum / static_cast<double>(n) ==
        Approx(272.0291164935 / 64).margin(1e-3));  // a GELU table of half precision there, none here

  engine::matrix logits(n, m.config().vocabulary);
  m.logits(hidden.view(), logits.view());
  const std::vector<std::ptrdiff_t> best{
      184,    236743, 236761, 547,    236793, 236743, 236770, 140,    1169,   128512, 25303,  563,  496,
      16986,  10615,  600,    563,    496,    6082,   236772, 236772, 25510,  6620,   236761, 7610, 629,
      17350,  236761, 496,    532,    6800,   532,    532,    6800,   236761, 1030,   672,    3904, 1183,
      236764, 7184,   128512, 128512, 1472,   659,    1456,   528,    506,    18844,  3719,   529,  6167,
      783,    236743, 1225,   25303,  563,    659,    1456,   1456,   528,    112468, 21579,  528};
  const std::vector<float> target{4.375599f,  13.327244f, 12.921122f, 7.245575f,
                                  16.716885f, 18.475643f, 6.865494f,  13.535052f};  // of every eighth token
  for (std::size_t t = 0; t < n; ++t) {
    const float* row = logits.row(t);
    INFO("token " << t);
    CHECK(std::max_element(row, row + logits.cols()) - row == best[t]);
    if (t % 8 == 0) CHECK(row[static_cast<std::size_t>(text[t + 1])] == Approx(target[t / 8]).margin(2e-2));
  }
  CHECK(engine::greedy(m, blocks, std::span(text).first(64), 6) ==
        std::vector<token>{528, 506, 7395, 3956, 783, 236743});
}
