# SPDX-License-Identifier: MIT
# Other people's libraries: the system's own package first, else, where QWHA_FETCH_DEPENDENCIES allows it, the source at
# a pinned commit. Nothing is looked for before a target needs it.

# qwha_fetch(name target repository commit): adds the dependency to this build; its headers count as the system's, so
# that our warnings stay ours
macro(qwha_fetch name target repository commit)
  if(QWHA_FETCH_DEPENDENCIES)
    message(STATUS "qwha: ${name} was not found; fetching ${repository} at ${commit}")
    include(FetchContent)
    set(CMAKE_POLICY_DEFAULT_CMP0077 NEW)  # plain variables decide the dependency's options
    FetchContent_Declare(${name} GIT_REPOSITORY ${repository} GIT_TAG ${commit})
    FetchContent_MakeAvailable(${name})
    get_target_property(qwha_fetched ${target} ALIASED_TARGET)
    if(NOT qwha_fetched)
      set(qwha_fetched ${target})
    endif()
    get_target_property(qwha_fetched_includes ${qwha_fetched} INTERFACE_INCLUDE_DIRECTORIES)
    if(qwha_fetched_includes)
      set_target_properties(${qwha_fetched} PROPERTIES
        INTERFACE_SYSTEM_INCLUDE_DIRECTORIES "${qwha_fetched_includes}")
    endif()
  endif()
endmacro()

# qwha_find_package(target package …): the system's package, visible to the whole build. A target that exists already, the
# engine's own Eigen say, is used as it is.
macro(qwha_find_package target)
  if(NOT TARGET ${target})
    find_package(${ARGN} QUIET)
    if(TARGET ${target})
      set_target_properties(${target} PROPERTIES IMPORTED_GLOBAL TRUE)
    endif()
  endif()
endmacro()

# Each of these functions leaves its target behind or, when it cannot, says nothing: the caller knows what that means.
function(qwha_find_eigen)        # Eigen3::Eigen
  qwha_find_package(Eigen3::Eigen Eigen3 3.4 NO_MODULE)
  if(NOT TARGET Eigen3::Eigen)
    set(BUILD_TESTING OFF)
    set(EIGEN_BUILD_DOC OFF)
    set(EIGEN_BUILD_PKGCONFIG OFF)
    qwha_fetch(Eigen3 Eigen3::Eigen https://gitlab.com/libeigen/eigen.git
      3147391d946bb4b6c68edd901f2add6ac1f31f8c)  # 3.4.0
  endif()
endfunction()

function(qwha_find_json)         # nlohmann_json::nlohmann_json
  qwha_find_package(nlohmann_json::nlohmann_json nlohmann_json 3.10)
  if(NOT TARGET nlohmann_json::nlohmann_json)
    set(JSON_BuildTests OFF)
    set(JSON_Install OFF)
    qwha_fetch(nlohmann_json nlohmann_json::nlohmann_json https://github.com/nlohmann/json.git
      9cca280a4d0ccf0c08f47a99aa71d1b0e52f8d03)  # 3.11.3
  endif()
endfunction()

function(qwha_find_cli11)        # CLI11::CLI11
  qwha_find_package(CLI11::CLI11 CLI11 2.1)
  if(NOT TARGET CLI11::CLI11)
    qwha_fetch(CLI11 CLI11::CLI11 https://github.com/CLIUtils/CLI11.git
      6c7b07a878ad834957b98d0f9ce1dbe0cb204fc9)  # 2.4.2
  endif()
endfunction()

function(qwha_find_benchmark)    # benchmark::benchmark
  qwha_find_package(benchmark::benchmark benchmark)
  if(NOT TARGET benchmark::benchmark)
    set(BENCHMARK_ENABLE_TESTING OFF)
    set(BENCHMARK_ENABLE_INSTALL OFF)
    qwha_fetch(benchmark benchmark::benchmark https://github.com/google/benchmark.git
      344117638c8ff7e239044fd0fa7085839fc03021)  # 1.8.3
  endif()
endfunction()

function(qwha_find_catch2)       # Catch2::Catch2; Catch2_VERSION tells 2 from 3
  qwha_find_package(Catch2::Catch2 Catch2 3)
  qwha_find_package(Catch2::Catch2 Catch2 2.13)
  if(NOT TARGET Catch2::Catch2)
    qwha_fetch(Catch2 Catch2::Catch2 https://github.com/catchorg/Catch2.git
      fa43b77429ba76c462b1898d6cd2f2d7a9416b14)
    set(Catch2_VERSION 3.7.1)
  endif()
  set(Catch2_VERSION ${Catch2_VERSION} PARENT_SCOPE)
endfunction()

# qwha_dependency(eigen|json|cli11|benchmark|catch2): for our own programs, which cannot do without it
macro(qwha_dependency name)
  cmake_language(CALL qwha_find_${name})
  set(qwha_target_eigen Eigen3::Eigen)
  set(qwha_target_json nlohmann_json::nlohmann_json)
  set(qwha_target_cli11 CLI11::CLI11)
  set(qwha_target_benchmark benchmark::benchmark)
  set(qwha_target_catch2 Catch2::Catch2)
  if(NOT TARGET ${qwha_target_${name}})
    message(FATAL_ERROR "qwha: ${qwha_target_${name}} was not found. `sh cmake/setup.sh` installs it on Debian and "
                        "Ubuntu; QWHA_FETCH_DEPENDENCIES=ON fetches it.")
  endif()
endmacro()
