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
#include <utility>

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

/// Where a block stands in its matrix.
struct block_position {
  std::size_t row = 0;
  std::size_t block = 0;           ///< of the row
  std::size_t blocks_per_row = 1;  ///< index() counts blocks row after row
  constexpr std::size_t index() const noexcept { return row * blocks_per_row + block; }
};

/// Matrix parameters as the block at `where` sees them. A format whose matrix parameters are a table, a scale per row
/// say, gives the entry through `Q::local(matrix, where)`, and its other members take that; for all others it is the
/// matrix parameters themselves.
template <class Q>
QWHA_ALWAYS_INLINE constexpr decltype(auto) local_parameters(const typename Q::matrix_parameters& matrix,
                                                             [[maybe_unused]] block_position where) noexcept {
  if constexpr (requires { Q::local(matrix, where); })
    return Q::local(matrix, where);
  else
    return (matrix);
}
template <class Q>
using local_parameters_t = std::remove_cvref_t<decltype(local_parameters<Q>(
    std::declval<const typename Q::matrix_parameters&>(), block_position{}))>;

/// A group as its weight i sees it. A format whose groups are cut further, into sub-blocks with scales of their own,
/// gives the part through `Q::part(group, i)`, and `code` and `value` take that; for all others it is the group.
template <class Q>
QWHA_ALWAYS_INLINE constexpr decltype(auto) group_part(const typename Q::group& g,
                                                       [[maybe_unused]] std::size_t i) noexcept {
  if constexpr (requires { Q::part(g, i); })
    return Q::part(g, i);
  else
    return (g);
}
template <class Q>
using group_part_t =
    std::remove_cvref_t<decltype(group_part<Q>(std::declval<const typename Q::group&>(), std::size_t{0}))>;

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
    requires(const std::byte* codes, const std::byte* parameters, const local_parameters_t<Q>& matrix, float* out) {
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
/// what `decode` gives after `pack`, bit for bit. `unpack` undoes `pack`. For the few formats to which it matters,
/// `matrix` is what `local_parameters` gives, and `code` and `value` take what `group_part` gives.
// clang-format off
template <class Q>
concept group_quantizer = quantizer<Q> && std::semiregular<typename Q::group> &&
    requires(rows_view<const float> weights, std::span<const float> group_weights, const typename Q::group& g,
             const group_part_t<Q>& part, const local_parameters_t<Q>& matrix, float w, std::uint8_t code,
             const std::uint8_t* codes, std::uint8_t* codes_out, const std::byte* in, std::byte* out) {
  { Q::levels } -> std::convertible_to<std::size_t>;  // codes are 0 … levels - 1
  { Q::prepare(weights) } -> std::same_as<typename Q::matrix_parameters>;
  { Q::fit_group(group_weights, matrix, grid_search::mse) } noexcept -> std::same_as<typename Q::group>;
  { Q::code(part, w) } noexcept -> std::same_as<std::uint8_t>;
  { Q::value(part, code) } noexcept -> std::same_as<float>;
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
             const local_parameters_t<Q>& matrix) {
  { Q::fit_group(group_weights, importance, matrix, grid_search::mse) } noexcept -> std::same_as<typename Q::group>;
};
// clang-format on

/// A group quantizer whose levels can be scaled, for solvers that refit scales once codes are fixed.
///
/// Meaning: `rescaled(g, t, matrix)` has the levels of `g` times `t`, as nearly as its parameters are stored.
// clang-format off
template <class Q>
concept scale_quantizer = group_quantizer<Q> &&
    requires(const typename Q::group& g, float t, const local_parameters_t<Q>& matrix) {
  { Q::rescaled(g, t, matrix) } noexcept -> std::same_as<typename Q::group>;
};
// clang-format on

}  // namespace qwha
