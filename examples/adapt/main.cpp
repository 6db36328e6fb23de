// SPDX-License-Identifier: MIT
/// @file
/// adapt: a language model, quantized to few bits, repaired with sparse Walsh-Hadamard adapters, judged by perplexity.
/// Exit status: 0 done, 1 bad input or a machine that refuses (one line says what and why), 2 usage, 130 interrupted.

#include <cstdio>
#include <exception>
#include <iostream>
#include <new>

#include <qwha/base/error.hpp>

#include "options.hpp"
#include "pipeline.hpp"
#include "plot.hpp"
#include "progress.hpp"
#include "report.hpp"

int main(int argc, char** argv) {
  try {
    const adapt::options options = adapt::parse_options(argc, argv);
    adapt::stop_at_interrupt();
    const adapt::run_figures run = adapt::run(options);
    adapt::print_table(std::cout, run);
    if (options.report) adapt::write_report(*options.report, run);
    if (options.plot) adapt::write_plot(*options.plot, run);
    std::cout.flush();
    if (!std::cout) throw qwha::io_error("standard output: the table could not be written");
    return 0;
  } catch (const adapt::usage_error& e) {
    (e.status == 0 ? std::cout : std::cerr) << e.what();
    return e.status;
  } catch (const adapt::interrupted&) {
    std::cerr << "adapt: interrupted; nothing was written\n";
    return 130;
  } catch (const std::bad_alloc&) {
    std::cerr << "adapt: out of memory\n";
    return 1;
  } catch (const std::exception& e) {
    std::cerr << "adapt: " << e.what() << '\n';
    return 1;
  }
}
