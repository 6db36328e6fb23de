// SPDX-License-Identifier: MIT
/// Sequential calibration against its definition: the whole model is run anew for every input, from the embeddings on,
/// with the layers before it really replaced.
#include <array>
#include <utility>
#include <vector>

#include <qwha/fit/gptq.hpp>
#include <qwha/fit/initialize.hpp>
#include <qwha/io/adapter_file.hpp>
#include <qwha/quant/affine.hpp>
#include <qwha/quant/quantize.hpp>

#include "catch.hpp"
#include "engine/adapted.hpp"
#include "engine/evaluate.hpp"
#include "engine/graph.hpp"
#include "pipeline.hpp"
#include "workplace.hpp"

namespace {

using engine::linear_role;
using qwha::rows_view;
using blocks = std::vector<engine::block_weights>;

constexpr std::size_t context = 32;

engine::token_windows windows(const engine::model& m, const adapt_test::fs::path& text, std::size_t tokens) {
  return engine::make_windows(m.text().encode(adapt_test::slurp(text), true), context, m.text().bos(), tokens);
}

/// Of what `role` of a layer reads when the text runs through these blocks.
qwha::second_moment moment_of(const engine::model& m, const blocks& b, const engine::token_windows& text,
                              std::size_t layer, linear_role role) {
  qwha::second_moment moment(b[layer].at(role).in());
  engine::matrix hidden(text.tokens.size(), m.config().hidden);
  m.embed(text.tokens, hidden.view());
  for (std::size_t l = 0; l <= layer; ++l)
    engine::forward_block(m.config(), l, b[l], hidden.view(), context, [&](linear_role seen, rows_view<const float> x) {
      if (l == layer && seen == engine::input_of(role)) moment.accumulate(x);
    });
  return moment;
}

/// Rank 2 in groups of 32 on the workplace's model and texts.
adapt::options small_job(const adapt_test::workplace& w, std::size_t calibration_tokens,
                         std::size_t evaluation_tokens) {
  adapt::options o;
  o.model = w.folder / "model";
  o.calibration = w.folder / "calibration.txt";
  o.evaluation = w.folder / "evaluation.txt";
  o.context = context;
  o.calibration_tokens = calibration_tokens;
  o.evaluation_tokens = evaluation_tokens;
  o.group = 32;
  o.rank = 2;
  return o;
}

}  // namespace

TEST_CASE("sequential calibration reads what the quantized and repaired layers before it produce") {
  const adapt_test::workplace w;
  adapt::options o = small_job(w, 2048, 1024);
  o.methods = {"none", "qwha"};
  o.sequential = true;
  o.output = w.folder / "adapters";
  adapt_test::fs::create_directories(*o.output);
  const adapt::run_figures run = adapt::run(o);
  CHECK(run.sequential);
  const auto saved = qwha::io::load_adapter(*o.output / "qwha.safetensors");

  const engine::model m(o.model);
  const auto calibration = windows(m, o.calibration, o.calibration_tokens);
  const auto evaluation = windows(m, *o.evaluation, o.evaluation_tokens);
  blocks dense;
  for (std::size_t l = 0; l < m.layers(); ++l) dense.push_back(m.load_block(l));

  for (const bool repair : {false, true}) {
    blocks made = dense;
    std::vector<std::pair<engine::matrix, engine::matrix>> approximations;  // quantized; and repaired
    for (std::size_t l = 0; l < m.layers(); ++l)
      for (const linear_role role : engine::all_roles) {
        const rows_view<const float> weight = dense[l].at(role).weights().dense();
        const qwha::second_moment moment = moment_of(m, made, calibration, l, role);
        const auto base = qwha::quantize<qwha::affine<2, 32>>(weight, qwha::gptq{&moment});
        engine::matrix wq(weight.rows, weight.cols);
        base.dequantize(wq.view());
        if (repair) {
          const auto fit = qwha::initialize<float>(weight, base, moment,
                                                   qwha::held_out_fit_options(2 * (weight.rows + weight.cols)));
          const auto& module = saved.modules.at(approximations.size());
          INFO(module.name);
          CHECK(module.name == engine::module_name(l, role));
          CHECK(std::ranges::equal(module.spectrum.values(), fit.spectrum.values()));
          bool same_columns = true;
          for (std::size_t r = 0; r < weight.rows; ++r)
            same_columns = same_columns && std::ranges::equal(module.spectrum.columns(r), fit.spectrum.columns(r));
          CHECK(same_columns);
          made[l].at(role) =
              engine::make_adapted(qwha::sparse_spectral_adapter<float, qwha::affine<2, 32>>(base, fit.spectrum));
        } else {
          made[l].at(role) = engine::make_quantized(base);
        }
        engine::matrix result(weight.rows, weight.cols);
        made[l].at(role).weights().read(0, result.view());
        approximations.emplace_back(std::move(wq), std::move(result));
      }

    // Errors are those on the inputs that the finished model gives its layers, perplexity is that model's.
    const adapt::method_figures& figures = run.methods.at(repair ? 1 : 0);
    std::size_t place = 0;
    for (std::size_t l = 0; l < m.layers(); ++l)
      for (const linear_role role : engine::all_roles) {
        const rows_view<const float> weight = dense[l].at(role).weights().dense();
        const qwha::second_moment judged = moment_of(m, made, evaluation, l, role);
        INFO(figures.name << " " << figures.layers[place].name);
        CHECK(figures.layers[place].error_before ==
              qwha::layer_error(weight, approximations[place].first.view(), judged));
        CHECK(figures.layers[place].error_after ==
              qwha::layer_error(weight, approximations[place].second.view(), judged));
        ++place;
      }
    engine::matrix hidden(evaluation.tokens.size(), m.config().hidden);
    m.embed(evaluation.tokens, hidden.view());
    for (std::size_t l = 0; l < m.layers(); ++l) engine::forward_block(m.config(), l, made[l], hidden.view(), context);
    CHECK(figures.perplexity == engine::evaluate(m, evaluation, hidden.view()).perplexity());
  }
}

TEST_CASE("jobs that run together have the figures that each has alone") {
  const adapt_test::workplace w;
  adapt::options o = small_job(w, 1024, 512);
  std::array<adapt::options, 4> jobs{o, o, o, o};
  jobs[1].rank = 3;  // quantizes as the first: one cohort
  jobs[2].sequential = true;
  jobs[3].bits = 3;
  const auto together = adapt::run_together(jobs);
  REQUIRE(together.size() == jobs.size());
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    const adapt::run_figures alone = adapt::run(jobs[i]);
    CHECK(together[i].rank == alone.rank);
    CHECK(together[i].bits == alone.bits);
    CHECK(together[i].reference_perplexity == alone.reference_perplexity);
    REQUIRE(together[i].methods.size() == alone.methods.size());
    for (std::size_t k = 0; k < alone.methods.size(); ++k) {
      INFO("job " << i << ", " << alone.methods[k].name);
      CHECK(together[i].methods[k].name == alone.methods[k].name);
      CHECK(together[i].methods[k].parameters == alone.methods[k].parameters);
      CHECK(together[i].methods[k].perplexity == alone.methods[k].perplexity);
      CHECK(together[i].methods[k].relative_error() == alone.methods[k].relative_error());
    }
  }
}
