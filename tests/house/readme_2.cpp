// SPDX-License-Identifier: MIT
#include <array>
#include <cstdio>

#include <qwha/core.hpp>

int main() {
  std::array<float, 640> row{};  // 640 = 20 · 2^5: Paley's matrix of order 20 and five butterflies
  row[7] = 1;
  const qwha::wht<qwha::native, 640> transform;
  const qwha::status done = transform.apply(qwha::rows_view<float>(row.data(), 1, 640));
  std::printf("%s on %s: %s\n", qwha::order_name(640).c_str(), qwha::native::name, qwha::describe(done));
}
