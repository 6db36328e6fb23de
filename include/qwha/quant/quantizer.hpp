// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// What a quantized weight format is: an empty type that knows its blocks. Formats are data layouts; how the codes are
/// chosen is a solver (`round_to_nearest` here, GPTQ and MagR in fit/).

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>

#include <qwha/base/config.hpp>
#include <qwha/base/rows_view.hpp>

namespace qwha {

/// Matrix parameters of formats that have none.
struct no_parameters {
  bool operator==(const no_parameters&) const = default;
};

/// How the scale of a group is found.
enum class grid_search {
  min_max,  ///< the smallest grid that holds every weight of the group
  mse       ///< the grid, among shrunk ones, of least squared error
};

/// A format that can be read. Each row of a matrix is cut into blocks of `block_size` weights along `in` (the last one
/// may be short: it is stored whole, its surplus never read). A block is `code_bytes` bytes in the plane of codes and
/// `parameter_bytes` in the plane of parameters; formats that mix the two (GGUF) leave the second empty.
///
/// Meaning: `decode` writes all `block_size` weights of one block; it reads unaligned, allocates nothing and gives
/// equal bits for equal bytes on every back end. Static members are always inlined, since the type crosses files
/// (config.hpp).
// clang-format off
template <class Q>
concept quantizer = std::is_empty_v<Q> && std::semiregular<typename Q::matrix_parameters> &&
    requires(const std::byte* codes, const std::byte* parameters, const typename Q::matrix_parameters& matrix,
             float* out) {
  { Q::name() } -> std::convertible_to<std::string>;  // as on the command line: "int3 g64", "nf4", "q4_k"
  { Q::block_size } -> std::convertible_to<std::size_t>;
  { Q::code_bytes } -> std::convertible_to<std::size_t>;
  { Q::parameter_bytes } -> std::convertible_to<std::size_t>;
  { Q::decode(codes, parameters, matrix, out) } noexcept -> std::same_as<void>;
};
// clang-format on

/// A format whose weights can be chosen one at a time against the parameters of their group, so that solvers such as
/// GPTQ work with it. A group is a block.
///
/// Meaning: `prepare` looks at the whole matrix once (a global scale, say). `fit_group` chooses what the codes of a
/// group are relative to, already rounded as it will be stored. `code` is the nearest level; `value(g, code(g, w))` is
/// what `decode` gives after `pack`, bit for bit. `unpack` undoes `pack`.
// clang-format off
template <class Q>
concept group_quantizer = quantizer<Q> && std::semiregular<typename Q::group> &&
    requires(rows_view<const float> weights, std::span<const float> group_weights, const typename Q::group& g,
             const typename Q::matrix_parameters& matrix, float w, std::uint8_t code, const std::uint8_t* codes,
             std::uint8_t* codes_out, const std::byte* in, std::byte* out) {
  { Q::levels } -> std::convertible_to<std::size_t>;  // codes are 0 … levels - 1
  { Q::prepare(weights) } -> std::same_as<typename Q::matrix_parameters>;
  { Q::fit_group(group_weights, matrix, grid_search::mse) } noexcept -> std::same_as<typename Q::group>;
  { Q::code(g, w) } noexcept -> std::same_as<std::uint8_t>;
  { Q::value(g, code) } noexcept -> std::same_as<float>;
  { Q::pack(g, codes, out, out) } noexcept -> std::same_as<void>;  // block_size codes → code plane, parameter plane
  { Q::unpack(in, in, matrix, codes_out) } noexcept -> std::same_as<typename Q::group>;
};
// clang-format on

/// A group quantizer that can also weigh its squared errors, for solvers that know how much each input channel matters.
///
/// Meaning: `fit_group` with the mse search minimises the sum of importance (w - level)² instead. Importances are
/// finite and not negative, one per weight.
// clang-format off
template <class Q>
concept weighted_group_quantizer = group_quantizer<Q> &&
    requires(std::span<const float> group_weights, std::span<const float> importance,
             const typename Q::matrix_parameters& matrix) {
  { Q::fit_group(group_weights, importance, matrix, grid_search::mse) } noexcept -> std::same_as<typename Q::group>;
};
// clang-format on

}  // namespace qwha
