// SPDX-License-Identifier: MIT
#pragma once
/// Executors that take chunks in another order than a loop would: results must not depend on it.

#include <cstddef>
#include <thread>
#include <vector>

#include <qwha/base/executor.hpp>

namespace qwha::test {

/// Chunks in descending order, in this thread.
inline executor backwards() {
  return {nullptr, [](void*, std::size_t chunks, executor::body_function body, void* context) {
            while (chunks > 0) body(context, --chunks);
          }};
}

/// Every third chunk on one of three threads.
inline executor three_threads() {
  return {nullptr, [](void*, std::size_t chunks, executor::body_function body, void* context) {
            std::vector<std::thread> threads;
            for (std::size_t t = 0; t < 3; ++t)
              threads.emplace_back([=] {
                for (std::size_t i = t; i < chunks; i += 3) body(context, i);
              });
            for (std::thread& thread : threads) thread.join();
          }};
}

}  // namespace qwha::test
