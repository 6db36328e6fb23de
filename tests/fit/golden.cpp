// SPDX-License-Identifier: MIT
// What the paper's Python reference computed on tiny models: same positions, same values, from its own inputs.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <qwha/fit/initialize.hpp>
#include <qwha/io/safetensors.hpp>

#include "catch.hpp"

namespace {

namespace fs = std::filesystem;

/// The folder of golden files: the environment's QWHA_GOLDEN, else shared/golden beside the project.
fs::path golden() {
  const char* named = std::getenv("QWHA_GOLDEN");
  return named != nullptr ? fs::path(named)
                          : fs::path(QWHA_TEST_SOURCE_DIR).parent_path().parent_path() / "shared" / "golden";
}

std::string ending(const std::string& name) { return name.substr(name.rfind('.') + 1); }

/// The module whose stored xtx `module` shares: k and v read q's activations, up reads gate's.
std::string source_of_moment(const std::string& module) {
  const std::string parent = module.substr(0, module.rfind('.') + 1), last = ending(module);
  if (last == "k_proj" || last == "v_proj") return parent + "q_proj";
  return last == "up_proj" ? parent + "gate_proj" : module;
}

}  // namespace

TEST_CASE("the reference's initialisation is reproduced, position by position") {
  const fs::path folder = golden() / "reference";
  if (!fs::exists(folder)) {
    WARN("skipped: no golden files at " << folder.string() << " (set QWHA_GOLDEN)");
    return;
  }
  std::size_t modules = 0, coefficients = 0;
  double worst_value = 0, worst_objective = 0, difference_sum = 0, norm_sum = 0;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (!fs::exists(entry.path() / "init.safetensors")) continue;
    const qwha::io::safetensors_file inputs(entry.path() / "init.safetensors");
    const qwha::io::safetensors_file adapter(entry.path() / "adapter" / "adapter_model.safetensors");
    for (const std::string& name : inputs.names()) {
      if (ending(name) != "quant_error") continue;
      const std::string module = name.substr(0, name.rfind('.'));
      INFO(entry.path().filename().string() << " " << module);
      const std::string prefix = "base_model.model." + module + ".";
      const auto shape = inputs.at(name).shape;
      const std::size_t out = shape.at(0), in = shape.at(1);

      const std::vector<float> error = inputs.read<float>(name), zero(out * in, 0.0f);
      const qwha::second_moment moment(inputs.read<double>(source_of_moment(module) + ".xtx"), 512);
      const auto spectrum = adapter.read<double>(prefix + "qhft_spectrum");
      const auto indices = adapter.read<std::int64_t>(prefix + "qhft_indices_default");
      const double scaling = adapter.read<double>(prefix + "qhft_scaling_default").at(0);
      const std::size_t p = spectrum.size();
      REQUIRE(indices.size() == 2 * p);

      // The reference allocates by the norm of the weight error alone, and selects by G_jj C_ij².
      std::vector<double> weight_error(out, 0.0);
      for (std::size_t i = 0; i < error.size(); ++i)
        weight_error[i / in] += static_cast<double>(error[i]) * static_cast<double>(error[i]);
      for (double& e : weight_error) e = std::sqrt(e);
      qwha::fit_options options = qwha::paper_fit_options(p);
      options.selection = qwha::selection::reference;
      const qwha::spectral_moment<> g(moment);
      const qwha::spectral_problem<> problem({error.data(), out, in},
                                             qwha::rows_view<const float>(zero.data(), out, in), g);
      // The remainder goes to rows of equal floors in an order that torch does not specify: compare up to such ties.
      std::vector<std::uint32_t> budgets(out, 0), ours_budgets = qwha::ada_alloc(weight_error, p, in);
      for (std::size_t k = 0; k < p; ++k) ++budgets.at(static_cast<std::size_t>(indices[k]));
      bool tied = true;
      for (std::size_t i = 0; i < out; ++i)
        if (budgets[i] != ours_budgets[i])
          tied &= budgets[i] + 1 == ours_budgets[i] || budgets[i] == ours_budgets[i] + 1;
      CHECK(tied);
      std::vector<std::uint32_t> theirs_sorted = budgets;
      std::sort(theirs_sorted.begin(), theirs_sorted.end());
      std::sort(ours_budgets.begin(), ours_budgets.end());
      CHECK(theirs_sorted == ours_budgets);

      const auto support = qwha::select(problem, budgets, options);
      const auto result = qwha::refine<double>(problem, support, options);

      // F against T = H / sqrt(in); the file's against H / in, scaled by scaling / sqrt(out).
      const double unit = scaling / std::sqrt(static_cast<double>(out) * static_cast<double>(in));
      std::map<std::pair<std::int64_t, std::int64_t>, double> expected;
      for (std::size_t k = 0; k < p; ++k) expected[{indices[k], indices[p + k]}] = spectrum[k] * unit;
      REQUIRE(expected.size() == p);
      std::size_t missing = 0;
      double difference = 0, norm = 0;
      for (std::size_t i = 0; i < out; ++i)
        for (std::size_t k = 0; k < result.spectrum.columns(i).size(); ++k) {
          const auto found =
              expected.find({static_cast<std::int64_t>(i), static_cast<std::int64_t>(result.spectrum.columns(i)[k])});
          if (found == expected.end()) {
            ++missing;
            continue;
          }
          const double d = result.spectrum.values(i)[k] - found->second;
          difference += d * d;
          norm += found->second * found->second;
        }
      CHECK(missing == 0);
      const double relative = std::sqrt(difference / norm);
      CHECK(relative < 1e-5);  // the reference solves in float, with condition numbers up to 1e4
      difference_sum += difference;
      norm_sum += norm;
      worst_value = std::max(worst_value, relative);

      // Ours on the same budget by the paper's own objective.
      const auto ours = qwha::fit<double>(problem, qwha::fit_options{p});
      CHECK(ours.error_after < result.error_after);
      worst_objective = std::max(worst_objective, ours.error_after / result.error_after);
      ++modules;
      coefficients += p;
    }
  }
  REQUIRE(modules > 0);
  CHECK(std::sqrt(difference_sum / norm_sum) < 1e-6);
  std::cout << modules << " modules, " << coefficients << " coefficients; values within " << worst_value
            << " (norm of a module, relative), " << std::sqrt(difference_sum / norm_sum)
            << " over all; error of pursuit over the reference's at most " << worst_objective << '\n';
}
