// SPDX-License-Identifier: MIT
#include "methods.hpp"

#include <array>

namespace adapt {
namespace {

struct method {
  std::string_view name;
  qwha::fit_options (*options)(std::size_t parameters);  ///< null: no adapter
};

constexpr std::array methods{
    method{"none", nullptr},
    method{"qwha-paper", &qwha::paper_fit_options},
    method{"qwha", &qwha::held_out_fit_options},
};

const method* find(std::string_view name) {
  for (const method& m : methods)
    if (m.name == name) return &m;
  return nullptr;
}

}  // namespace

bool known_method(std::string_view name) { return find(name) != nullptr; }

std::string method_names() {
  std::string all;
  for (const method& m : methods) all += (all.empty() ? "" : ", ") + std::string(m.name);
  return all;
}

std::optional<qwha::fit_options> options_of(std::string_view name, std::size_t parameters, std::uint64_t seed) {
  const method* m = find(name);
  if (m == nullptr || m->options == nullptr) return std::nullopt;
  qwha::fit_options options = m->options(parameters);
  options.seed = seed;
  return options;
}

}  // namespace adapt
