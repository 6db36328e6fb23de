// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// The rules of the house as functions of a folder: each returns one line per breach, none when all is well.

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace qwha::test {

namespace fs = std::filesystem;
using breaches = std::vector<std::string>;

inline std::string text_of(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// Regular files below `root` for which `wanted` holds, as sorted paths relative to it.
template <class Predicate>
std::vector<fs::path> files_below(const fs::path& root, Predicate&& wanted) {
  std::vector<fs::path> files;
  if (!fs::exists(root)) return files;
  for (const auto& entry : fs::recursive_directory_iterator(root))
    if (entry.is_regular_file() && wanted(entry.path())) files.push_back(fs::relative(entry.path(), root));
  std::sort(files.begin(), files.end());
  return files;
}

struct include {
  std::string target;  ///< between the brackets or quotes
  bool quoted;
};

inline std::vector<include> includes_of(const std::string& text) {
  static const std::regex pattern(R"re((^|\n)[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"])re");
  std::vector<include> found;
  for (std::sregex_iterator it(text.begin(), text.end(), pattern), end; it != end; ++it)
    found.push_back({(*it)[3].str(), (*it)[2].str() == "\""});
  return found;
}

/// The folder of a header below include/qwha is its layer; umbrellas, which lie in no folder, are layers of their own.
inline std::string layer_of(const fs::path& below_qwha) {
  return below_qwha.has_parent_path() ? below_qwha.begin()->string() : below_qwha.string();
}

/// What each layer may include, itself apart: design.md's arrows, closed under transitivity.
inline const std::map<std::string, std::set<std::string>>& arrows() {
  static const std::map<std::string, std::set<std::string>> table{
      {"base", {}},
      {"transform", {"base"}},
      {"quant", {"base"}},
      {"adapter", {"base", "transform", "quant"}},
      {"fit", {"base", "transform", "quant", "adapter"}},
      {"io", {"base", "transform", "quant", "adapter"}},
      {"version.hpp", {}},
      {"core.hpp", {"base", "transform", "quant", "adapter", "version.hpp"}},
      {"qwha.hpp", {"core.hpp", "fit"}},
      {"io.hpp", {"base", "transform", "quant", "adapter", "io", "core.hpp", "version.hpp"}},
      {"qwha.cuh", {"base", "transform", "quant", "adapter", "fit", "core.hpp", "qwha.hpp"}},
  };
  return table;
}

/// Headers from outside: any layer may use the standard library; the rest is named here.
inline bool foreign_header_allowed(const std::string& layer, const std::string& target) {
  const auto starts = [&](std::string_view prefix) {
    return std::string_view(target).substr(0, prefix.size()) == prefix;
  };
  if (target.find_first_of("/.") == std::string::npos) return true;                         // <vector>
  if (target == "immintrin.h" || target == "arm_neon.h" || target == "omp.h") return true;  // the compiler's own
  if (starts("Eigen/")) return layer == "fit";
  if (starts("nlohmann/")) return layer == "io";
  static const std::set<std::string> system{"sys/mman.h", "sys/stat.h", "sys/types.h",
                                            "fcntl.h",    "unistd.h",   "windows.h"};
  return layer == "io" && system.count(target) != 0;
}

/// Every #include below `root` (the folder that holds qwha/) against the arrows.
inline breaches forbidden_includes(const fs::path& root) {
  breaches found;
  const auto is_header = [](const fs::path& p) { return p.extension() == ".hpp" || p.extension() == ".cuh"; };
  for (const fs::path& file : files_below(root / "qwha", is_header)) {
    const std::string layer = layer_of(file);
    const auto say = [&](const std::string& what) {
      found.push_back((fs::path("qwha") / file).generic_string() + ": " + what);
    };
    const auto known = arrows().find(layer);
    if (known == arrows().end()) {
      say("the folder or umbrella '" + layer + "' is none of design.md's");
      continue;
    }
    for (const include& i : includes_of(text_of(root / "qwha" / file))) {
      if (i.quoted) say("\"" + i.target + "\" should be written <qwha/…>");
      const bool cuda_source = fs::path(i.target).extension() == ".cuh";
      if (cuda_source && file.extension() == ".hpp") say("a .hpp includes " + i.target);
      if (i.target.rfind("qwha/", 0) != 0) {
        const bool cuda_file = file.extension() == ".cuh";
        if (!i.quoted && !cuda_file && !foreign_header_allowed(layer, i.target))
          say("<" + i.target + "> is not for layer " + layer);
        continue;
      }
      const std::string other = layer_of(fs::path(i.target.substr(5)));
      if (other != layer && known->second.count(other) == 0) say("no arrow from " + layer + " to " + other);
      if (!fs::exists(root / i.target)) say("<" + i.target + "> does not exist");
    }
  }
  return found;
}

/// Headers of `layers` that `umbrella` does not reach.
inline breaches not_reached(const fs::path& root, const std::string& umbrella, const std::set<std::string>& layers) {
  std::set<std::string> seen;
  std::vector<std::string> open{"qwha/" + umbrella};
  while (!open.empty()) {
    const std::string file = open.back();
    open.pop_back();
    if (!seen.insert(file).second) continue;
    for (const include& i : includes_of(text_of(root / file)))
      if (i.target.rfind("qwha/", 0) == 0) open.push_back(i.target);
  }
  breaches found;
  for (const fs::path& file : files_below(root / "qwha", [](const fs::path& p) { return p.extension() == ".hpp"; }))
    if (layers.count(layer_of(file)) != 0 && seen.count("qwha/" + file.generic_string()) == 0)
      found.push_back(umbrella + " does not reach qwha/" + file.generic_string());
  return found;
}

/// Headers without `#pragma once` or a `/// @file` comment; compiler macros outside base/config.hpp.
inline breaches header_habits(const fs::path& root) {
  static const std::regex compiler(
      R"((\b|_)(__GNUC__|__clang__|_MSC_VER|__CUDACC__|__SSE[0-9_]*__|__AVX[0-9A-Z_]*__|__FMA__|__F16C__|__ARM_NEON)\b)");
  breaches found;
  for (const fs::path& file : files_below(root / "qwha", [](const fs::path& p) { return p.extension() == ".hpp"; })) {
    const std::string text = text_of(root / "qwha" / file);
    const auto say = [&](const std::string& what) {
      found.push_back((fs::path("qwha") / file).generic_string() + ": " + what);
    };
    if (text.find("\n#pragma once\n") == std::string::npos) say("no #pragma once");
    if (text.find("\n/// @file\n") == std::string::npos) say("no /// @file");
    if (file.generic_string() != "base/config.hpp" && std::regex_search(text, compiler))
      say("only base/config.hpp looks at the compiler");
    // A second namespace of that name beside the one inside QWHA_ISA makes `detail::` ambiguous for headers that follow.
    std::size_t plain = text.find("namespace qwha::detail");
    for (std::size_t open = text.find("\nnamespace qwha {"); plain == std::string::npos && open != std::string::npos;
         open = text.find("\nnamespace qwha {", open + 1)) {
      const std::size_t inner = text.find("\nnamespace detail", open);
      if (inner < text.find("\n}  // namespace qwha\n", open)) plain = inner;
    }
    if (plain != std::string::npos) say("detail stands outside the inline namespace");
  }
  return found;
}

inline bool is_source(const fs::path& p) {
  static const std::set<std::string> extensions{".hpp", ".cpp", ".cuh", ".cu", ".h", ".cmake", ".sh", ".py", ".in"};
  return extensions.count(p.extension().string()) != 0 || p.filename() == "CMakeLists.txt";
}

/// Source files of ours (the build folder and dot folders apart) whose first two lines do not name the licence.
inline breaches without_licence(const fs::path& root) {
  breaches found;
  for (const fs::path folder : {"include", "cmake", "tests", "bench", "examples", "packaging"})
    for (const fs::path& file : files_below(root / folder, is_source)) {
      const std::string text = text_of(root / folder / file);
      const std::size_t second = text.find('\n', text.find('\n') + 1);
      if (text.substr(0, second).find("SPDX-License-Identifier: MIT") == std::string::npos)
        found.push_back((folder / file).generic_string() + ": no SPDX-License-Identifier: MIT");
    }
  return found;
}

/// Text files of ours that name somebody's home or work folder, or keep a note to self.
inline breaches private_strings(const fs::path& root) {
  // Spelled in halves, or this file would be its own breach.
  static const std::array<std::string, 7> forbidden{
      "/wo"
      "rk/",
      "/ro"
      "ot/",
      "/ho"
      "me/",
      "/tm"
      "p/",
      "TO"
      "DO",
      "FIX"
      "ME",
      "XX"
      "X:"};
  static const std::set<std::string> texts{".md", ".json", ".txt"};
  breaches found;
  for (const fs::path folder : {"include", "cmake", "tests", "bench", "examples", "packaging", "docs", ".ci"})
    for (const fs::path& file : files_below(root / folder, [](const fs::path& p) {
           return is_source(p) || texts.count(p.extension().string()) != 0 || !p.has_extension();
         })) {
      const std::string text = text_of(root / folder / file);
      if (text.size() > (1u << 20)) continue;
      for (const std::string& word : forbidden)
        if (text.find(word) != std::string::npos)
          found.push_back((folder / file).generic_string() + ": contains '" + word + "'");
    }
  return found;
}

}  // namespace qwha::test
