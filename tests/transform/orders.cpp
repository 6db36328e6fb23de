// SPDX-License-Identifier: MIT
// Which matrix belongs to which order: names, checksums, orthogonality, what is refused.

#include <bit>
#include <cstdint>
#include <string>
#include <vector>

#include <qwha/base/error.hpp>
#include <qwha/transform/order.hpp>
#include <qwha/transform/sign_table.hpp>
#include <qwha/transform/wht.hpp>

#include "catch.hpp"
#include "oracle.hpp"

namespace {

static_assert(qwha::supported_order(1) && qwha::supported_order(4096) && qwha::supported_order(std::size_t{1} << 20));
static_assert(qwha::supported_order(11008) && qwha::supported_order(29568) && qwha::supported_order(18944));
static_assert(!qwha::supported_order(0) && !qwha::supported_order(3) && !qwha::supported_order(6) &&
              !qwha::supported_order(10) && !qwha::supported_order(4 * 61) && !qwha::supported_order(127 * 2048));
static_assert(qwha::hadamard_matrix(qwha::find_order(12).factors[0]).negative(0, 1));
static_assert(qwha::find_order(4864).fast_order() == 64 && !qwha::find_order(12).symmetric() &&
              qwha::find_order(28).symmetric());

struct named_order {
  std::size_t n;
  const char* name;
};

/// The in-features of real models, and the canonical choice for each.
const std::vector<named_order> models = {{288, "P2(17)xS8"},
                                         {576, "P2(17)xS16"},
                                         {960, "P1(59)xS16"},
                                         {640, "S2xP1(19)xS16"},
                                         {768, "P1(11)xS64"},
                                         {1536, "P1(11)xS128"},
                                         {3072, "P1(11)xS256"},
                                         {6144, "P1(11)xS512"},
                                         {12288, "P1(11)xS1024"},
                                         {24576, "P1(11)xS2048"},
                                         {896, "P2(13)xS32"},
                                         {4864, "P2(37)xS64"},
                                         {1152, "P2(17)xS32"},
                                         {2304, "P2(17)xS64"},
                                         {4608, "P2(17)xS128"},
                                         {9216, "P2(17)xS256"},
                                         {18432, "P2(17)xS512"},
                                         {36864, "P2(17)xS1024"},
                                         {1376, "W(43)xS8"},
                                         {5504, "W(43)xS32"},
                                         {11008, "W(43)xS64"},
                                         {22016, "W(43)xS128"},
                                         {1408, "P1(43)xS32"},
                                         {5632, "P1(43)xS128"},
                                         {2560, "S2xP1(19)xS64"},
                                         {5120, "S2xP1(19)xS128"},
                                         {10240, "S2xP1(19)xS256"},
                                         {20480, "S2xP1(19)xS512"},
                                         {2880, "P1(179)xS16"},
                                         {23040, "P1(179)xS128"},
                                         {5760, "P1(179)xS32"},
                                         {3200, "W(25)xS32"},
                                         {25600, "W(25)xS256"},
                                         {12800, "W(25)xS128"},
                                         {3584, "P2(13)xS128"},
                                         {7168, "P2(13)xS256"},
                                         {14336, "P2(13)xS512"},
                                         {28672, "P2(13)xS1024"},
                                         {3840, "P1(59)xS64"},
                                         {15360, "P1(59)xS256"},
                                         {4544, "P1(283)xS16"},
                                         {18176, "P1(283)xS64"},
                                         {5376, "P1(83)xS64"},
                                         {21504, "P1(83)xS256"},
                                         {5440, "P1(19)xP1(67)xS4"},
                                         {8640, "P2(269)xS16"},
                                         {10944, "P1(683)xS16"},
                                         {6656, "W(13)xS128"},
                                         {53248, "W(13)xS1024"},
                                         {6912, "P1(107)xS64"},
                                         {13824, "P1(107)xS128"},
                                         {27648, "P1(107)xS256"},
                                         {8960, "P1(139)xS64"},
                                         {17920, "P1(139)xS128"},
                                         {9728, "P2(37)xS128"},
                                         {17408, "P1(67)xS256"},
                                         {18944, "P2(73)xS128"},
                                         {13696, "GS(107)xS32"},
                                         {27392, "GS(107)xS64"},
                                         {14848, "W(29)xS128"},
                                         {59392, "W(29)xS512"},
                                         {29568, "P2(461)xS32"},
                                         {33792, "P1(131)xS256"},
                                         {2048, "S2048"},
                                         {32768, "S32768"},
                                         {1, "S1"},
                                         {2, "S2"},
                                         {12, "P1(11)"},
                                         {20, "P1(19)"},
                                         {40, "S2xP1(19)"},
                                         {80, "S2xP1(19)xS2"},
                                         {36, "P2(17)"},
                                         {156, "W(39)"},
                                         {188, "GS(47)"},
                                         {236, "GS(59)"},
                                         {488, "P1(487)"},
                                         {1040, "P1(1039)"},
                                         {2144, "P1(2143)"},
                                         {648, "P1(647)"},
                                         {1904, "P2(13)xP1(67)"},
                                         {24, "P1(11)xS2"}};

struct checksum {
  const char* name;
  std::uint64_t fnv;
};
const std::vector<checksum> checksums = {
    // the eleven tables of the QWHA reference
    {"P1(11)", 0x35c7785e68b764ad},
    {"P1(59)", 0x976dbe55c09a5eb5},
    {"P1(19)", 0x47ee1a0779da2545},
    {"P1(107)", 0x6391c059935eebb5},
    {"P2(13)", 0x65c668d18606a97d},
    {"P1(139)", 0x7e0d0c2c703d8685},
    {"P2(17)", 0x03cbd584a619bddd},
    {"W(39)", 0x1311bcd59e9c3ef5},
    {"S2xP1(19)", 0x8b986804b3983415},
    {"W(43)", 0xa0b3f25b06595585},
    {"W(13)", 0x64547545b4660cc5},
    // and our own
    {"P1(43)", 0xcb05c18b98abacbd},
    {"P1(67)", 0xe9e2dbae7c182615},
    {"P2(37)", 0x35e3a9e91a0bcddd},
    {"P1(83)", 0x393739040364256d},
    {"W(23)", 0x0556668fff6c6f35},
    {"W(25)", 0x8401df3155844475},
    {"W(29)", 0x9d76ed784f3620a5},
    {"P1(131)", 0x3c603f7ee782b125},
    {"P2(73)", 0x98439320e0e3605d},
    {"P1(179)", 0xba275e36a2759165},
    {"GS(47)", 0xf87eaba497864c2d},
    {"P1(199)", 0xf90d9533c070dd3d},
    {"GS(59)", 0xea8fa13b11068a4d},
    {"P1(283)", 0x2f69617cc2676285},
    {"GS(107)", 0x03f8cea49011433d},
    {"P2(269)", 0xd6a284eba4abcddd},
    {"P1(683)", 0x35535a3a37da534d},
    {"P2(461)", 0x062261733dab50dd}};

/// A factor from its name.
qwha::hadamard_factor factor_of(const std::string& name) {
  const auto p =
      static_cast<std::uint32_t>(std::stoul(name.substr(name.find_first_of("0123456789", name[0] == 'P' ? 2 : 0))));
  if (name[0] == 'W') return {qwha::construction::williamson, p};
  if (name[0] == 'G') return {qwha::construction::goethals_seidel, p};
  if (name[0] == 'S') return {qwha::construction::sylvester, p};
  return {name[1] == '1' ? qwha::construction::paley_1 : qwha::construction::paley_2, p};
}

/// The library's matrix of a name, as the oracle stores matrices.
oracle::signs library_matrix(const std::string& name) {
  oracle::signs product = oracle::filled(1, 1);
  for (const std::string& part : oracle::split(name)) {
    const qwha::hadamard_matrix h(factor_of(part));
    oracle::signs dense = oracle::filled(h.order(), 0);
    for (std::size_t i = 0; i < dense.n; ++i)
      for (std::size_t j = 0; j < dense.n; ++j) dense.entry[i * dense.n + j] = static_cast<signed char>(h(i, j));
    product = oracle::kronecker(product, dense);
  }
  return product;
}

}  // namespace

TEST_CASE("every listed matrix has its checksum, in the library and in the oracle") {
  for (const checksum& c : checksums) {
    INFO(c.name);
    CHECK(oracle::fnv(library_matrix(c.name)) == c.fnv);
    CHECK(oracle::fnv(oracle::matrix(c.name)) == c.fnv);
  }
}

TEST_CASE("every Williamson quadruple is the oracle's") {
  for (const std::size_t t : {3u, 5u, 7u, 9u, 11u, 15u, 17u, 19u, 21u, 27u}) {
    const std::string name = "W(" + std::to_string(t) + ")";
    INFO(name);
    CHECK(library_matrix(name).entry == oracle::matrix(name).entry);
  }
  CHECK(library_matrix("S32").entry == oracle::matrix("S32").entry);
}

TEST_CASE("H Hᵀ = n I for every construction") {
  std::vector<std::string> names = {"P1(3)", "P1(7)", "P2(5)", "S64", "P1(487)"};
  for (const checksum& c : checksums) names.push_back(c.name);
  for (const std::size_t t : {3u, 5u, 7u, 9u, 11u, 15u, 17u, 19u, 21u, 27u})
    names.push_back("W(" + std::to_string(t) + ")");
  for (const std::string& name : names) {
    const oracle::signs h = library_matrix(name);
    INFO(name);
    // rows as bit sets: two rows are orthogonal where they differ in half the places
    const std::size_t words = (h.n + 63) / 64;
    std::vector<std::uint64_t> bits(h.n * words, 0);
    for (std::size_t i = 0; i < h.n; ++i)
      for (std::size_t j = 0; j < h.n; ++j)
        if (h.at(i, j) < 0) bits[i * words + j / 64] |= std::uint64_t{1} << j % 64;
    std::size_t not_orthogonal = 0;
    for (std::size_t i = 0; i < h.n; ++i)
      for (std::size_t k = 0; k < i; ++k) {
        std::size_t differ = 0;
        for (std::size_t w = 0; w < words; ++w)
          differ += static_cast<std::size_t>(std::popcount(bits[i * words + w] ^ bits[k * words + w]));
        if (2 * differ != h.n) ++not_orthogonal;
      }
    CHECK(not_orthogonal == 0);
  }
}

TEST_CASE("symmetry is what the factor says") {
  for (const checksum& c : checksums) {
    if (oracle::split(c.name).size() > 1) continue;
    const oracle::signs h = oracle::matrix(c.name);
    INFO(c.name);
    CHECK(factor_of(c.name).symmetric() == (h.entry == oracle::transposed(h).entry));
    CHECK(factor_of(c.name).order() == h.n);
  }
}

TEST_CASE("real models have their canonical matrix") {
  for (const named_order& m : models) {
    INFO(m.n);
    CHECK(qwha::supported_order(m.n));
    CHECK(qwha::order_name(m.n) == m.name);
    CHECK(qwha::find_order(m.n).order() == m.n);
  }
}

TEST_CASE("a name multiplies out to its order, for every supported order up to 8192") {
  std::size_t supported = 0;
  for (std::size_t n = 1; n <= 8192; ++n) {
    const std::string name = qwha::order_name(n);
    REQUIRE(name.empty() == !qwha::supported_order(n));
    if (name.empty()) continue;
    ++supported;
    std::size_t order = 1;
    for (const std::string& part : oracle::split(name)) order *= factor_of(part).order();
    if (order != n) FAIL(name << " is not of order " << n);
    if (n > 2 && n % 4 != 0) FAIL("no Hadamard matrix of order " << n << " exists");
  }
  CHECK(supported > 1000);
}

TEST_CASE("the reference's sizes keep the reference's factor") {
  for (const std::size_t k : {172u, 156u, 140u, 108u, 60u, 52u, 36u, 28u, 40u, 12u}) {
    const std::string own = qwha::order_name(k);
    for (std::size_t p = 2; p <= 256; p *= 2) CHECK(qwha::order_name(k * p) == own + "xS" + std::to_string(p));
  }
}

TEST_CASE("m 2^k that a table lists with m odd below 130 is reachable, with the listed powers of two") {
  // odd m: the power of two it needs beyond 4
  const std::vector<std::pair<std::size_t, std::size_t>> late = {
      {61, 8}, {65, 16},    {67, 32}, {73, 128},  {81, 8},    {85, 16},  {89, 16},
      {93, 8}, {101, 1024}, {103, 8}, {109, 512}, {113, 256}, {119, 16}, {127, 0}};
  for (std::size_t m = 1; m < 130; m += 2) {
    std::size_t needed = m == 1 ? 1 : 4;
    for (const auto& [odd, power] : late)
      if (odd == m) needed = power;
    for (std::size_t p = 4; p <= 2048; p *= 2) {
      INFO(m << " * " << p);
      CHECK(qwha::supported_order(m * p) == (needed != 0 && p >= needed));
    }
  }
}

TEST_CASE("the nearest block divides n and is the largest that does") {
  for (std::size_t n = 1; n <= 600; ++n) {
    std::size_t largest = 0;
    for (std::size_t b = 1; b <= n; ++b)
      if (n % b == 0 && !qwha::order_name(b).empty()) largest = b;
    INFO(n);
    CHECK(qwha::nearest_block(n) == largest);
  }
}

TEST_CASE("an order that nobody can want is refused at once") {
  for (const std::size_t n : {static_cast<std::size_t>(-1), static_cast<std::size_t>(-2), std::size_t{100000007},
                              (std::size_t{1} << 63) + 6}) {
    INFO("n = " << n);
    CHECK_FALSE(qwha::supported_order(n));
    CHECK(n % qwha::nearest_block(n) == 0);
    CHECK_THROWS_AS(qwha::wht<>(n), qwha::unsupported_order);
  }
}

TEST_CASE("sign tables hold the matrix or its transpose, and are shared") {
  for (const char* name : {"P1(11)", "P2(13)", "GS(47)", "W(13)", "P1(211)"}) {
    const oracle::signs h = oracle::matrix(name);
    INFO(name);
    for (const bool transposed : {false, true}) {
      const auto table = qwha::shared_sign_table(factor_of(name), transposed);
      CHECK(table->halved() == (name[1] == '2'));
      REQUIRE(table->order() == (table->halved() ? h.n / 2 : h.n));
      std::size_t wrong = 0, seen = 0;
      for (const auto& chunk : table->chunks())
        for (std::size_t t = chunk.first_tile; t < chunk.last_tile; ++t) {
          const auto& tile = table->tiles()[t];
          for (std::size_t entry = 0; entry < 4 * (tile.plus + tile.minus); ++entry) {
            const std::size_t number = table->numbers()[tile.first + entry], i = tile.output[entry % 4];
            if (number == 0) continue;
            const std::size_t sum = (number - 1) % 16, group = chunk.first_group + (number - 1) / 16;
            for (std::size_t b = 0; b < 5 && 5 * group + b < table->order(); ++b, ++seen) {
              const bool subtracted = b > 0 && (sum >> (b - 1) & 1) != 0;
              const bool negative = subtracted != (entry / 4 >= tile.plus);
              const std::size_t j = 5 * group + b;
              if (negative != ((transposed ? h.at(j, i) : h.at(i, j)) < 0)) ++wrong;
            }
          }
        }
      CHECK(wrong == 0);
      CHECK(seen >= table->order() * table->order());
      CHECK(table == qwha::shared_sign_table(factor_of(name), transposed));
    }
  }
}
