// SPDX-License-Identifier: MIT
#include "pipeline.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <iostream>
#include <map>
#include <optional>

#include <qwha/adapter/sparse_spectrum.hpp>
#include <qwha/fit/initialize.hpp>
#include <qwha/io/adapter_file.hpp>
#include <qwha/io/base_fingerprint.hpp>
#include <qwha/transform/order.hpp>

#if defined(_OPENMP)
#include <omp.h>
#endif

#include "budget.hpp"
#include "engine/evaluate.hpp"
#include "engine/graph.hpp"
#include "engine/model.hpp"
#include "methods.hpp"
#include "progress.hpp"
#include "quantize.hpp"

namespace adapt {
namespace {

using engine::linear_role;
using qwha::rows_view;

class stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(clock::now() - start_).count(); }

 private:
  using clock = std::chrono::steady_clock;
  clock::time_point start_ = clock::now();
};

std::string read_text(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::string text(std::istreambuf_iterator<char>(in), {});
  if (!in.good() && !in.eof()) throw qwha::io_error(path.string() + ": cannot be read");
  if (text.empty()) throw qwha::value_error(path.string() + ": the text is empty");
  return text;
}

/// Windows of the text, and a message that names it when there are too few tokens.
engine::token_windows windows_of(const engine::model& model, const std::filesystem::path& path, std::size_t context,
                                 std::size_t max_tokens) {
  const std::string text = read_text(path);
  // No language has fewer than a token in 16 bytes by much: what lies beyond is never looked at.
  const std::string_view head(text.data(), std::min(text.size(), 16 * max_tokens + 65536));
  try {
    return engine::make_windows(model.text().encode(head, true), context, model.text().bos(), max_tokens);
  } catch (const qwha::value_error& e) {
    throw qwha::value_error(path.string() + ": " + e.what());
  }
}

/// Hidden states of windows on their way through the blocks.
struct stream {
  engine::token_windows windows;
  engine::matrix hidden;

  stream(const engine::model& model, engine::token_windows w)
      : windows(std::move(w)), hidden(windows.tokens.size(), model.config().hidden) {
    model.embed(windows.tokens, hidden.view());
  }
};

/// Second moments of the inputs of one block's linear layers, by the first role that reads them.
class block_moments {
 public:
  engine::observer watch() {
    return [this](linear_role role, rows_view<const float> x) {
      moments_.try_emplace(role, x.cols).first->second.accumulate(x);
    };
  }
  const qwha::second_moment& of(linear_role role) const { return moments_.at(engine::input_of(role)); }

 private:
  std::map<linear_role, qwha::second_moment> moments_;
};

/// A method on its way through the model: its own hidden states, its figures and its adapters.
struct contestant {
  method_figures figures;
  stream text;
  qwha::io::adapter_file adapter;

  contestant(const std::string& name, stream s) : text(std::move(s)) { figures.name = name; }
};

/// What the work costs, in floating-point operations: for the progress bar only.
struct work_estimate {
  double block_token = 0;  ///< one token through one block
  double moments_token = 0;
  double quantize_block = 0;
  double fit_block = 0;  ///< and one method
  double logits_token = 0;

  explicit work_estimate(const engine::model_config& c) {
    for (const linear_role role : engine::all_roles) {
      const auto [out, in] = shape_of(c, role);
      const double o = static_cast<double>(out), n = static_cast<double>(in);
      block_token += 2 * o * n;
      if (engine::input_of(role) == role) moments_token += n * n, quantize_block += n * n * n;
      quantize_block += 4 * o * n * n;
      fit_block += 3 * o * n * n;
    }
    logits_token = 2 * static_cast<double>(c.hidden) * static_cast<double>(c.vocabulary);
  }
};

class job {
 public:
  explicit job(const options& o)
      : options_(o),
        model_(o.model),
        budget_(share_out(o, model_.config())),
        work_(model_.config()),
        calibration_(model_, windows_of(model_, o.calibration, o.context, o.calibration_tokens)),
        reference_(model_, windows_of(model_, o.evaluation.value_or(o.calibration), o.context, o.evaluation_tokens)),
        bar_(total_work()) {
    for (const std::string& name : o.methods) contestants_.emplace_back(name, stream(model_, reference_.windows));
  }

  run_figures run() {
    for (std::size_t layer = 0; layer < model_.layers(); ++layer) adapt_block(layer);
    run_figures figures = judge();
    save_adapters();
    bar_.finish();
    return figures;
  }

 private:
  double total_work() const {
    const double calibration = static_cast<double>(calibration_.windows.tokens.size());
    const double evaluation = static_cast<double>(reference_.windows.tokens.size());
    const double methods = static_cast<double>(options_.methods.size());
    const double block = (calibration + evaluation) * (work_.block_token + work_.moments_token) +
                         methods * evaluation * work_.block_token + work_.quantize_block + methods * work_.fit_block;
    return static_cast<double>(model_.layers()) * block + (methods + 1) * evaluation / 2 * work_.logits_token;
  }

  void say(std::size_t layer, const std::string& what) {
    bar_.step("block " + std::to_string(layer + 1) + " of " + std::to_string(model_.layers()) + ": " + what);
  }

  /// `hidden` <- the block's output; the second moments of what its linear layers read.
  block_moments watch_block(std::size_t layer, const engine::block_weights& block, stream& s) {
    block_moments moments;
    const auto accumulate = moments.watch();
    engine::forward_block(model_.config(), layer, block, s.hidden.view(), options_.context,
                          [&](linear_role role, rows_view<const float> x) {
                            accumulate(role, x);
                            bar_.advance(0);  // a place to stop
                          });
    bar_.advance(static_cast<double>(s.windows.tokens.size()) * (work_.block_token + work_.moments_token));
    return moments;
  }

  void adapt_block(std::size_t layer) {
    say(layer, "reading");
    const engine::block_weights dense = model_.load_block(layer);
    say(layer, "calibrating");
    block_moments fitted = watch_block(layer, dense, calibration_);
    say(layer, "reference");
    const block_moments judged = watch_block(layer, dense, reference_);

    std::vector<engine::block_weights> repaired(contestants_.size(), dense);
    for (const linear_role input : engine::all_roles) {
      if (engine::input_of(input) != input) continue;
      const qwha::second_moment& moment = fitted.of(input);
      std::optional<qwha::gptq_factor> factor;
      std::optional<qwha::spectral_moment<>> spectral;
      for (const linear_role role : engine::all_roles)
        if (engine::input_of(role) == input)
          adapt_layer(layer, role, dense.at(role), moment, judged.of(input), factor, spectral, repaired);
    }

    for (std::size_t i = 0; i < contestants_.size(); ++i) {
      say(layer, contestants_[i].figures.name + " evaluating");
      stream& text = contestants_[i].text;
      engine::forward_block(model_.config(), layer, repaired[i], text.hidden.view(), options_.context);
      bar_.advance(static_cast<double>(text.windows.tokens.size()) * work_.block_token);
    }
  }

  /// Quantizes one layer, repairs it by every method, and puts the results into the methods' blocks. `factor` and
  /// `spectral` are made at the first layer that reads an input and shared by the others.
  void adapt_layer(std::size_t layer, linear_role role, const engine::linear& dense, const qwha::second_moment& moment,
                   const qwha::second_moment& judged, std::optional<qwha::gptq_factor>& factor,
                   std::optional<qwha::spectral_moment<>>& spectral, std::vector<engine::block_weights>& repaired) {
    const std::string name = engine::layer_name(layer, role);
    const rows_view<const float> w = dense.weights().dense();
    const std::vector<float> bias(dense.bias().begin(), dense.bias().end());
    const double share = 1.0 / static_cast<double>(engine::all_roles.size());

    say(layer, "quantizing " + std::string(engine::role_name(role)));
    const stopwatch quantizing;
    if (options_.solver != solver::rtn && !factor) factor.emplace(moment);
    const auto base = quantize_layer(options_, w, {&moment, factor ? &*factor : nullptr});
    engine::matrix wq(w.rows, w.cols);
    base->dequantize(wq.view());
    const double quantize_seconds = quantizing.seconds();
    const double error_before = qwha::layer_error(w, wq.view(), judged);
    bar_.advance(work_.quantize_block * share);

    // What all methods share is timed once and charged to each, as if it ran alone.
    std::optional<qwha::spectral_problem<>> problem;
    double shared_seconds = 0;
    for (std::size_t i = 0; i < contestants_.size(); ++i) {
      contestant& c = contestants_[i];
      c.figures.quantize_seconds += quantize_seconds;
      layer_figures figures{name, error_before, error_before, 0};
      const std::size_t budget = budget_[layer][static_cast<std::size_t>(role)];
      if (const auto fit_options = options_of(c.figures.name, budget, options_.seed)) {
        say(layer, c.figures.name + " fitting " + std::string(engine::role_name(role)));
        if (!problem) {
          const stopwatch sharing;
          if (!spectral) spectral.emplace(moment);
          problem.emplace(w, wq.view(), *spectral);
          shared_seconds = sharing.seconds();
        }
        const stopwatch fitting;
        qwha::fit_result<float> result = qwha::fit(*problem, *fit_options);
        c.figures.fit_seconds += fitting.seconds() + shared_seconds;
        figures.parameters = result.spectrum.size();
        repaired[i].at(role) = base->repaired(result.spectrum, bias);
        engine::matrix approximation(w.rows, w.cols);
        repaired[i].at(role).weights().read(0, approximation.view());
        figures.error_after = qwha::layer_error(w, approximation.view(), judged);
        if (options_.output)
          c.adapter.modules.push_back({adapter_name(layer, role), std::move(result.spectrum), qwha::order_name(w.cols),
                                       qwha::io::base_fingerprint(wq.view())});
        bar_.advance(work_.fit_block * share);
      } else {
        repaired[i].at(role) = base->bare(bias);
      }
      c.figures.parameters += figures.parameters;
      c.figures.layers.push_back(std::move(figures));
    }
  }

  /// Adapter files name layers as the model's own files do.
  std::string adapter_name(std::size_t layer, linear_role role) const {
    return std::filesystem::is_directory(options_.model) ? engine::module_name(layer, role)
                                                         : engine::layer_name(layer, role);
  }

  double perplexity(const std::string& name, const stream& s) {
    bar_.step("perplexity of " + name);
    const double part = static_cast<double>(s.windows.tokens.size()) / 2 * work_.logits_token;
    std::size_t before = 0;
    const auto likelihood =
        engine::evaluate(model_, s.windows, s.hidden.view(), [&](std::size_t done, std::size_t total) {
          bar_.advance(part * static_cast<double>(done - before) / static_cast<double>(total));
          before = done;
        });
    return likelihood.perplexity();
  }

  run_figures judge() {
    run_figures run{.model = model_.name(),
                    .bits = options_.bits,
                    .quantizer = options_.quantizer,
                    .group = options_.group,
                    .rank = options_.rank,
                    .calibration_tokens = calibration_.windows.tokens.size(),
                    .evaluation_tokens = reference_.windows.tokens.size(),
                    .reference_perplexity = perplexity("the model as it is", reference_),
                    .methods = {}};
    for (contestant& c : contestants_) {
      c.figures.perplexity = perplexity(c.figures.name, c.text);
      run.methods.push_back(c.figures);
    }
    return run;
  }

  void save_adapters() {
    if (!options_.output) return;
    for (contestant& c : contestants_) {
      if (c.adapter.modules.empty()) continue;
      c.adapter.metadata["base"] = model_.name();
      c.adapter.metadata["method"] = c.figures.name;
      c.adapter.metadata["quantizer"] = options_.quantizer + ", " + std::to_string(options_.bits) +
                                        " bits in groups of " + std::to_string(options_.group);
      qwha::io::save_adapter(*options_.output / (c.figures.name + ".safetensors"), c.adapter);
    }
  }

  const options& options_;
  engine::model model_;
  budget_table budget_;
  work_estimate work_;
  stream calibration_;  ///< through the model as it is: what everything is fitted to
  stream reference_;    ///< through the model as it is: what everything is judged on
  std::vector<contestant> contestants_;
  progress bar_;
};

}  // namespace

run_figures run(const options& options) {
#if defined(_OPENMP)
  if (options.threads > 0) omp_set_num_threads(options.threads);
#endif
  if (!options.evaluation)
    std::cerr << "adapt: no evaluation text: methods are judged on the text that they are fitted to\n";
  return job(options).run();
}

}  // namespace adapt
