// SPDX-License-Identifier: MIT
#include "pipeline.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <qwha/adapter/sparse_spectrum.hpp>
#include <qwha/fit/initialize.hpp>
#include <qwha/io/adapter_file.hpp>
#include <qwha/io/base_fingerprint.hpp>
#include <qwha/transform/order.hpp>

#if defined(_OPENMP)
#include <omp.h>
#endif

#include "budget.hpp"
#include "methods.hpp"
#include "progress.hpp"
#include "quantize.hpp"
#include "stream.hpp"

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

/// A method on its way through the model: its own hidden states, its figures and its adapters.
struct contestant {
  const options& job;
  method_figures figures;
  stream text;                  ///< the evaluation text through its layers
  engine::block_weights block;  ///< the block in work
  qwha::io::adapter_file adapter;

  contestant(const options& o, const std::string& name, const stream& s) : job(o), text(s) { figures.name = name; }
};

/// Methods that repair the same quantized layers: all, or, where calibration is sequential, each for itself.
struct cohort {
  const options& quantization;
  std::optional<stream> calibration;  ///< sequential: the calibration text through the layers of the one contestant
  std::vector<contestant> contestants;
  std::array<std::unique_ptr<quantized_layer>, engine::all_roles.size()> bases = {};  ///< of the block in work

  bool sequential() const noexcept { return calibration.has_value(); }
};

/// What the work costs, in floating-point operations: for the progress bar only.
struct work_estimate {
  double block_token = 0;   ///< one token through one block
  double inputs_token = 0;  ///< through as much of it as sequential calibration repeats
  double moments_token = 0;
  double quantize_block = 0;
  double fit_block = 0;  ///< and one method
  double logits_token = 0;

  explicit work_estimate(const engine::model_config& c) {
    for (const linear_role role : engine::all_roles) {
      const auto [out, in] = shape_of(c, role);
      const double o = static_cast<double>(out), n = static_cast<double>(in);
      block_token += 2 * o * n;
      for (const linear_role later : engine::all_roles)
        if (engine::input_of(later) == later && later > role && engine::input_of(role) != later)
          inputs_token += 2 * o * n;
      if (engine::input_of(role) == role) moments_token += n * n, quantize_block += n * n * n;
      quantize_block += 4 * o * n * n;
      fit_block += 3 * o * n * n;
    }
    logits_token = 2 * static_cast<double>(c.hidden) * static_cast<double>(c.vocabulary);
  }
};

class session {
 public:
  explicit session(std::span<const options> jobs)
      : jobs_(jobs),
        model_(jobs[0].model),
        work_(model_.config()),
        reference_(model_, windows(jobs[0].evaluation.value_or(jobs[0].calibration), jobs[0].evaluation_tokens)),
        calibration_(model_, windows(jobs[0].calibration, jobs[0].calibration_tokens)) {
    for (const options& job : jobs) {
      budgets_.push_back(share_out(job, model_.config()));
      for (const std::string& name : job.methods) {
        cohort& c = job.sequential ? cohorts_.emplace_back(cohort{job, calibration_, {}}) : parallel_cohort(job);
        c.contestants.emplace_back(job, name, reference_);
      }
    }
    bar_.emplace(total_work());
  }

  std::vector<run_figures> run() {
    for (std::size_t layer = 0; layer < model_.layers(); ++layer) adapt_block(layer);
    std::vector<run_figures> figures = judge();
    save_adapters();
    bar_->finish();
    return figures;
  }

 private:
  engine::token_windows windows(const std::filesystem::path& text, std::size_t tokens) const {
    return read_windows(model_, text, jobs_[0].context, tokens);
  }
  static double tokens(const stream& s) { return static_cast<double>(s.windows.tokens.size()); }
  bool any_parallel() const {
    return std::ranges::any_of(cohorts_, [](const cohort& c) { return !c.sequential(); });
  }
  std::size_t number(const options& job) const { return static_cast<std::size_t>(&job - jobs_.data()); }
  const budget_table& budget(const options& job) const { return budgets_[number(job)]; }

  /// Where the methods of a job repair: beside those of an earlier one that quantizes alike.
  cohort& parallel_cohort(const options& job) {
    const auto found = std::ranges::find_if(
        cohorts_, [&](const cohort& c) { return !c.sequential() && quantize_alike(c.quantization, job); });
    return found != cohorts_.end() ? *found : cohorts_.emplace_back(cohort{job, std::nullopt, {}});
  }

  double total_work() const {
    const double calibrating = tokens(calibration_), judging = tokens(reference_);
    double block = judging * work_.block_token, methods = 0;
    if (any_parallel()) block += (calibrating + judging) * work_.moments_token + calibrating * work_.block_token;
    for (const cohort& c : cohorts_) {
      const double contestants = static_cast<double>(c.contestants.size());
      block += work_.quantize_block + contestants * (work_.fit_block + judging * work_.block_token);
      if (c.sequential())
        block += calibrating * (work_.inputs_token + work_.block_token) + (calibrating + judging) * work_.moments_token;
      methods += contestants;
    }
    return static_cast<double>(model_.layers()) * block + (methods + 1) * judging / 2 * work_.logits_token;
  }

  void say(std::size_t layer, const std::string& what) {
    bar_->step("block " + std::to_string(layer + 1) + " of " + std::to_string(model_.layers()) + ": " + what);
  }

  /// `s` moves on to the block's output.
  void pass(std::size_t layer, const engine::block_weights& block, stream& s, const engine::observer& watch = {}) {
    engine::forward_block(model_.config(), layer, block, s.hidden.view(), s.windows.context, watch);
    bar_->advance(tokens(s) * work_.block_token);
  }
  /// The same, and what its linear layers read.
  block_inputs watch_block(std::size_t layer, const engine::block_weights& block, stream& s) {
    block_inputs inputs;
    pass(layer, block, s, stoppable(inputs));
    bar_->advance(tokens(s) * work_.moments_token);
    return inputs;
  }
  engine::observer stoppable(block_inputs& inputs) {
    return [this, accumulate = inputs.watch()](linear_role role, rows_view<const float> x) {
      accumulate(role, x);
      bar_->advance(0);  // a place to stop
    };
  }

  void adapt_block(std::size_t layer) {
    say(layer, "reading");
    const engine::block_weights dense = model_.load_block(layer);
    block_inputs fitted, judged;  // of the model as it is
    if (any_parallel()) {
      say(layer, "calibrating");
      fitted = watch_block(layer, dense, calibration_);
      say(layer, "reference");
      judged = watch_block(layer, dense, reference_);
    } else {
      say(layer, "reference");
      pass(layer, dense, reference_);
    }
    for (cohort& c : cohorts_)
      c.sequential() ? adapt_alone(layer, dense, c) : adapt_all(layer, dense, c, fitted, judged);
  }

  /// Parallel: every layer is fitted to and judged on what it reads in the model as it is.
  void adapt_all(std::size_t layer, const engine::block_weights& dense, cohort& c, block_inputs& fitted,
                 const block_inputs& judged) {
    for (contestant& m : c.contestants) m.block = dense;
    for (const linear_role role : engine::all_roles) adapt_layer(layer, role, dense.at(role), fitted.of(role), c);
    measure_errors(layer, dense, judged, c);
    for (contestant& m : c.contestants) {
      say(layer, m.figures.name + " evaluating");
      pass(layer, m.block, m.text);
    }
  }

  /// Sequential: on what it reads behind the layers that are quantized and repaired already, of this block as well.
  void adapt_alone(std::size_t layer, const engine::block_weights& dense, cohort& c) {
    contestant& m = c.contestants.front();
    m.block = dense;
    block_inputs fitted;
    for (const linear_role role : engine::all_roles) {
      if (engine::input_of(role) == role) {
        say(layer, m.figures.name + " calibrating " + std::string(engine::role_name(role)));
        engine::watch_input(model_.config(), layer, m.block, c.calibration->hidden.view(),
                            c.calibration->windows.context, role, stoppable(fitted));
      }
      adapt_layer(layer, role, dense.at(role), fitted.of(role), c);
    }
    bar_->advance(tokens(*c.calibration) * (work_.inputs_token + work_.moments_token));
    say(layer, m.figures.name + " passing on");
    pass(layer, m.block, *c.calibration);
    say(layer, m.figures.name + " evaluating");
    measure_errors(layer, dense, watch_block(layer, m.block, m.text), c);
  }

  /// Quantizes one layer, repairs it by every method of the cohort, and puts the results into the methods' blocks.
  void adapt_layer(std::size_t layer, linear_role role, const engine::linear& dense, layer_input& input, cohort& c) {
    const rows_view<const float> w = dense.weights().dense();
    const std::vector<float> bias(dense.bias().begin(), dense.bias().end());
    const double share = 1.0 / static_cast<double>(engine::all_roles.size());

    say(layer, "quantizing " + std::string(engine::role_name(role)));
    const stopwatch quantizing;
    auto& base = c.bases[static_cast<std::size_t>(role)];
    base = quantize_layer(c.quantization, w,
                          {&input.moment(), c.quantization.solver == solver::rtn ? nullptr : &input.factor()});
    engine::matrix wq(w.rows, w.cols);
    base->dequantize(wq.view());
    const double quantize_seconds = quantizing.seconds();
    bar_->advance(work_.quantize_block * share);

    // What all methods share is timed once and charged to each, as if it ran alone.
    std::optional<qwha::spectral_problem<>> problem;
    double shared_seconds = 0;
    for (contestant& m : c.contestants) {
      m.figures.quantize_seconds += quantize_seconds;
      layer_figures figures{engine::layer_name(layer, role), 0, 0, 0};
      if (const auto how =
              options_of(m.figures.name, budget(m.job)[layer][static_cast<std::size_t>(role)], m.job.seed)) {
        say(layer, m.figures.name + " fitting " + std::string(engine::role_name(role)));
        if (!problem) {
          const stopwatch sharing;
          problem.emplace(w, wq.view(), input.spectral());
          shared_seconds = sharing.seconds();
        }
        const stopwatch fitting;
        qwha::fit_result<float> result = qwha::fit(*problem, *how);
        m.figures.fit_seconds += fitting.seconds() + shared_seconds;
        figures.parameters = result.spectrum.size();
        m.block.at(role) = base->repaired(result.spectrum, bias);
        if (m.job.output)
          m.adapter.modules.push_back({adapter_name(layer, role), std::move(result.spectrum), qwha::order_name(w.cols),
                                       qwha::io::base_fingerprint(wq.view())});
      } else {
        m.block.at(role) = base->bare(bias);
      }
      bar_->advance(work_.fit_block * share);
      m.figures.parameters += figures.parameters;
      m.figures.layers.push_back(std::move(figures));
    }
  }

  /// The errors of the block's layers, quantized and repaired, on the inputs `judged`.
  void measure_errors(std::size_t layer, const engine::block_weights& dense, const block_inputs& judged, cohort& c) {
    for (const linear_role role : engine::all_roles) {
      const std::size_t place = layer * engine::all_roles.size() + static_cast<std::size_t>(role);
      const rows_view<const float> w = dense.at(role).weights().dense();
      const qwha::second_moment& moment = judged.of(role).moment();
      engine::matrix approximation(w.rows, w.cols);
      c.bases[static_cast<std::size_t>(role)]->dequantize(approximation.view());
      const double error_before = qwha::layer_error(w, approximation.view(), moment);
      for (contestant& m : c.contestants) {
        layer_figures& figures = m.figures.layers[place];
        figures.error_before = figures.error_after = error_before;
        if (figures.parameters == 0) continue;
        m.block.at(role).weights().read(0, approximation.view());
        figures.error_after = qwha::layer_error(w, approximation.view(), moment);
      }
    }
  }

  /// Adapter files name layers as the model's own files do.
  std::string adapter_name(std::size_t layer, linear_role role) const {
    return std::filesystem::is_directory(jobs_[0].model) ? engine::module_name(layer, role)
                                                         : engine::layer_name(layer, role);
  }

  double perplexity(const std::string& name, const stream& s) {
    bar_->step("perplexity of " + name);
    const double part = tokens(s) / 2 * work_.logits_token;
    std::size_t before = 0;
    const auto likelihood =
        engine::evaluate(model_, s.windows, s.hidden.view(), [&](std::size_t done, std::size_t total) {
          bar_->advance(part * static_cast<double>(done - before) / static_cast<double>(total));
          before = done;
        });
    return likelihood.perplexity();
  }

  std::vector<run_figures> judge() {
    const double reference = perplexity("the model as it is", reference_);
    std::vector<run_figures> runs;
    for (const options& job : jobs_)
      runs.push_back({.model = model_.name(),
                      .bits = job.bits,
                      .quantizer = job.quantizer,
                      .group = job.group,
                      .rank = job.rank,
                      .sequential = job.sequential,
                      .calibration_tokens = calibration_.windows.tokens.size(),
                      .evaluation_tokens = reference_.windows.tokens.size(),
                      .reference_perplexity = reference,
                      .methods = {}});
    for (cohort& c : cohorts_)
      for (contestant& m : c.contestants) {
        m.figures.perplexity = perplexity(m.figures.name, m.text);
        runs[number(m.job)].methods.push_back(m.figures);
      }
    return runs;
  }

  void save_adapters() {
    for (cohort& c : cohorts_)
      for (contestant& m : c.contestants) {
        if (m.adapter.modules.empty()) continue;
        m.adapter.metadata["base"] = model_.name();
        m.adapter.metadata["method"] = m.figures.name;
        m.adapter.metadata["quantizer"] = m.job.quantizer + ", " + quantizer_shape(m.job.bits, m.job.group);
        qwha::io::save_adapter(*m.job.output / (m.figures.name + ".safetensors"), m.adapter);
      }
  }

  std::span<const options> jobs_;
  engine::model model_;
  work_estimate work_;
  stream reference_;                   ///< through the model as it is: what everything is judged on
  stream calibration_;                 ///< through the model as it is: what parallel calibration fits to
  std::vector<budget_table> budgets_;  ///< by job
  std::vector<cohort> cohorts_;
  std::optional<progress> bar_;
};

}  // namespace

std::vector<run_figures> run_together(std::span<const options> jobs) {
#if defined(_OPENMP)
  if (jobs[0].threads > 0) omp_set_num_threads(jobs[0].threads);
#endif
  if (!jobs[0].evaluation)
    std::cerr << "adapt: no evaluation text: methods are judged on the text that they are fitted to\n";
  return session(jobs).run();
}

run_figures run(const options& options) { return run_together({&options, 1}).front(); }

}  // namespace adapt
