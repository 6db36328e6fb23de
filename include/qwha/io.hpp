// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Files: safetensors, GGUF, adapters, and the core that they fill. Needs nlohmann-json; CMake target qwha::io.

#include <qwha/core.hpp>
#include <qwha/io/adapter_arrays.hpp>
#include <qwha/io/adapter_file.hpp>
#include <qwha/io/adapter_gguf.hpp>
#include <qwha/io/adapter_module.hpp>
#include <qwha/io/adapter_safetensors.hpp>
#include <qwha/io/atomic_file.hpp>
#include <qwha/io/base_fingerprint.hpp>
#include <qwha/io/convert.hpp>
#include <qwha/io/dtype.hpp>
#include <qwha/io/file_name.hpp>
#include <qwha/io/gguf.hpp>
#include <qwha/io/gguf_writer.hpp>
#include <qwha/io/gptq_checkpoint.hpp>
#include <qwha/io/gptq_config.hpp>
#include <qwha/io/gptq_layer.hpp>
#include <qwha/io/gptq_writer.hpp>
#include <qwha/io/json.hpp>
#include <qwha/io/mapped_file.hpp>
#include <qwha/io/message.hpp>
#include <qwha/io/module_names.hpp>
#include <qwha/io/posix.hpp>
#include <qwha/io/qhft.hpp>
#include <qwha/io/random_permutation.hpp>
#include <qwha/io/safetensors.hpp>
#include <qwha/io/safetensors_writer.hpp>
#include <qwha/io/tensor.hpp>
#include <qwha/io/tensor_file.hpp>
#include <qwha/io/word_transpose.hpp>
#include <qwha/version.hpp>
