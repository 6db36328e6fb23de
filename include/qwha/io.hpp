// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Files: safetensors, GGUF, adapters. Needs nlohmann-json; CMake target qwha::io.

#include <qwha/base/error.hpp>
