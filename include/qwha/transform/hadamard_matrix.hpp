// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Hadamard matrices by construction: entry (i, j) of Sylvester, Paley I and II, Williamson and Goethals-Seidel
/// matrices as a constexpr function of a small spec. Nothing is stored but the first rows of the sporadic quadruples.

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <qwha/base/config.hpp>

namespace qwha {

enum class construction : std::uint8_t {
  sylvester,       ///< S(2^k) = H2 ⊗ … ⊗ H2
  paley_1,         ///< P1(q), q ≡ 3 mod 4 prime, order q + 1
  paley_2,         ///< P2(q), q ≡ 1 mod 4 prime, order 2 (q + 1)
  williamson,      ///< W(t), order 4 t, four symmetric circulants
  goethals_seidel  ///< GS(t), order 4 t, four circulants
};

/// One factor of a Kronecker product: a construction and its parameter (order of S, prime q of P1 and P2, t of W and
/// GS).
struct hadamard_factor {
  construction kind = construction::sylvester;
  std::uint32_t parameter = 1;

  constexpr std::size_t order() const noexcept {
    const std::size_t p = parameter;
    switch (kind) {
      case construction::sylvester: return p;
      case construction::paley_1: return p + 1;
      case construction::paley_2: return 2 * (p + 1);
      case construction::williamson:
      case construction::goethals_seidel: return 4 * p;
    }
    return 0;
  }
  constexpr bool symmetric() const noexcept { return kind == construction::sylvester || kind == construction::paley_2; }
  friend constexpr bool operator==(const hadamard_factor&, const hadamard_factor&) = default;
  friend constexpr auto operator<=>(const hadamard_factor&, const hadamard_factor&) = default;
};

}  // namespace qwha

namespace qwha::hadamard_detail {

/// First rows of four circulants, one bit an element, set for -1.
/// Williamson: symmetric rows, bits 0 … h - 1 are elements 1 … h (h = (t - 1) / 2), bit h is element 0.
/// Goethals-Seidel: bit i of the t bits is element i; the upper bits of t = 107 lie in `high`.
struct circulant_quadruple {
  std::uint32_t t;
  std::array<std::uint64_t, 4> low;
  std::array<std::uint64_t, 4> high{};
};

/// Williamson (1944) quadruples. t = 13, 39, 43 are those of N. Sloane's library, which the QWHA reference uses; the
/// others are the lexicographically least.
inline constexpr std::array<circulant_quadruple, 16> williamson_quadruples{{
    {3, {0x0, 0x1, 0x1, 0x1}},
    {5, {0x1, 0x2, 0x3, 0x3}},
    {7, {0x1, 0x1, 0x3, 0x4}},
    {9, {0x1, 0x3, 0x7, 0xa}},
    {11, {0x3, 0x5, 0xf, 0x16}},
    {13, {0xd, 0x7, 0x1a, 0x2f}},
    {15, {0x6, 0x25, 0x2e, 0x72}},
    {17, {0xb, 0x89, 0xba, 0xc7}},
    {19, {0xb, 0x74, 0xb1, 0x131}},
    {21, {0x19, 0x5e, 0x1d1, 0x269}},
    {23, {0x2b, 0x153, 0x19c, 0x71b}},
    {25, {0x39, 0x1dd, 0x32d, 0xd36}},
    {27, {0xa7, 0x705, 0xcda, 0x1487}},
    {29, {0x1cb, 0x6e5, 0x1c24, 0x24f5}},
    {39, {0x66fac, 0x579b8, 0x6d74c, 0x23ea7}},
    {43, {0x122867, 0x9af02, 0x1a1594, 0x1e6d0e}},
}};

/// From Turyn-type sequences: Best, Djoković, Kharaghani, Ramp (2013); Kharaghani, Tayfeh-Rezaie (2005) for t = 107.
inline constexpr std::array<circulant_quadruple, 3> goethals_seidel_quadruples{{
    {47, {0x6603530cab0, 0x3ed83530354f, 0x6604acf354f, 0x4127b530354f}},
    {59, {0x15630697109b3d0, 0x28ca06971064c2f, 0x15630168ef64c2f, 0x5735fe971064c2f}},
    {107,
     {0x158b3e8768c88682, 0x158b3e889737797d, 0xea74c1789737797d, 0x158b3e889737797d},
     {0x5e121f53c21, 0x4e10cdac121, 0x5e121f53c5e, 0x31ef3253ea1}},
}};

template <std::size_t Size>
constexpr const circulant_quadruple* find_quadruple(const std::array<circulant_quadruple, Size>& list,
                                                    std::size_t t) noexcept {
  for (const circulant_quadruple& q : list)
    if (q.t == t) return &q;
  return nullptr;
}

constexpr bool bit_of(std::uint64_t low, std::uint64_t high, std::size_t i) noexcept {
  return ((i < 64 ? low >> i : high >> (i - 64)) & 1u) != 0;
}

/// Whether element d (0 <= d < t) of circulant `which` is -1.
constexpr bool williamson_negative(const circulant_quadruple& q, std::size_t which, std::size_t d) noexcept {
  const std::size_t half = (q.t - 1) / 2;
  if (d == 0) return bit_of(q.low[which], 0, half);
  return bit_of(q.low[which], 0, (d <= half ? d : q.t - d) - 1);
}

}  // namespace qwha::hadamard_detail

namespace qwha::inline QWHA_ISA {

/// The entries of one Hadamard matrix, from the definition. Construction costs O(order), an entry O(1).
///
/// Conventions (indices from 0, chi the Legendre symbol mod q with chi(0) = 0):
///  - S: (-1)^popcount(i & j);
///  - P1: row 0 is 1, -1, …, -1; column 0 and the diagonal are 1; else chi(i - j). H + Hᵀ = 2 I (Paley 1933);
///  - P2: C has a zero diagonal, ones in row and column 0, else chi(i - j); H = [[C + I, C - I], [C - I, -C - I]];
///  - W: [[A, B, C, D], [-B, A, -D, C], [-C, D, A, -B], [-D, -C, B, A]], M(i, j) = first row((j - i) mod t);
///  - GS: [[A, BR, CR, DR], [-BR, A, DᵀR, -CᵀR], [-CR, -DᵀR, A, BᵀR], [-DR, CᵀR, -BᵀR, A]], R reverses columns.
/// They reproduce all eleven tables of the QWHA reference (QuaRot, N. Sloane's library) entry by entry.
/// @pre  the parameter belongs to the construction (a prime of the right residue, a listed t)
class hadamard_matrix {
 public:
  constexpr explicit hadamard_matrix(hadamard_factor factor) : factor_(factor) {
    const std::size_t q = factor.parameter;
    if (factor.kind == construction::paley_1 || factor.kind == construction::paley_2) {
      nonresidue_.assign(q, 1);
      for (std::size_t x = 0; x <= q / 2; ++x) nonresidue_[x * x % q] = 0;
    } else if (factor.kind == construction::williamson) {
      quadruple_ = *hadamard_detail::find_quadruple(hadamard_detail::williamson_quadruples, q);
    } else if (factor.kind == construction::goethals_seidel) {
      quadruple_ = *hadamard_detail::find_quadruple(hadamard_detail::goethals_seidel_quadruples, q);
    }
  }

  constexpr std::size_t order() const noexcept { return factor_.order(); }
  constexpr hadamard_factor factor() const noexcept { return factor_; }

  /// Whether entry (i, j) is -1.
  constexpr bool negative(std::size_t i, std::size_t j) const noexcept {
    switch (factor_.kind) {
      case construction::sylvester: return std::popcount(i & j) % 2 != 0;
      case construction::paley_1: return paley_1(i, j);
      case construction::paley_2: return paley_2(i, j);
      case construction::williamson: return williamson(i, j);
      case construction::goethals_seidel: return goethals_seidel(i, j);
    }
    return false;
  }
  constexpr int operator()(std::size_t i, std::size_t j) const noexcept { return negative(i, j) ? -1 : 1; }

 private:
  constexpr bool chi_negative(std::size_t i, std::size_t j) const noexcept {
    return nonresidue_[i >= j ? i - j : i + factor_.parameter - j] != 0;
  }
  constexpr bool paley_1(std::size_t i, std::size_t j) const noexcept {
    if (i == 0) return j != 0;
    return j != 0 && chi_negative(i, j);  // chi(0) counts as 1: the diagonal
  }
  constexpr bool paley_2(std::size_t i, std::size_t j) const noexcept {
    const std::size_t n = factor_.parameter + 1;
    const bool lower = i >= n, right = j >= n;
    const std::size_t a = lower ? i - n : i, b = right ? j - n : j;
    if (a == b) return lower || right;  // C is zero there: I, -I, -I, -I
    const bool c = a != 0 && b != 0 && chi_negative(a, b);
    return c != (lower && right);
  }
  constexpr bool williamson(std::size_t i, std::size_t j) const noexcept {
    constexpr std::uint8_t which[4][4] = {{0, 1, 2, 3}, {1, 0, 3, 2}, {2, 3, 0, 1}, {3, 2, 1, 0}};
    constexpr bool minus[4][4] = {{false, false, false, false},
                                  {true, false, true, false},
                                  {true, false, false, true},
                                  {true, true, false, false}};
    const std::size_t t = factor_.parameter, bi = i / t, bj = j / t;
    return hadamard_detail::williamson_negative(quadruple_, which[bi][bj], (j + t - i % t) % t) != minus[bi][bj];
  }
  constexpr bool goethals_seidel(std::size_t i, std::size_t j) const noexcept {
    constexpr std::uint8_t which[4][4] = {{0, 1, 2, 3}, {1, 0, 3, 2}, {2, 3, 0, 1}, {3, 2, 1, 0}};
    constexpr bool minus[4][4] = {{false, false, false, false},
                                  {true, false, false, true},
                                  {true, true, false, false},
                                  {true, false, true, false}};
    const std::size_t t = factor_.parameter, bi = i / t, bj = j / t, r = i % t, c = j % t;
    std::size_t d = (c + t - r) % t;  // A
    if (bi != bj) {
      const std::size_t reversed = t - 1 - c;           // M R: column c of M R is column t - 1 - c of M
      d = bi == 0 || bj == 0 ? (reversed + t - r) % t   // B R, C R, D R
                             : (r + t - reversed) % t;  // Dᵀ R, Cᵀ R, Bᵀ R
    }
    return hadamard_detail::bit_of(quadruple_.low[which[bi][bj]], quadruple_.high[which[bi][bj]], d) != minus[bi][bj];
  }

  hadamard_factor factor_;
  std::vector<std::uint8_t> nonresidue_;  // [q]: chi = -1
  hadamard_detail::circulant_quadruple quadruple_{};
};

}  // namespace qwha::inline QWHA_ISA
