// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// All GGUF block formats: q4_0, q4_1, q5_0, q5_1, q8_0 and q4_k (read and quantize), q2_k, q3_k, q5_k, q6_k (read).

#include <qwha/quant/gguf_super_blocks.hpp>
#include <qwha/quant/gguf_uniform.hpp>
#include <qwha/quant/q4_k.hpp>
