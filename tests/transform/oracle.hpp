// SPDX-License-Identifier: MIT
#pragma once
/// The definition, in double: dense sign matrices from their literature definitions and a transform that walks a name
/// such as "P1(19)xP1(67)xS4" factor by factor. Shares no code with what it checks.

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace oracle {

/// Square matrix of signs, row after row.
struct signs {
  std::size_t n = 0;
  std::vector<signed char> entry;
  int at(std::size_t i, std::size_t j) const { return entry[i * n + j]; }
};
inline signs filled(std::size_t n, int value) {
  return {n, std::vector<signed char>(n * n, static_cast<signed char>(value))};
}

/// Euler's criterion: a^((q - 1) / 2) mod q.
inline int legendre(std::int64_t a, std::int64_t q) {
  a = ((a % q) + q) % q;
  if (a == 0) return 0;
  std::int64_t power = 1, base = a;
  for (std::int64_t e = (q - 1) / 2; e > 0; e /= 2, base = base * base % q)
    if (e % 2 == 1) power = power * base % q;
  return power == 1 ? 1 : -1;
}

inline std::vector<int> legendre_table(std::size_t q) {
  std::vector<int> chi(q);
  for (std::size_t a = 0; a < q; ++a) chi[a] = legendre(static_cast<std::int64_t>(a), static_cast<std::int64_t>(q));
  return chi;
}

inline signs paley_1(std::size_t q) {
  signs h = filled(q + 1, 1);
  const auto chi = legendre_table(q);
  for (std::size_t j = 1; j <= q; ++j) h.entry[j] = -1;
  for (std::size_t i = 1; i <= q; ++i)
    for (std::size_t j = 1; j <= q; ++j)
      if (i != j) h.entry[i * (q + 1) + j] = static_cast<signed char>(chi[(i + q - j) % q]);
  return h;
}

inline signs paley_2(std::size_t q) {
  const std::size_t n = q + 1;
  const auto chi = legendre_table(q);
  const auto c = [&](std::size_t i, std::size_t j) { return i == j ? 0 : i == 0 || j == 0 ? 1 : chi[(i + q - j) % q]; };
  signs h = filled(2 * n, 0);
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j < n; ++j) {
      const int eye = i == j ? 1 : 0;
      h.entry[i * 2 * n + j] = static_cast<signed char>(c(i, j) + eye);
      h.entry[i * 2 * n + n + j] = static_cast<signed char>(c(i, j) - eye);
      h.entry[(n + i) * 2 * n + j] = static_cast<signed char>(c(i, j) - eye);
      h.entry[(n + i) * 2 * n + n + j] = static_cast<signed char>(-c(i, j) - eye);
    }
  return h;
}

/// t x t circulant with the given first row.
inline signs circulant(const std::vector<int>& row) {
  signs m = filled(row.size(), 0);
  for (std::size_t i = 0; i < m.n; ++i)
    for (std::size_t j = 0; j < m.n; ++j) m.entry[i * m.n + j] = static_cast<signed char>(row[(j + m.n - i) % m.n]);
  return m;
}
inline signs transposed(const signs& a) {
  signs b = a;
  for (std::size_t i = 0; i < a.n; ++i)
    for (std::size_t j = 0; j < a.n; ++j) b.entry[i * a.n + j] = a.entry[j * a.n + i];
  return b;
}
inline signs reversed_columns(const signs& a) {
  signs b = a;
  for (std::size_t i = 0; i < a.n; ++i)
    for (std::size_t j = 0; j < a.n; ++j) b.entry[i * a.n + j] = a.entry[i * a.n + a.n - 1 - j];
  return b;
}
inline signs negated(signs a) {
  for (auto& e : a.entry) e = static_cast<signed char>(-e);
  return a;
}
inline signs blocks(const std::array<std::array<signs, 4>, 4>& b) {
  const std::size_t t = b[0][0].n;
  signs h = filled(4 * t, 0);
  for (std::size_t i = 0; i < 4 * t; ++i)
    for (std::size_t j = 0; j < 4 * t; ++j)
      h.entry[i * 4 * t + j] = static_cast<signed char>(b[i / t][j / t].at(i % t, j % t));
  return h;
}

/// Bit i of a number in hexadecimal digits.
inline bool hex_bit(const std::string& digits, std::size_t i) {
  if (i / 4 >= digits.size()) return false;
  const char d = digits[digits.size() - 1 - i / 4];
  const int value = d <= '9' ? d - '0' : d - 'a' + 10;
  return (value >> (i % 4) & 1) != 0;
}

inline signs williamson(std::size_t t) {
  static const std::map<std::size_t, std::array<const char*, 4>> rows = {{3, {"0", "1", "1", "1"}},
                                                                         {5, {"1", "2", "3", "3"}},
                                                                         {7, {"1", "1", "3", "4"}},
                                                                         {9, {"1", "3", "7", "a"}},
                                                                         {11, {"3", "5", "f", "16"}},
                                                                         {13, {"d", "7", "1a", "2f"}},
                                                                         {15, {"6", "25", "2e", "72"}},
                                                                         {17, {"b", "89", "ba", "c7"}},
                                                                         {19, {"b", "74", "b1", "131"}},
                                                                         {21, {"19", "5e", "1d1", "269"}},
                                                                         {23, {"2b", "153", "19c", "71b"}},
                                                                         {25, {"39", "1dd", "32d", "d36"}},
                                                                         {27, {"a7", "705", "cda", "1487"}},
                                                                         {29, {"1cb", "6e5", "1c24", "24f5"}},
                                                                         {39, {"66fac", "579b8", "6d74c", "23ea7"}},
                                                                         {43, {"122867", "9af02", "1a1594", "1e6d0e"}}};
  std::array<signs, 4> m;
  for (std::size_t k = 0; k < 4; ++k) {
    const std::string packed = rows.at(t)[k];
    const std::size_t h = (t - 1) / 2;
    std::vector<int> row(t, 1);
    if (hex_bit(packed, h)) row[0] = -1;
    for (std::size_t j = 1; j <= h; ++j)
      if (hex_bit(packed, j - 1)) row[j] = row[t - j] = -1;
    m[k] = circulant(row);
  }
  const auto& [a, b, c, d] = m;
  return blocks(
      {{{a, b, c, d}, {negated(b), a, negated(d), c}, {negated(c), d, a, negated(b)}, {negated(d), negated(c), b, a}}});
}

inline signs goethals_seidel(std::size_t t) {
  static const std::map<std::size_t, std::array<const char*, 4>> rows = {
      {47, {"6603530cab0", "3ed83530354f", "6604acf354f", "4127b530354f"}},
      {59, {"15630697109b3d0", "28ca06971064c2f", "15630168ef64c2f", "5735fe971064c2f"}},
      {107,
       {"5e121f53c21158b3e8768c88682", "4e10cdac121158b3e889737797d", "5e121f53c5eea74c1789737797d",
        "31ef3253ea1158b3e889737797d"}}};
  std::array<signs, 4> m;
  for (std::size_t k = 0; k < 4; ++k) {
    std::vector<int> row(t, 1);
    for (std::size_t i = 0; i < t; ++i)
      if (hex_bit(rows.at(t)[k], i)) row[i] = -1;
    m[k] = circulant(row);
  }
  const signs& a = m[0];
  const auto r = [](const signs& x) { return reversed_columns(x); };
  const signs br = r(m[1]), cr = r(m[2]), dr = r(m[3]);
  const signs btr = r(transposed(m[1])), ctr = r(transposed(m[2])), dtr = r(transposed(m[3]));
  return blocks({{{a, br, cr, dr},
                  {negated(br), a, dtr, negated(ctr)},
                  {negated(cr), negated(dtr), a, btr},
                  {negated(dr), ctr, negated(btr), a}}});
}

inline signs sylvester(std::size_t n) {
  signs h = filled(1, 1);
  while (h.n < n) {
    signs next = filled(2 * h.n, 1);
    for (std::size_t i = 0; i < next.n; ++i)
      for (std::size_t j = 0; j < next.n; ++j)
        next.entry[i * next.n + j] = static_cast<signed char>(h.at(i % h.n, j % h.n) * (i >= h.n && j >= h.n ? -1 : 1));
    h = next;
  }
  return h;
}

/// One factor of a name.
inline signs factor(const std::string& name) {
  const auto number = [&](std::size_t from) { return static_cast<std::size_t>(std::stoul(name.substr(from))); };
  if (name.rfind("P1(", 0) == 0) return paley_1(number(3));
  if (name.rfind("P2(", 0) == 0) return paley_2(number(3));
  if (name.rfind("W(", 0) == 0) return williamson(number(2));
  if (name.rfind("GS(", 0) == 0) return goethals_seidel(number(3));
  if (name.rfind("S", 0) == 0) return sylvester(number(1));
  throw std::runtime_error("no such factor: " + name);
}

inline std::vector<std::string> split(const std::string& name) {
  std::vector<std::string> parts;
  std::size_t begin = 0;
  for (std::size_t x; (x = name.find('x', begin)) != std::string::npos; begin = x + 1)
    parts.push_back(name.substr(begin, x - begin));
  parts.push_back(name.substr(begin));
  return parts;
}

inline signs kronecker(const signs& a, const signs& b) {
  signs h = filled(a.n * b.n, 0);
  for (std::size_t i = 0; i < h.n; ++i)
    for (std::size_t j = 0; j < h.n; ++j)
      h.entry[i * h.n + j] = static_cast<signed char>(a.at(i / b.n, j / b.n) * b.at(i % b.n, j % b.n));
  return h;
}
inline signs matrix(const std::string& name) {
  signs h = filled(1, 1);
  for (const std::string& part : split(name)) h = kronecker(h, factor(part));
  return h;
}

/// y = H x from the dense matrix.
inline std::vector<double> dense_product(const signs& h, const std::vector<double>& x, bool transpose) {
  std::vector<double> y(h.n, 0.0);
  for (std::size_t i = 0; i < h.n; ++i)
    for (std::size_t j = 0; j < h.n; ++j) y[i] += (transpose ? h.at(j, i) : h.at(i, j)) * x[j];
  return y;
}

/// y = H x, one factor at a time; powers of two by halves. Checked against `dense_product` at small orders.
inline std::vector<double> product(const std::string& name, std::vector<double> x, bool transpose) {
  std::size_t slow = 1, fast = x.size();
  for (const std::string& part : split(name)) {
    if (part[0] == 'S') {
      const std::size_t n = std::stoul(part.substr(1));
      fast /= n;
      for (std::size_t half = n / 2; half >= 1; half /= 2)
        for (std::size_t i = 0; i < x.size(); ++i)
          if ((i / fast / half) % 2 == 0) {
            const double a = x[i], b = x[i + half * fast];
            x[i] = a + b;
            x[i + half * fast] = a - b;
          }
      slow *= n;
      continue;
    }
    const signs h = factor(part);
    fast /= h.n;
    std::vector<double> column(h.n);
    for (std::size_t s = 0; s < slow; ++s)
      for (std::size_t f = 0; f < fast; ++f) {
        double* first = x.data() + s * h.n * fast + f;
        for (std::size_t i = 0; i < h.n; ++i) column[i] = first[i * fast];
        const auto y = dense_product(h, column, transpose);
        for (std::size_t i = 0; i < h.n; ++i) first[i * fast] = y[i];
      }
    slow *= h.n;
  }
  return x;
}

/// FNV-1a-64 over '+' and '-', row after row.
inline std::uint64_t fnv(const signs& h) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const auto e : h.entry) hash = (hash ^ static_cast<std::uint64_t>(e > 0 ? '+' : '-')) * 0x100000001b3u;
  return hash;
}

}  // namespace oracle
