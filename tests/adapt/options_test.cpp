// SPDX-License-Identifier: MIT
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "catch.hpp"
#include "options.hpp"
#include "qwha/base/error.hpp"

namespace {

namespace fs = std::filesystem;

/// A folder with a file that stands for the model and one that stands for a text.
struct scratch {
  fs::path folder = fs::temp_directory_path() / "qwha_adapt_options_test";
  scratch() {
    fs::create_directories(folder);
    std::ofstream(folder / "model.gguf") << "model";
    std::ofstream(folder / "text.txt") << "text";
  }
  ~scratch() { fs::remove_all(folder); }
};

adapt::options parse(const scratch& s, std::vector<std::string> words) {
  std::vector<std::string> all{"adapt", "--model", (s.folder / "model.gguf").string(), "--calibration",
                               (s.folder / "text.txt").string()};
  all.insert(all.end(), words.begin(), words.end());
  std::vector<const char*> argv;
  for (const auto& w : all) argv.push_back(w.c_str());
  return adapt::parse_options(static_cast<int>(argv.size()), argv.data());
}

int usage_status(const scratch& s, std::vector<std::string> words) {
  try {
    parse(s, std::move(words));
  } catch (const adapt::usage_error& e) {
    return e.status;
  }
  return -1;
}

}  // namespace

TEST_CASE("defaults are the main job of the README") {
  const scratch s;
  const auto o = parse(s, {});
  CHECK(o.bits == 2);
  CHECK(o.group == 64);
  CHECK(o.rank == std::size_t{16});
  CHECK_FALSE(o.parameters.has_value());
  CHECK(o.solver == adapt::solver::gptq);
  CHECK(o.methods == std::vector<std::string>{"none", "qwha-paper", "qwha"});
  CHECK(o.context == 512);
}

TEST_CASE("options are read as the contract writes them") {
  const scratch s;
  const auto text = (s.folder / "text.txt").string();
  const auto o = parse(s, {"--evaluation",
                           text,
                           "--bits",
                           "3",
                           "--group",
                           "32",
                           "--quantizer",
                           "gptq-magr",
                           "--parameters",
                           "1000",
                           "--methods",
                           "qwha,none,qwha",
                           "--calibration-tokens",
                           "600",
                           "--evaluation-tokens",
                           "700",
                           "--context",
                           "64",
                           "--threads",
                           "1",
                           "--seed",
                           "5",
                           "--report",
                           (s.folder / "r.json").string()});
  CHECK(o.bits == 3);
  CHECK(o.group == 32);
  CHECK(o.solver == adapt::solver::gptq_magr);
  CHECK(o.parameters == std::size_t{1000});
  CHECK_FALSE(o.rank.has_value());
  CHECK(o.methods == std::vector<std::string>{"qwha", "none"});  // each once, in the order given
  CHECK(o.evaluation == fs::path(text));
  CHECK(o.seed == 5);
  const auto nf4 = parse(s, {"--quantizer", "nf4"});
  CHECK(nf4.format == adapt::format::nf4);
  CHECK(nf4.bits == 4);
  CHECK(nf4.group == 64);
}

TEST_CASE("formats bring their bits and groups; solvers take them") {
  const scratch s;
  const auto check = [&](const char* name, adapt::format format, int bits, std::size_t group) {
    INFO(name);
    const auto o = parse(s, {"--quantizer", name});
    CHECK(o.quantizer == name);
    CHECK(o.solver == adapt::solver::rtn);
    CHECK(o.format == format);
    CHECK(o.bits == bits);
    CHECK(o.group == group);
    CHECK(usage_status(s, {"--quantizer", name, "--group", "128"}) == 2);
  };
  check("nf4", adapt::format::nf4, 4, 64);
  check("nf4-dq", adapt::format::nf4_dq, 4, 64);
  check("fp4", adapt::format::fp4, 4, 64);
  check("fp4-dq", adapt::format::fp4_dq, 4, 64);
  check("mxfp4", adapt::format::mxfp4, 4, 32);
  check("nvfp4", adapt::format::nvfp4, 4, 16);
  check("int8", adapt::format::int8, 8, 0);
  check("q4_0", adapt::format::q4_0, 4, 32);
  check("q8_0", adapt::format::q8_0, 8, 32);
  check("q4_k", adapt::format::q4_k, 4, 32);

  CHECK_FALSE(parse(s, {}).sequential);
  CHECK(parse(s, {"--sequential"}).sequential);
  CHECK(parse(s, {}).descent == 0);
  CHECK(parse(s, {"--descent", "2"}).descent == 2);
  CHECK(usage_status(s, {"--descent", "1", "--quantizer", "nf4"}) == 2);
  CHECK(parse(s, {"--quantizer", "gptq-magr", "--magr-alpha", "1e-4"}).magr_alpha == 1e-4);
  CHECK(usage_status(s, {"--magr-alpha", "1e-4"}) == 2);
  CHECK_THROWS_WITH(parse(s, {"--quantizer", "gptq-magr", "--magr-alpha", "-1"}), contains("--magr-alpha"));
}

TEST_CASE("words that the program does not know are usage errors") {
  const scratch s;
  CHECK(usage_status(s, {"--bits", "5"}) == 2);
  CHECK(usage_status(s, {"--bits", "two"}) == 2);
  CHECK(usage_status(s, {"--group", "63"}) == 2);
  CHECK(usage_status(s, {"--quantizer", "magic"}) == 2);
  CHECK(usage_status(s, {"--methods", "qwha,magic"}) == 2);
  CHECK(usage_status(s, {"--methods", ","}) == 2);
  CHECK(usage_status(s, {"--rank", "4", "--parameters", "5"}) == 2);
  CHECK(usage_status(s, {"--quantizer", "nf4", "--bits", "3"}) == 2);
  CHECK(usage_status(s, {"--rank", "-3"}) == 2);
  CHECK(usage_status(s, {"--calibration-tokens", "-1"}) == 2);
  CHECK(usage_status(s, {"--no-such-option"}) == 2);
  CHECK(usage_status(s, {"--help"}) == 0);
  const char* alone[] = {"adapt"};
  CHECK_THROWS_AS(adapt::parse_options(1, alone), adapt::usage_error);
}

TEST_CASE("values that cannot be used are named") {
  const scratch s;
  CHECK_THROWS_WITH(parse(s, {"--rank", "0"}), contains("--rank"));
  CHECK_THROWS_WITH(parse(s, {"--parameters", "0"}), contains("--parameters"));
  CHECK_THROWS_WITH(parse(s, {"--context", "3"}), contains("--context"));
  CHECK_THROWS_WITH(parse(s, {"--calibration-tokens", "10"}), contains("--calibration-tokens"));
  CHECK_THROWS_WITH(parse(s, {"--evaluation", "/no/such/text"}), contains("/no/such/text"));
  CHECK_THROWS_WITH(parse(s, {"--report", "/no/such/folder/r.json"}), contains("--report"));
  CHECK_THROWS_WITH(parse(s, {"--output", (s.folder / "text.txt").string()}), contains("--output"));
  CHECK_THROWS_AS(parse(s, {"--rank", "0"}), qwha::error);
}

TEST_CASE("the cache folder follows QWHA_CACHE") {
  ::setenv("QWHA_CACHE", "/some/where", 1);
  CHECK(adapt::cache_folder() == fs::path("/some/where"));
  ::unsetenv("QWHA_CACHE");
}
