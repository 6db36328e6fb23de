// SPDX-License-Identifier: MIT
/// Layers of a model as GPTQ sees them, for compare_gptq.py: weights, second moments, and our codes' grids and losses.
///
///   gptq_layers MODEL TEXT DIRECTORY TOKENS LAYER...
///
/// For every layer DIRECTORY gets <input>.moment (second_moment_file.hpp) and, for each matrix that reads the input,
/// <matrix>.weight, float [out, in], and <matrix>.<bits>.grid, float [out, groups, 2]: scale and zero point. On stdout
/// stands a JSON object a line: the shape, and tr(E S Eᵀ) of each variant.

#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <qwha/fit/gptq.hpp>
#include <qwha/fit/initialize.hpp>
#include <qwha/fit/second_moment_file.hpp>
#include <qwha/quant/affine.hpp>
#include <qwha/quant/quantize.hpp>

#include "engine/evaluate.hpp"
#include "engine/graph.hpp"
#include "engine/model.hpp"

namespace {

using engine::linear_role;
using qwha::rows_view;

void write(const std::filesystem::path& path, std::span<const float> values) {
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(values.size_bytes()));
  if (!file) throw qwha::io_error(path.string() + ": cannot be written");
}

template <class Q>
double loss(rows_view<const float> w, const qwha::quantized_matrix<Q>& q, const qwha::second_moment& moment) {
  std::vector<float> values(w.rows * w.cols);
  q.dequantize(rows_view<float>(values.data(), w.rows, w.cols));
  const double error = qwha::layer_error(w, rows_view<const float>(values.data(), w.rows, w.cols), moment);
  return error * error;
}

template <class Q>
std::vector<float> grids(const qwha::quantized_matrix<Q>& q) {
  std::vector<float> values;
  std::uint8_t codes[Q::block_size];
  for (std::size_t r = 0; r < q.rows(); ++r)
    for (std::size_t g = 0; g < q.blocks_per_row(); ++g) {
      const auto group = Q::unpack(q.codes(r) + g * Q::code_bytes, q.parameters(r) + g * Q::parameter_bytes, {}, codes);
      values.insert(values.end(), {group.scale, group.zero});
    }
  return values;
}

struct matrix_job {
  std::filesystem::path stem;
  rows_view<const float> weight;
  const qwha::second_moment& moment;
  const qwha::gptq_factor& factor;
  const qwha::gptq_factor& ordered;
};

template <int Bits>
nlohmann::json quantized(const matrix_job& job) {
  using Q = qwha::affine<Bits, 64>;
  const auto run = [&](const qwha::gptq& how) { return qwha::quantize<Q>(job.weight, how); };
  qwha::gptq how{.moment = &job.moment, .static_groups = true, .factor = &job.factor};
  const auto fixed = run(how);
  write(job.stem.string() + "." + std::to_string(Bits) + ".grid", grids(fixed));
  nlohmann::json losses = {{"same_grid", loss(job.weight, fixed, job.moment)}};
  how.descent = {.passes = 1};
  losses["same_grid_descent"] = loss(job.weight, run(how), job.moment);
  how = {.moment = &job.moment, .factor = &job.factor};
  losses["own_grid"] = loss(job.weight, run(how), job.moment);
  how.descent = {.passes = 1};
  losses["own_grid_descent"] = loss(job.weight, run(how), job.moment);
  how.descent.scales = true;
  losses["own_grid_scales"] = loss(job.weight, run(how), job.moment);
  how = {.moment = &job.moment, .act_order = true, .factor = &job.ordered};
  losses["act_order"] = loss(job.weight, run(how), job.moment);
  return losses;
}

void write_layer(const std::filesystem::path& folder, std::size_t layer, const engine::block_weights& block,
                 const std::map<linear_role, qwha::second_moment>& moments) {
  for (const auto& [input, moment] : moments) {
    const qwha::gptq_factor factor(moment), ordered(moment, 0.01, true);
    const std::string input_name = engine::layer_name(layer, input);
    qwha::save_second_moment(folder / (input_name + ".moment"), moment);
    for (const linear_role role : engine::all_roles) {
      if (engine::input_of(role) != input) continue;
      const auto dense = block.at(role).weights().dense();
      const std::string name = engine::layer_name(layer, role);
      const matrix_job job{folder / name, dense, moment, factor, ordered};
      std::vector<float> rows(dense.rows * dense.cols);
      for (std::size_t r = 0; r < dense.rows; ++r) std::copy_n(dense.row(r), dense.cols, rows.data() + r * dense.cols);
      write(job.stem.string() + ".weight", rows);
      const nlohmann::json line = {{"matrix", name},        {"input", input_name},    {"out", dense.rows},
                                   {"in", dense.cols},      {"2", quantized<2>(job)}, {"3", quantized<3>(job)},
                                   {"4", quantized<4>(job)}};
      std::cout << line << std::endl;
    }
  }
}

int run(std::span<char*> arguments) {
  if (arguments.size() < 6) {
    std::cerr << "usage: gptq_layers MODEL TEXT DIRECTORY TOKENS LAYER...\n";
    return 2;
  }
  const engine::model model(arguments[1]);
  std::ifstream file(arguments[2], std::ios::binary);
  const std::string text(std::istreambuf_iterator<char>(file), {});
  const std::filesystem::path folder = arguments[3];
  std::filesystem::create_directories(folder);
  const std::size_t tokens = std::strtoull(arguments[4], nullptr, 10), context = 512;
  std::vector<bool> wanted(model.layers());
  std::size_t last = 0;
  for (const char* a : arguments.subspan(5)) {
    last = std::max<std::size_t>(last, std::strtoull(a, nullptr, 10));
    wanted.at(std::strtoull(a, nullptr, 10)) = true;
  }
  const auto windows = engine::make_windows(model.text().encode(std::string_view(text).substr(0, 16 * tokens), true),
                                            context, model.text().bos(), tokens);
  engine::matrix hidden(windows.tokens.size(), model.config().hidden);
  model.embed(windows.tokens, hidden.view());
  for (std::size_t layer = 0; layer <= last; ++layer) {
    const auto block = model.load_block(layer);
    std::map<linear_role, qwha::second_moment> moments;
    engine::observer watch;
    if (wanted[layer])
      watch = [&](linear_role role, rows_view<const float> x) {
        moments.try_emplace(role, x.cols).first->second.accumulate(x);
      };
    engine::forward_block(model.config(), layer, block, hidden.view(), context, watch);
    write_layer(folder, layer, block, moments);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(std::span<char*>(argv, static_cast<std::size_t>(argc)));
  } catch (const std::exception& e) {
    std::cerr << "gptq_layers: " << e.what() << "\n";
    return 1;
  }
}
