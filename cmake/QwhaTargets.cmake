# SPDX-License-Identifier: MIT
# The library's targets. A consumer that uses only qwha::core pulls in nothing; Eigen and nlohmann-json are looked for
# when qwha::qwha or qwha::io can be offered.

add_library(qwha_core INTERFACE)
add_library(qwha::core ALIAS qwha_core)
set_target_properties(qwha_core PROPERTIES EXPORT_NAME core)
target_compile_features(qwha_core INTERFACE cxx_std_20)
target_include_directories(qwha_core INTERFACE
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:include>)

find_package(Eigen3 3.4 QUIET NO_MODULE)
if(Eigen3_FOUND)
  add_library(qwha_qwha INTERFACE)
  add_library(qwha::qwha ALIAS qwha_qwha)
  set_target_properties(qwha_qwha PROPERTIES EXPORT_NAME qwha)
  target_link_libraries(qwha_qwha INTERFACE qwha_core Eigen3::Eigen)
endif()

find_package(nlohmann_json 3.10 QUIET)
if(nlohmann_json_FOUND)
  add_library(qwha_io INTERFACE)
  add_library(qwha::io ALIAS qwha_io)
  set_target_properties(qwha_io PROPERTIES EXPORT_NAME io)
  target_link_libraries(qwha_io INTERFACE qwha_core nlohmann_json::nlohmann_json)
endif()
