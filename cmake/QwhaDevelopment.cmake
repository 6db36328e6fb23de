# SPDX-License-Identifier: MIT
# What only our own tests, benches and examples use: nothing here reaches a consumer.

set(QWHA_ARCH native CACHE STRING "-march of our own tests, benches and examples; empty: the compiler's default")
option(QWHA_WARNINGS_AS_ERRORS "Warnings are errors in our own targets" ON)
option(QWHA_OPENMP "Our own targets use OpenMP where the compiler has it" ON)
set(QWHA_SANITIZE "" CACHE STRING "Sanitizers of our own targets, e.g. address,undefined")
set(QWHA_WARNINGS -Wall -Wextra -Wpedantic -Wconversion -Wshadow)

find_package(Threads REQUIRED)
if(QWHA_OPENMP)
  find_package(OpenMP QUIET)
endif()

# Flags of a target that we build: by target, never globally.
function(qwha_development_flags target)
  target_compile_options(${target} PRIVATE ${QWHA_WARNINGS}
    $<$<BOOL:${QWHA_WARNINGS_AS_ERRORS}>:-Werror> $<$<BOOL:${QWHA_ARCH}>:-march=${QWHA_ARCH}>)
  if(QWHA_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${QWHA_SANITIZE} -fno-sanitize-recover=all -g)
    target_link_options(${target} PRIVATE -fsanitize=${QWHA_SANITIZE})
  endif()
  if(QWHA_OPENMP AND OpenMP_CXX_FOUND)
    target_link_libraries(${target} PRIVATE OpenMP::OpenMP_CXX)
  endif()
  target_link_libraries(${target} PRIVATE Threads::Threads)
endfunction()

# qwha_add_example(name SOURCES … LINK …)
function(qwha_add_example name)
  cmake_parse_arguments(arg "" "" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  qwha_development_flags(${name})
  target_link_libraries(${name} PRIVATE ${arg_LINK})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/examples)
endfunction()

# qwha_add_bench(name SOURCES … LINK … [GOOGLE]): a program of bench/, run by the target `bench`. GOOGLE ones register
# with Google Benchmark, the others bring contests and a main (bench/measure.hpp).
function(qwha_add_bench name)
  cmake_parse_arguments(arg "GOOGLE" "" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  qwha_development_flags(${name})
  target_link_libraries(${name} PRIVATE ${arg_LINK} $<IF:$<BOOL:${arg_GOOGLE}>,qwha_bench_google,qwha_bench_measure>)
  set_property(GLOBAL APPEND PROPERTY QWHA_BENCHES ${name})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bench)
endfunction()

# qwha_add_test(name SOURCES … LINK … [TIMEOUT seconds]): one Catch2 program, one ctest entry with the label of its folder
function(qwha_add_test name)
  cmake_parse_arguments(arg "" "TIMEOUT" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  qwha_development_flags(${name})
  target_link_libraries(${name} PRIVATE ${arg_LINK} qwha_test_main)
  target_compile_definitions(${name} PRIVATE QWHA_TEST_SOURCE_DIR="${PROJECT_SOURCE_DIR}/tests")
  get_filename_component(label ${CMAKE_CURRENT_SOURCE_DIR} NAME)
  if(NOT TARGET room_${label})
    add_custom_target(room_${label})  # all tests of one folder
  endif()
  add_dependencies(room_${label} ${name})
  add_test(NAME ${name} COMMAND ${name})
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 600)
  endif()
  set_tests_properties(${name} PROPERTIES LABELS ${label} TIMEOUT ${arg_TIMEOUT} SKIP_RETURN_CODE 4)
endfunction()
