// SPDX-License-Identifier: MIT
// The tree against the rules, and the rules against planted breaches: a rule that cannot fail guards nothing.

#include "source_tree.hpp"

#include <chrono>
#include <cstdlib>

#include <qwha/version.hpp>

#include "catch.hpp"

namespace {

using namespace qwha::test;

const fs::path project{QWHA_PROJECT_SOURCE_DIR};

std::string lines(const breaches& all) {
  std::string text;
  for (const std::string& line : all) text += line + "\n";
  return text;
}

/// A folder that is gone at the end of the test.
class planted_tree {
 public:
  planted_tree()
      : root_(fs::temp_directory_path() /
              ("qwha-house-" + std::to_string(std::chrono::steady_clock::now().time_since_epoch().count()))) {
    fs::create_directories(root_);
  }
  ~planted_tree() { fs::remove_all(root_); }
  planted_tree(const planted_tree&) = delete;
  planted_tree& operator=(const planted_tree&) = delete;

  planted_tree& with(const fs::path& file, const std::string& text) {
    fs::create_directories((root_ / file).parent_path());
    std::ofstream(root_ / file) << text;
    return *this;
  }
  const fs::path& root() const { return root_; }

 private:
  fs::path root_;
};

bool mentions(const breaches& all, const std::string& part) {
  return std::any_of(all.begin(), all.end(), [&](const std::string& s) { return s.find(part) != std::string::npos; });
}

}  // namespace

TEST_CASE("includes follow the arrows of the design") {
  const breaches found = forbidden_includes(project / "include");
  INFO(lines(found));
  CHECK(found.empty());
}

TEST_CASE("the include walk sees what it forbids") {
  planted_tree tree;
  tree.with("qwha/base/a.hpp", "#include <vector>\n")
      .with("qwha/quant/q.hpp", "#include <qwha/base/a.hpp>\n")
      .with("qwha/adapter/s.hpp", "#include <qwha/quant/q.hpp>\n#include <qwha/base/a.hpp>\n")
      .with("qwha/fit/f.hpp", "#include <Eigen/Core>\n#include <qwha/adapter/s.hpp>\n");
  REQUIRE(forbidden_includes(tree.root()).empty());

  SECTION("an arrow upwards") {
    tree.with("qwha/base/b.hpp", "// first\n  #  include <qwha/quant/q.hpp>\n");
    CHECK(mentions(forbidden_includes(tree.root()), "qwha/base/b.hpp: no arrow from base to quant"));
  }
  SECTION("an arrow between siblings") {
    tree.with("qwha/transform/t.hpp", "#include <qwha/quant/q.hpp>\n");
    CHECK(mentions(forbidden_includes(tree.root()), "no arrow from transform to quant"));
  }
  SECTION("io does not sit on fit") {
    tree.with("qwha/io/g.hpp", "#include <qwha/fit/f.hpp>\n");
    CHECK(mentions(forbidden_includes(tree.root()), "no arrow from io to fit"));
  }
  SECTION("a plain header that needs a CUDA compiler") {
    tree.with("qwha/quant/cuda/k.cuh", "\n").with("qwha/quant/r.hpp", "#include <qwha/quant/cuda/k.cuh>\n");
    CHECK(mentions(forbidden_includes(tree.root()), "a .hpp includes qwha/quant/cuda/k.cuh"));
  }
  SECTION("libraries outside their layer") {
    tree.with("qwha/adapter/e.hpp", "#include <Eigen/Core>\n").with("qwha/fit/j.hpp", "#include <nlohmann/json.hpp>\n");
    CHECK(mentions(forbidden_includes(tree.root()), "<Eigen/Core> is not for layer adapter"));
    CHECK(mentions(forbidden_includes(tree.root()), "<nlohmann/json.hpp> is not for layer fit"));
  }
  SECTION("quotes, absent files, unknown folders") {
    tree.with("qwha/base/c.hpp", "#include \"a.hpp\"\n")
        .with("qwha/base/d.hpp", "#include <qwha/base/absent.hpp>\n")
        .with("qwha/tools/t.hpp", "\n");
    CHECK(mentions(forbidden_includes(tree.root()), "should be written <qwha/"));
    CHECK(mentions(forbidden_includes(tree.root()), "<qwha/base/absent.hpp> does not exist"));
    CHECK(mentions(forbidden_includes(tree.root()), "'tools' is none of design.md's"));
  }
}

TEST_CASE("umbrellas reach every header of their layers") {
  const fs::path root = project / "include";
  breaches found = not_reached(root, "core.hpp", {"base", "transform", "quant", "adapter", "version.hpp"});
  // Second moments in files bring <filesystem> and <fstream>, half a second that who only fits need not pay.
  const std::string apart = "qwha.hpp does not reach qwha/fit/second_moment_file.hpp";
  for (const std::string& line : not_reached(root, "qwha.hpp", {"base", "transform", "quant", "adapter", "fit"}))
    if (line != apart) found.push_back(line);
  for (const std::string& line : not_reached(root, "io.hpp", {"io"})) found.push_back(line);
  INFO(lines(found));
  CHECK(found.empty());

  planted_tree tree;
  tree.with("qwha/core.hpp", "#include <qwha/base/a.hpp>\n").with("qwha/base/a.hpp", "").with("qwha/base/b.hpp", "");
  CHECK(not_reached(tree.root(), "core.hpp", {"base"}) == breaches{"core.hpp does not reach qwha/base/b.hpp"});
}

TEST_CASE("headers keep the habits of the house") {
  const breaches found = header_habits(project / "include");
  INFO(lines(found));
  CHECK(found.empty());

  planted_tree tree;
  tree.with("qwha/base/a.hpp", "// SPDX\n#if defined(__AVX2__)\n#endif\n");
  CHECK(mentions(header_habits(tree.root()), "no #pragma once"));
  CHECK(mentions(header_habits(tree.root()), "no /// @file"));
  CHECK(mentions(header_habits(tree.root()), "only base/config.hpp looks at the compiler"));
  CHECK_FALSE(mentions(header_habits(tree.root()), "detail stands outside"));
  tree.with("qwha/base/b.hpp", "\nnamespace qwha {\nnamespace detail {\n}\n\n}  // namespace qwha\n");
  CHECK(mentions(header_habits(tree.root()), "qwha/base/b.hpp: detail stands outside the inline namespace"));
}

TEST_CASE("every source file names the licence") {
  const breaches found = without_licence(project);
  INFO(lines(found));
  CHECK(found.empty());
  CHECK(fs::exists(project / "LICENSE"));

  planted_tree tree;
  tree.with("tests/a.cpp", "int main() {}\n").with("cmake/b.cmake", "# SPDX-License-Identifier: MIT\n");
  CHECK(without_licence(tree.root()) == breaches{"tests/a.cpp: no SPDX-License-Identifier: MIT"});
}

TEST_CASE("no file names a private folder or keeps a note to self") {
  const breaches found = private_strings(project);
  INFO(lines(found));
  CHECK(found.empty());

  planted_tree tree;
  tree.with("tests/a.cpp",
            "// /ho"
            "me/me/model.gguf\n");
  CHECK(private_strings(tree.root()).size() == 1);
}

TEST_CASE("README's programs are the tests'") {
  const std::string readme = text_of(project / "README.md"), fence = "```cpp\n";
  int number = 0;
  for (std::size_t at = readme.find(fence); at != std::string::npos; at = readme.find(fence, at + 1)) {
    const std::size_t begin = at + fence.size();
    const std::string program = text_of(project / "tests/house" / ("readme_" + std::to_string(++number) + ".cpp"));
    CHECK(program == "// SPDX-License-Identifier: MIT\n" + readme.substr(begin, readme.find("```", begin) - begin));
  }
  CHECK(number == 2);
}

TEST_CASE("README's first screen has the two commands, each complete on one line") {
  const std::string readme = text_of(project / "README.md");
  const std::string first_screen = readme.substr(0, readme.find("\n## "));
  CHECK(first_screen.find("\nsh cmake/setup.sh && cmake --workflow --preset demo\n") != std::string::npos);
  CHECK(first_screen.find("\nsh cmake/setup.sh && cmake --workflow --preset test\n") != std::string::npos);
}

TEST_CASE("version.hpp and CMakeLists.txt agree") {
  const std::string version = std::to_string(QWHA_VERSION_MAJOR) + "." + std::to_string(QWHA_VERSION_MINOR) + "." +
                              std::to_string(QWHA_VERSION_PATCH);
  CHECK(version == QWHA_PROJECT_VERSION);
  CHECK(text_of(project / "packaging/vcpkg/ports/qwha/vcpkg.json").find("\"" + version + "\"") != std::string::npos);
  CHECK(text_of(project / "CHANGELOG.md").find("## [" + version + "]") != std::string::npos);
}
