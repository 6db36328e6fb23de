// SPDX-License-Identifier: MIT
// Loops over ranges: every index once, the same ranges everywhere, failures carried.

#include <atomic>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <qwha/base/executor.hpp>

#include "catch.hpp"
#include "executors.hpp"

using qwha::executor;
using qwha::parallel_for;
using qwha::test::backwards;

namespace {

executor threads(std::size_t& count) {
  return {&count, [](void* pool, std::size_t chunks, executor::body_function body, void* context) {
            const std::size_t n = *static_cast<std::size_t*>(pool);
            std::vector<std::thread> all;
            for (std::size_t t = 0; t < n; ++t)
              all.emplace_back([=] {
                for (std::size_t i = t; i < chunks; i += n) body(context, i);
              });
            for (std::thread& one : all) one.join();
          }};
}

using ranges = std::set<std::pair<std::size_t, std::size_t>>;
ranges ranges_of(const executor& where, std::size_t count, std::size_t grain) {
  std::mutex mutex;
  ranges seen;
  parallel_for(where, count, grain, [&](std::size_t begin, std::size_t end) {
    const std::lock_guard lock(mutex);
    seen.insert({begin, end});
  });
  return seen;
}

}  // namespace

TEST_CASE("ranges cover the indices once and depend on count and grain only") {
  std::size_t three = 3;
  for (const std::size_t count : {0u, 1u, 2u, 7u, 64u, 1000u})
    for (const std::size_t grain : {0u, 1u, 3u, 64u, 5000u}) {
      INFO(count << " indices by " << grain);
      ranges expected;
      const std::size_t step = grain == 0 ? 1 : grain;
      for (std::size_t i = 0; i < count; i += step) expected.insert({i, i + step < count ? i + step : count});
      CHECK(ranges_of(executor::serial(), count, grain) == expected);
      CHECK(ranges_of(backwards(), count, grain) == expected);
      CHECK(ranges_of(threads(three), count, grain) == expected);
      CHECK(ranges_of(qwha::default_executor(), count, grain) == expected);
    }
}

TEST_CASE("an exception reaches the caller after the other ranges have run") {
  std::size_t three = 3;
  for (const executor& where : {backwards(), threads(three), qwha::default_executor()}) {
    std::atomic<int> calls{0};
    std::string message;
    try {
      parallel_for(where, 10, 1, [&](std::size_t begin, std::size_t) {
        ++calls;
        if (begin == 4) throw std::runtime_error("range 4");
      });
    } catch (const std::runtime_error& e) {
      message = e.what();
    }
    CHECK(message == "range 4");
    if (where.run != nullptr) CHECK(calls == 10);
  }
  REQUIRE_THROWS_AS(
      parallel_for(executor::serial(), 2, 1, [](std::size_t, std::size_t) { throw std::logic_error("x"); }),
      std::logic_error);
}

TEST_CASE("loops may nest") {
  std::atomic<int> sum{0};
  parallel_for(qwha::default_executor(), 8, 1, [&](std::size_t, std::size_t) {
    parallel_for(qwha::default_executor(), 8, 1, [&](std::size_t, std::size_t) { ++sum; });
  });
  CHECK(sum == 64);
}
