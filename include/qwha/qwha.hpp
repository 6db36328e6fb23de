// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// `core.hpp` and all that is fitted to data: solvers, second moments, selection, initialisation. Needs Eigen 3.4; CMake
/// target qwha::qwha.

#include <qwha/core.hpp>
#include <qwha/fit/ada_alloc.hpp>
#include <qwha/fit/cholesky.hpp>
#include <qwha/fit/coordinate_descent.hpp>
#include <qwha/fit/dot.hpp>
#include <qwha/fit/eigen.hpp>
#include <qwha/fit/exchange.hpp>
#include <qwha/fit/gptq.hpp>
#include <qwha/fit/gptq_factor.hpp>
#include <qwha/fit/initialize.hpp>
#include <qwha/fit/magr.hpp>
#include <qwha/fit/pursuit.hpp>
#include <qwha/fit/refine.hpp>
#include <qwha/fit/row_objective.hpp>
#include <qwha/fit/row_tile.hpp>
#include <qwha/fit/second_moment.hpp>
#include <qwha/fit/selection.hpp>
#include <qwha/fit/single_thread.hpp>
#include <qwha/fit/spectral_correlation.hpp>
#include <qwha/fit/spectral_moment.hpp>
#include <qwha/fit/spectral_problem.hpp>
