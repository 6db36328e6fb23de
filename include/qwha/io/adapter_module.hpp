// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// An adapter in memory as its files store it: one sparse spectrum per adapted layer.

#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <qwha/adapter/sparse_spectrum.hpp>
#include <qwha/adapter/spectrum_order.hpp>
#include <qwha/base/config.hpp>
#include <qwha/base/error.hpp>
#include <qwha/io/message.hpp>

namespace qwha::io {

/// The adapter of one layer: W = WQ + F T with F [out, in] and the orthonormal T = H / sqrt(in).
struct adapter_module {
  std::string name;  ///< of the layer without ".weight": "blk.0.attn_q", "model.layers.0.self_attn.q_proj"
  sparse_spectrum<float> spectrum;  ///< F
  std::string order_name{};         ///< which H: qwha::order_name(in). Empty when saved: that one is meant
  std::string base_fingerprint{};   ///< of WQ, qwha::io::base_fingerprint; empty: any base of this shape
};

/// The adapters of a model. `metadata` is free text by key; `architecture` is what a GGUF file says its base is.
struct adapter_file {
  std::vector<adapter_module> modules;
  std::map<std::string, std::string> metadata{};
};

}  // namespace qwha::io

namespace qwha::io::inline QWHA_ISA::detail {

/// The `order_name` of a module, given or by default. @throws format_error when `wt` would use another matrix
inline std::string checked_order_name(const std::string& file, const std::string& module, std::string_view stored,
                                      std::size_t in) {
  const std::string ours = spectrum_order_name(in);
  if (ours.empty())
    throw format_error(
        joined(file, ": module ", quoted_name(module), ": no Hadamard matrix of order ", in, " is known"));
  if (!stored.empty() && stored != ours)
    throw format_error(joined(file, ": module ", quoted_name(module), " was made with the transform ",
                              quoted_name(stored), ", the transform of order ", in, " is ", quoted_name(ours)));
  return ours;
}

/// A module from arrays that come from a file: everything is checked.
inline adapter_module make_module(const std::string& file, std::string name, std::string_view order_name,
                                  std::size_t out, std::size_t in, std::vector<std::size_t> offsets,
                                  std::vector<std::uint32_t> columns, std::vector<float> values) {
  try {
    sparse_spectrum<float> spectrum(out, in, std::move(offsets), std::move(columns), std::move(values));
    std::string order = checked_order_name(file, name, order_name, in);
    return {std::move(name), std::move(spectrum), std::move(order)};
  } catch (const format_error&) {
    throw;
  } catch (const error& e) {
    throw format_error(joined(file, ": module ", quoted_name(name), ": ", e.what()));
  }
}

/// The checks that every writer makes: names that are there and differ, finite values, known transforms.
inline void check_modules(const std::string& file, const adapter_file& adapter) {
  std::map<std::string_view, int> names;
  for (const adapter_module& m : adapter.modules) {
    if (m.name.empty() || names[m.name]++ != 0)
      throw format_error(joined(file, ": the module name ", quoted_name(m.name), " is empty or appears twice"));
    checked_order_name(file, m.name, m.order_name, m.spectrum.cols());
    if (!all_finite(m.spectrum.values().data(), m.spectrum.size()))
      throw value_error(joined(file, ": module ", quoted_name(m.name), " has a value that is NaN or infinite"));
    if (m.spectrum.cols() > std::numeric_limits<std::int32_t>::max())
      throw format_error(joined(file, ": module ", quoted_name(m.name), " has more than 2^31 - 1 columns"));
  }
}

}  // namespace qwha::io::inline QWHA_ISA::detail
