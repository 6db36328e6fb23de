# SPDX-License-Identifier: MIT
# Before project(), at top level and where nobody chose a compiler: a newer g++ when `c++` is missing or is a g++ below
# 12, as on Ubuntu 22.04, whose g++-12 is a package beside it.

if(CMAKE_CXX_COMPILER OR NOT "$ENV{CXX}" STREQUAL "")
  return()
endif()
find_program(qwha_default_cxx NAMES c++ g++ clang++ NO_CACHE)
if(qwha_default_cxx)
  execute_process(COMMAND ${qwha_default_cxx} --version OUTPUT_VARIABLE qwha_default_says ERROR_QUIET)
  execute_process(COMMAND ${qwha_default_cxx} -dumpversion OUTPUT_VARIABLE qwha_default_version ERROR_QUIET
    OUTPUT_STRIP_TRAILING_WHITESPACE)
  if(qwha_default_says MATCHES "clang" OR NOT qwha_default_version VERSION_LESS 12)
    return()
  endif()
endif()
find_program(CMAKE_CXX_COMPILER NAMES g++-15 g++-14 g++-13 g++-12 DOC "C++ compiler")
if(NOT CMAKE_CXX_COMPILER)
  unset(CMAKE_CXX_COMPILER CACHE)  # project() says what it thinks of the default
endif()
