# SPDX-License-Identifier: MIT
# The library's targets: qwha::core needs the standard library only; qwha::qwha adds Eigen, qwha::io adds nlohmann-json
# and both are offered where that library is found (or fetched, QWHA_FETCH_DEPENDENCIES). A consumer that links
# qwha::core compiles and links nothing else.

add_library(qwha_core INTERFACE)
add_library(qwha::core ALIAS qwha_core)
set_target_properties(qwha_core PROPERTIES EXPORT_NAME core)
target_compile_features(qwha_core INTERFACE cxx_std_20)
include(GNUInstallDirs)
target_include_directories(qwha_core INTERFACE
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)

qwha_find_eigen()
if(TARGET Eigen3::Eigen)
  add_library(qwha_qwha INTERFACE)
  add_library(qwha::qwha ALIAS qwha_qwha)
  target_link_libraries(qwha_qwha INTERFACE qwha_core Eigen3::Eigen)
else()
  message(STATUS "qwha: no target qwha::qwha, Eigen 3.4 was not found (QWHA_FETCH_DEPENDENCIES=ON fetches it)")
endif()

qwha_find_json()
if(TARGET nlohmann_json::nlohmann_json)
  add_library(qwha_io INTERFACE)
  add_library(qwha::io ALIAS qwha_io)
  target_link_libraries(qwha_io INTERFACE qwha_core nlohmann_json::nlohmann_json)
else()
  message(STATUS "qwha: no target qwha::io, nlohmann-json was not found (QWHA_FETCH_DEPENDENCIES=ON fetches it)")
endif()
