// SPDX-License-Identifier: MIT
// A consumer of qwha::core alone: no other library is on the machine as far as its build can tell.

#include <cmath>
#include <vector>

#include <qwha/core.hpp>

int main() {
  std::vector<float> row(640, 0.0f);  // 20 · 2^5
  row[3] = 1.0f;
  const qwha::wht<> transform(row.size());
  if (transform.apply(qwha::rows_view<float>{row.data(), 1, row.size()}) != qwha::status::ok) return 1;
  for (const float v : row)
    if (std::abs(std::abs(v) - 1.0f / std::sqrt(640.0f)) > 1e-7f) return 2;
  return 0;
}
