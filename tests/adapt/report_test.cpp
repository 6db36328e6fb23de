// SPDX-License-Identifier: MIT
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "catch.hpp"
#include "plot.hpp"
#include "report.hpp"

namespace {

adapt::run_figures two_methods() {
  adapt::run_figures run;
  run.model = "tiny <&> \"model\"";
  run.bits = 2;
  run.quantizer = "gptq";
  run.group = 64;
  run.rank = 16;
  run.calibration_tokens = 1024;
  run.evaluation_tokens = 512;
  run.reference_perplexity = 10;
  adapt::method_figures none{"none", 0, 1000, 1.5, 0, {}};
  adapt::method_figures qwha{"qwha", 300, 100, 1.5, 2.5, {}};
  for (int block = 0; block < 3; ++block)
    for (const char* role : {"attn_q", "ffn_down"}) {
      const std::string name = "blk." + std::to_string(block) + "." + role;
      none.layers.push_back({name, 2.0, 2.0, 0});
      qwha.layers.push_back({name, 2.0, 1.0 + 0.5 * block, 50});
    }
  run.methods = {none, qwha};
  return run;
}

std::string slurp(const std::filesystem::path& file) {
  std::ifstream in(file);
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace

TEST_CASE("relative error is the mean over layers of after / before") {
  const auto run = two_methods();
  CHECK(run.methods[0].relative_error() == 1.0);
  CHECK(run.methods[1].relative_error() == Approx((0.5 + 0.75 + 1.0) / 3));
  adapt::method_figures exact{"exact", 0, 1, 0, 0, {{"blk.0.attn_q", 0, 0, 0}}};
  CHECK(exact.relative_error() == 1.0);  // a layer without error is not 0 / 0
}

TEST_CASE("the table has a row for every method and says what the figures mean") {
  std::ostringstream out;
  adapt::print_table(out, two_methods());
  const std::string table = out.str();
  for (const char* word : {"full precision", "none", "qwha", "300", "0.750", "1000.00", "100.00", "4.0"})
    CHECK(table.find(word) != std::string::npos);
  CHECK(table.find("gptq, 2 bits in groups of 64, fitted to 1024 tokens, judged on 512") != std::string::npos);
  CHECK(table.find("brings back 50 %") != std::string::npos);  // log(1000/100) / log(1000/10)
}

TEST_CASE("the table says how a run was calibrated and what a scale covers") {
  adapt::run_figures run = two_methods();
  run.sequential = true;
  run.quantizer = "int8";
  run.bits = 8;
  run.group = 0;
  std::ostringstream out;
  adapt::print_table(out, run);
  CHECK(out.str().find("int8, 8 bits, a scale a row, fitted to 1024 tokens sequentially") != std::string::npos);
}

TEST_CASE("the report has every field of the contract") {
  const auto file = std::filesystem::temp_directory_path() / "qwha_adapt_report_test.json";
  adapt::write_report(file, two_methods());
  const auto json = nlohmann::json::parse(slurp(file));
  std::filesystem::remove(file);
  CHECK(json.at("model").get<std::string>() == "tiny <&> \"model\"");
  CHECK(json.at("bits") == 2);
  CHECK(json.at("quantizer") == "gptq");
  CHECK(json.at("group") == 64);
  CHECK(json.at("calibration") == "parallel");
  CHECK(json.at("rank") == 16);
  CHECK(json.at("tokens").at("calibration") == 1024);
  CHECK(json.at("tokens").at("evaluation") == 512);
  CHECK(json.at("reference").at("perplexity") == 10.0);
  const auto& qwha = json.at("methods").at("qwha");
  CHECK(qwha.at("parameters") == 300);
  CHECK(qwha.at("perplexity") == 100.0);
  CHECK(qwha.at("relative_error").get<double>() == Approx(0.75));
  CHECK(qwha.at("seconds").at("quantize") == 1.5);
  CHECK(qwha.at("seconds").at("fit") == 2.5);
  const auto& layer = qwha.at("layers").at("blk.2.ffn_down");
  CHECK(layer.at("error_before") == 2.0);
  CHECK(layer.at("error_after") == 2.0);
  CHECK(layer.at("parameters") == 50);
}

TEST_CASE("the plot is well-formed, escapes what it is given, and draws a line for each method and panel") {
  const std::string svg = adapt::draw_layer_errors(two_methods());
  CHECK(svg.rfind("<svg xmlns=\"http://www.w3.org/2000/svg\"", 0) == 0);
  CHECK(svg.find("tiny &lt;&amp;&gt; &quot;model&quot;") != std::string::npos);
  CHECK(svg.find("prefers-color-scheme: dark") != std::string::npos);
  CHECK(svg.find("nan") == std::string::npos);
  CHECK(svg.find("inf") == std::string::npos);
  std::size_t lines = 0;
  for (std::size_t at = svg.find("<polyline"); at != std::string::npos; at = svg.find("<polyline", at + 1)) ++lines;
  CHECK(lines == 2);  // two panels, one method beside "none"
  // Every element is closed: as many "<x" as "</x" or "/>".
  std::size_t open = 0, closed = 0;
  for (std::size_t i = 0; i + 1 < svg.size(); ++i) {
    if (svg[i] == '<' && svg[i + 1] != '/') ++open;
    if ((svg[i] == '<' && svg[i + 1] == '/') || (svg[i] == '/' && svg[i + 1] == '>')) ++closed;
  }
  CHECK(open == closed);
}
