// SPDX-License-Identifier: MIT
#pragma once
/// @file
/// Which transform belongs to a length: the one Hadamard matrix that qwha uses for order n, its name, and whether there
/// is one.
///
/// Name: factors joined by 'x', slow index first: S<order>, P1(<q>), P2(<q>), W(<t>), GS(<t>). A trailing S1 is left
/// out. Examples: "S4096", "P1(11)xS2" (24), "S2xP1(19)xS16" (640), "P2(73)xS128" (18944), "P1(19)xP1(67)xS4" (5440).

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>

#include <qwha/base/config.hpp>
#include <qwha/transform/hadamard_matrix.hpp>

namespace qwha {

/// No factor of a supported order is larger, powers of two apart (they cost log2, a dense factor b costs b / 5
/// additions an element).
inline constexpr std::size_t max_dense_order = std::size_t{1} << 17;

/// H = factor 0 ⊗ factor 1 ⊗ …, slow index first. `count` is 0 where no matrix is known.
struct hadamard_order {
  std::array<hadamard_factor, 3> factors{};
  std::size_t count = 0;

  constexpr explicit operator bool() const noexcept { return count != 0; }
  constexpr std::size_t order() const noexcept {
    std::size_t n = count == 0 ? 0 : 1;
    for (std::size_t f = 0; f < count; ++f) n *= factors[f].order();
    return n;
  }
  /// The order of the last factor when it is Sylvester, else 1: the contiguous fast part.
  constexpr std::size_t fast_order() const noexcept {
    return count != 0 && factors[count - 1].kind == construction::sylvester ? factors[count - 1].order() : 1;
  }
  constexpr bool symmetric() const noexcept {
    for (std::size_t f = 0; f < count; ++f)
      if (!factors[f].symmetric()) return false;
    return true;
  }
  constexpr void append(hadamard_factor f) noexcept { factors[count++] = f; }
  friend constexpr bool operator==(const hadamard_order&, const hadamard_order&) = default;
};

namespace hadamard_detail {

constexpr bool is_prime(std::size_t n) noexcept {
  if (n < 2 || (n % 2 == 0 && n != 2)) return false;
  for (std::size_t d = 3; d * d <= n; d += 2)
    if (n % d == 0) return false;
  return true;
}

/// The dense construction of order b (a multiple of 4) in the preference order P1, P2, W, GS; parameter 0 where none is
/// known.
constexpr hadamard_factor dense_factor(std::size_t b) noexcept {
  const auto make = [](construction kind, std::size_t p) {
    return hadamard_factor{kind, static_cast<std::uint32_t>(p)};
  };
  if (b % 4 != 0 || b > max_dense_order) return make(construction::paley_1, 0);
  if (is_prime(b - 1)) return make(construction::paley_1, b - 1);
  if (b % 8 == 4 && is_prime(b / 2 - 1)) return make(construction::paley_2, b / 2 - 1);
  if (find_quadruple(williamson_quadruples, b / 4) != nullptr) return make(construction::williamson, b / 4);
  if (find_quadruple(goethals_seidel_quadruples, b / 4) != nullptr) return make(construction::goethals_seidel, b / 4);
  return make(construction::paley_1, 0);
}

/// The smallest power of two p >= 4 with a dense construction of order m p, or 0. m is odd and above 1.
constexpr std::size_t smallest_cofactor(std::size_t m) noexcept {
  for (std::size_t p = 4; m * p <= max_dense_order; p *= 2)
    if (dense_factor(m * p).parameter != 0) return p;
  return 0;
}

/// The smallest a, a <= b, with dense a ⊗ b of order m p for the least power of two p; {0, 0} where there is none.
struct factor_pair {
  std::size_t a = 0, b = 0;
};
constexpr factor_pair smallest_pair(std::size_t m) noexcept {
  factor_pair best;
  for (std::size_t d = 3; d * d <= m; d += 2) {
    if (m % d != 0) continue;
    const std::size_t p = smallest_cofactor(d), q = smallest_cofactor(m / d);
    if (p == 0 || q == 0) continue;
    const std::size_t a = d * p < m / d * q ? d * p : m / d * q, b = m * p * q / a;
    if (best.a == 0 || a * b < best.a * best.b || (a * b == best.a * best.b && a < best.a)) best = {a, b};
  }
  return best;
}

}  // namespace hadamard_detail

/// The Hadamard matrix of order n; empty where none is known.
///
/// If the QWHA reference has a matrix for n, it is that one: the first of 172, 156, 140, 108, 60, 52, 36, 28, 40, 20,
/// 12 that divides n with a power of two left over (40 is H2 ⊗ P1(19)). Otherwise n = m 2^k with m odd, and the choice
/// is the smallest order m 2^j, j >= 2, that one of P1, P2, W, GS or a Kronecker product of two of them reaches, in
/// this preference. Cost: trial divisions up to sqrt(max_dense_order) for each power of two in n.
constexpr hadamard_order find_order(std::size_t n) noexcept {
  hadamard_order h;
  if (n == 0) return h;
  const auto sylvester = [](std::size_t p) {
    return hadamard_factor{construction::sylvester, static_cast<std::uint32_t>(p)};
  };
  if (std::has_single_bit(n)) {
    if (n > (std::size_t{1} << 31)) return h;
    h.append(sylvester(n));
    return h;
  }
  const std::size_t rest = n & (~n + 1), m = n / rest;
  if (m > max_dense_order / 4 || rest > (std::size_t{1} << 31)) return h;
  const auto finish = [&](std::size_t used) {
    if (rest > used) h.append(sylvester(rest / used));
    return h;
  };
  if (m == 5 && rest >= 8) {
    h.append(sylvester(2));
    h.append(hadamard_detail::dense_factor(20));
    return finish(8);
  }
  const std::size_t p = hadamard_detail::smallest_cofactor(m);
  const hadamard_detail::factor_pair pair = hadamard_detail::smallest_pair(m);
  if (p != 0 && (pair.a == 0 || m * p <= pair.a * pair.b)) {
    if (rest < p) return h;
    h.append(hadamard_detail::dense_factor(m * p));
    return finish(p);
  }
  if (pair.a == 0 || rest < pair.a * pair.b / m) return h;
  h.append(hadamard_detail::dense_factor(pair.a));
  h.append(hadamard_detail::dense_factor(pair.b));
  return finish(pair.a * pair.b / m);
}

/// Whether `wht` accepts rows of n elements.
constexpr bool supported_order(std::size_t n) noexcept { return static_cast<bool>(find_order(n)); }

/// The largest supported order that divides n, n > 0: the block size of a block-diagonal transform of n elements.
/// qwha never pads, since padding changes the update that an adapter stands for.
/// Cost: one division for each odd number up to max_dense_order / 4, whatever n is.
constexpr std::size_t nearest_block(std::size_t n) noexcept {
  const std::size_t rest = n & (~n + 1), odd = n / rest;  // n = odd · rest, rest a power of two
  std::size_t largest = 1;
  for (std::size_t m = 1; m <= max_dense_order / 4 && m <= odd; m += 2) {
    if (odd % m != 0) continue;
    for (std::size_t p = rest; p != 0 && m * p > largest; p /= 2)
      if (supported_order(m * p)) largest = m * p;
  }
  return largest;
}

}  // namespace qwha

namespace qwha::inline QWHA_ISA {

/// The canonical name of a factor or an order, see the head of this file.
inline std::string name_of(hadamard_factor f) {
  const auto named = [&f](const char* before, const char* after) {
    return std::string(before).append(std::to_string(f.parameter)).append(after);
  };
  switch (f.kind) {
    case construction::sylvester: return named("S", "");
    case construction::paley_1: return named("P1(", ")");
    case construction::paley_2: return named("P2(", ")");
    case construction::williamson: return named("W(", ")");
    case construction::goethals_seidel: return named("GS(", ")");
  }
  return {};
}
inline std::string name_of(const hadamard_order& h) {
  std::string name;
  for (std::size_t f = 0; f < h.count; ++f) name.append(f == 0 ? "" : "x").append(name_of(h.factors[f]));
  return name;
}

/// The canonical name of order n, as adapter files store it; empty where n is not supported.
inline std::string order_name(std::size_t n) { return name_of(find_order(n)); }

}  // namespace qwha::inline QWHA_ISA
