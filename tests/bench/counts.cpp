// SPDX-License-Identifier: MIT
// The check of instruction counts: it reads callgrind's dumps, and a slower kernel does not pass it.
#include "counts.hpp"

#include <sstream>
#include <stdexcept>

#include "catch.hpp"

namespace {

const auto values = nlohmann::ordered_json::parse(R"({
  "tolerance": 0.05,
  "compilers": {"GNU 12": {"wht 64": 4.0, "dequantize": 1.0}, "GNU 13": {"wht 64": 8.0}}
})");

std::string said;

bench::verdict compared(const bench::instructions_per_element& counted, const std::string& compiler = "GNU 12",
                        const std::string& only = "") {
  std::ostringstream out;
  const bench::verdict v = bench::compare(counted, values, compiler, out, only);
  said = out.str();
  INFO(said);
  return v;
}

bool mentions(const std::string& text) { return said.find(text) != std::string::npos; }

bench::instructions_per_element read(const std::string& text) {
  std::istringstream in(text);
  return bench::read_callgrind(in);
}

}  // namespace

TEST_CASE("counts within the tolerance pass") {
  CHECK(compared({{"wht 64", 4.0}, {"dequantize", 1.0}}) == bench::verdict::same);
  CHECK(compared({{"wht 64", 4.19}, {"dequantize", 0.96}}) == bench::verdict::same);
  CHECK(said.empty());
}

TEST_CASE("a slower kernel is named, and so is a faster one") {
  CHECK(compared({{"wht 64", 4.24}, {"dequantize", 1.0}}) == bench::verdict::differs);
  CHECK(mentions("SLOWER    wht 64"));
  CHECK_FALSE(mentions("dequantize"));
  CHECK(compared({{"wht 64", 4.0}, {"dequantize", 0.94}}) == bench::verdict::differs);
  CHECK(mentions("faster    dequantize"));
  CHECK_FALSE(mentions("wht 64"));
}

TEST_CASE("a kernel that nobody committed, or that is gone, does not pass") {
  CHECK(compared({{"wht 64", 4.0}, {"dequantize", 1.0}, {"wht 128", 3.0}}) == bench::verdict::differs);
  CHECK(mentions("new       wht 128"));
  CHECK(compared({{"wht 64", 4.0}}) == bench::verdict::differs);
  CHECK(mentions("gone      dequantize"));
  CHECK(compared({{"wht 64", 4.0}}, "GNU 12", "wht") == bench::verdict::same);
}

TEST_CASE("compilers have counts of their own; one without is skipped by name") {
  CHECK(compared({{"wht 64", 8.0}}, "GNU 13") == bench::verdict::same);
  CHECK(compared({{"wht 64", 8.0}}, "Clang 16") == bench::verdict::unknown_compiler);
  CHECK(mentions("Clang 16"));
  CHECK(mentions("skipped"));
}

TEST_CASE("callgrind's dumps become instructions per element") {
  const auto counted = read(
      "version: 1\npart: 1\ndesc: Trigger: Client Request: base @ 100\nfn=(1) main\n0 150\ntotals: 150\n"
      "part: 2\ndesc: Trigger: Client Request: adapter minus base @ 10\ntotals: 190\n"
      "part: 3\ndesc: Trigger: Program termination\ntotals: 0\n");
  REQUIRE(counted.size() == 2);
  CHECK(counted.at("base") == 1.5);
  CHECK(counted.at("adapter") == 4.0);
}

TEST_CASE("dumps that cannot be judged are refused") {
  CHECK_THROWS_AS(read(""), std::runtime_error);
  CHECK_THROWS_AS(read("desc: Trigger: Program termination\ntotals: 7\n"), std::runtime_error);
  CHECK_THROWS_AS(read("desc: Trigger: Client Request: no count\ntotals: 7\n"), std::runtime_error);
  CHECK_THROWS_AS(read("desc: Trigger: Client Request: a @ 10\ntotals: 0\n"), std::runtime_error);
  CHECK_THROWS_AS(read("desc: Trigger: Client Request: a minus b @ 10\ntotals: 7\n"), std::runtime_error);
}

TEST_CASE("refreshing replaces the counts of one compiler") {
  const auto fresh = bench::refreshed(values, "GNU 12", {{"wht 64", 3.14159}});
  CHECK(fresh.at("compilers").at("GNU 12") == nlohmann::ordered_json{{"wht 64", 3.142}});
  CHECK(fresh.at("compilers").at("GNU 13") == values.at("compilers").at("GNU 13"));
  CHECK(fresh.at("tolerance") == 0.05);
  const auto more = bench::refreshed(values, "Clang 19", {{"wht 64", 2.0}});
  CHECK(more.at("compilers").size() == 3);
}
