// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// What the hot paths answer. They never throw, so that an engine can call them from C and from its own threads.

namespace qwha {

enum class [[nodiscard]] status {
  ok,
  shape_mismatch,       ///< the views' rows, columns or strides do not fit each other or the object
  unsupported_order,    ///< no Hadamard matrix of this order (the status form of `unsupported_order`)
  null_data,            ///< a view that is not empty has no data
  overlapping,          ///< input and output share memory where they must not
  out_of_memory,        ///< scratch could not be allocated; the output is unchanged or partly written
  workspace_too_small,  ///< the caller's workspace is smaller than what was asked for
  not_finite,           ///< NaN or infinity in the input
  device_error,         ///< the CUDA runtime reported an error
};

/// One sentence in English for `s`, without a full stop; never null.
constexpr const char* describe(status s) noexcept {
  switch (s) {
    case status::ok: return "ok";
    case status::shape_mismatch: return "the shapes or strides of the arguments do not fit each other";
    case status::unsupported_order: return "no Hadamard matrix of this order is available";
    case status::null_data: return "a view that is not empty has no data";
    case status::overlapping: return "input and output overlap";
    case status::out_of_memory: return "scratch memory could not be allocated";
    case status::workspace_too_small: return "the workspace is smaller than what was asked for";
    case status::not_finite: return "the input holds NaN or infinity";
    case status::device_error: return "the CUDA runtime reported an error";
  }
  return "unknown status";
}

}  // namespace qwha
