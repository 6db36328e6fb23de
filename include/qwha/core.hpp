// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Everything that needs the standard library only: base, transform, quant, adapter. CMake target qwha::core.

#include <qwha/adapter/sparse_spectrum.hpp>
#include <qwha/base/aligned_buffer.hpp>
#include <qwha/base/backend.hpp>
#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/base/executor.hpp>
#include <qwha/base/finite.hpp>
#include <qwha/base/float16.hpp>
#include <qwha/base/random.hpp>
#include <qwha/base/rows_view.hpp>
#include <qwha/base/status.hpp>
#include <qwha/quant/quantized_matrix.hpp>
#include <qwha/quant/quantizer.hpp>
#include <qwha/version.hpp>
