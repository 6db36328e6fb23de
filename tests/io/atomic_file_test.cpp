// SPDX-License-Identifier: MIT
// Files appear whole or not at all; the system's reasons reach the message.

#include <csignal>
#include <filesystem>
#include <stdexcept>
#include <string>

#include <qwha/io/atomic_file.hpp>
#include <qwha/io/mapped_file.hpp>

#if __has_include(<sys/resource.h>)
#include <sys/resource.h>
#endif
#include "catch.hpp"
#include "expect.hpp"
#include "io/files.hpp"

using namespace qwha;
using namespace qwha::test;

TEST_CASE("a file appears at commit and replaces what was there", "[io][atomic_file]") {
  const scratch_folder folder;
  write_bytes(folder / "f", "old");
  std::string large(200'000, 'x');
  {
    io::atomic_file file(folder / "f");
    file.write("new ");
    file.write(large);
    file.write("");
    file.write(" end");
    CHECK(read_bytes(folder / "f") == "old");
    file.commit();
  }
  CHECK(read_bytes(folder / "f") == "new " + large + " end");
  CHECK(folder.entries() == 1);
}

TEST_CASE("an exception leaves nothing", "[io][atomic_file]") {
  const scratch_folder folder;
  try {
    io::atomic_file file(folder / "f");
    file.write("half");
    file.finish();
    CHECK(folder.entries() == 1);
    throw std::runtime_error("stop");
  } catch (const std::runtime_error&) {
  }
  CHECK(folder.entries() == 0);
}

TEST_CASE("two writers of one path do not meet", "[io][atomic_file]") {
  const scratch_folder folder;
  io::atomic_file a(folder / "f"), b(folder / "f");
  a.write("a");
  b.write("b");
  b.commit();
  CHECK(read_bytes(folder / "f") == "b");
  a.commit();
  CHECK(read_bytes(folder / "f") == "a");
}

TEST_CASE("temporaries of this process can be removed by hand", "[io][atomic_file]") {
  const scratch_folder folder;
  write_bytes(folder / ".other.qwha-0.tmp", "another process");
  io::atomic_file file(folder / "f");
  CHECK(folder.entries() == 2);
  CHECK(io::remove_temporaries(folder.path()) == 1);
  CHECK(folder.entries() == 1);
}

TEST_CASE("what cannot be written says why", "[io][atomic_file]") {
  const scratch_folder folder;
  CHECK_THROWS_AS(io::atomic_file(folder / "no/such/folder/f"), io_error);
  CHECK(mentions(message_of<io_error>([&] { (void)io::atomic_file(folder / "no/f"); }), {"no/f", "No such file"}));
  CHECK_THROWS_AS(io::atomic_file(folder.path() / ""), io_error);
  std::filesystem::create_directory(folder / "d");
  io::atomic_file file(folder / "d");
  CHECK(mentions(message_of<io_error>([&] { file.commit(); }), {"rename"}));
}

#if __has_include(<sys/resource.h>)
TEST_CASE("a write that the system refuses is an io_error that names the file and leaves nothing",
          "[io][atomic_file]") {
  // A limit on file sizes stands in for a full disk: the same call fails, with another reason.
  const scratch_folder folder;
  struct ::rlimit before = {};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
  auto* const handler = std::signal(SIGXFSZ, SIG_IGN);
  struct ::rlimit limit = before;
  limit.rlim_cur = 100'000;
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &limit) == 0);
  std::string message;
  try {
    io::atomic_file file(folder / "large");
    const std::string piece(30'000, 'x');
    for (int i = 0; i < 10; ++i) file.write(piece);
    file.commit();
  } catch (const io_error& e) {
    message = e.what();
  }
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &before) == 0);
  std::signal(SIGXFSZ, handler);
  CHECK(mentions(message, {"large", "cannot write"}));
  CHECK(folder.entries() == 0);
}
#endif

TEST_CASE("files are mapped whole", "[io][mapped_file]") {
  const scratch_folder folder;
  write_bytes(folder / "f", "abc");
  io::mapped_file f(folder / "f");
  const auto* at = f.bytes().data();
  io::mapped_file moved = std::move(f);
  CHECK(moved.bytes().data() == at);
  CHECK(moved.bytes().size() == 3);
  CHECK(moved.bytes()[2] == std::byte{'c'});
  write_bytes(folder / "empty", "");
  CHECK(io::mapped_file(folder / "empty").bytes().empty());
  CHECK(
      mentions(message_of<io_error>([&] { (void)io::mapped_file(folder / "missing"); }), {"missing", "No such file"}));
  CHECK_THROWS_AS(io::mapped_file(folder.path()), io_error);
}
