// SPDX-License-Identifier: MIT
#include "counts.hpp"

#include <cmath>
#include <cstdio>
#include <istream>
#include <optional>
#include <ostream>
#include <stdexcept>

namespace bench {
namespace {

struct dump {
  std::string name, other;
  double elements, instructions;
};

/// After "prefix" in `line`, if it starts with that.
std::optional<std::string> after(const std::string& line, const std::string& prefix) {
  if (!line.starts_with(prefix)) return std::nullopt;
  return line.substr(prefix.size());
}

std::string line_of(const char* what, const std::string& name, double committed, double counted) {
  char text[256];
  std::snprintf(text, sizeof text, "  %-9s %-44s %10.3f committed %10.3f counted  %+6.1f %%\n", what, name.c_str(),
                committed, counted, 100 * (counted / committed - 1));
  return text;
}

}  // namespace

instructions_per_element read_callgrind(std::istream& in) {
  std::map<std::string, dump> dumps;
  dump current;
  for (std::string line; std::getline(in, line);) {
    if (const auto label = after(line, "desc: Trigger: Client Request: ")) {
      const auto at = label->rfind(" @ "), minus = label->find(" minus ");
      if (at == std::string::npos) throw std::runtime_error("callgrind: no element count in the dump '" + *label + "'");
      current = {label->substr(0, std::min(at, minus)), {}, std::stod(label->substr(at + 3)), 0};
      if (minus < at) current.other = label->substr(minus + 7, at - minus - 7);
    } else if (const auto total = after(line, "totals: "); total && !current.name.empty()) {
      current.instructions = std::stod(*total);
      dumps[current.name] = current;
      current = {};
    }
  }
  if (dumps.empty()) throw std::runtime_error("callgrind: its output has no dump of a kernel");
  instructions_per_element counted;
  for (const auto& [name, d] : dumps) {
    if (!d.other.empty() && !dumps.contains(d.other))
      throw std::runtime_error("callgrind: '" + name + "' is counted beyond '" + d.other + "', which was not counted");
    const double beyond = d.other.empty() ? 0 : dumps[d.other].instructions;
    if (!(d.instructions > beyond)) throw std::runtime_error("callgrind: nothing was counted for '" + name + "'");
    counted[name] = (d.instructions - beyond) / d.elements;
  }
  return counted;
}

verdict compare(const instructions_per_element& counted, const nlohmann::ordered_json& values,
                const std::string& compiler, std::ostream& out, const std::string& only) {
  const auto& known = values.at("compilers");
  if (!known.contains(compiler)) {
    out << "no instruction counts are committed for " << compiler << "; there are for:";
    for (const auto& item : known.items()) out << ' ' << item.key() << ';';
    out << " skipped\n";
    return verdict::unknown_compiler;
  }
  const double tolerance = values.at("tolerance").get<double>();
  const auto committed = known.at(compiler).get<instructions_per_element>();
  verdict result = verdict::same;
  const auto complain = [&](const std::string& line) {
    out << line;
    result = verdict::differs;
  };
  for (const auto& [name, value] : counted) {
    const auto before = committed.find(name);
    if (before == committed.end())
      complain("  new       " + name + ": not among the committed values\n");
    else if (!(value <= before->second * (1 + tolerance)))
      complain(line_of("SLOWER", name, before->second, value));
    else if (value < before->second * (1 - tolerance))
      complain(line_of("faster", name, before->second, value));
  }
  for (const auto& [name, value] : committed)
    if (!counted.contains(name) && name.find(only) != std::string::npos)
      complain("  gone      " + name + ": committed, but not counted\n");
  return result;
}

nlohmann::ordered_json refreshed(nlohmann::ordered_json values, const std::string& compiler,
                                 const instructions_per_element& counted) {
  auto& mine = values["compilers"][compiler] = nlohmann::ordered_json::object();
  for (const auto& [name, value] : counted) mine[name] = std::round(value * 1000) / 1000;
  return values;
}

}  // namespace bench
