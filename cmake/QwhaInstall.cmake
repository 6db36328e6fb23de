# SPDX-License-Identifier: MIT
# Headers and the package that find_package(qwha) reads. Only qwha::core is exported from the build: qwha::qwha and
# qwha::io are made by the package from what the consumer's machine has, so that installing needs neither Eigen nor JSON.

include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(qwha_package_dir ${CMAKE_INSTALL_DATADIR}/cmake/qwha)   # share/: nothing here depends on the architecture

install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  FILES_MATCHING PATTERN "*.hpp" PATTERN "*.cuh")
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/qwha)
install(TARGETS qwha_core EXPORT qwhaTargets)
install(EXPORT qwhaTargets NAMESPACE qwha:: DESTINATION ${qwha_package_dir})

configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/qwhaConfig.cmake.in
  ${PROJECT_BINARY_DIR}/package/qwhaConfig.cmake INSTALL_DESTINATION ${qwha_package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/package/qwhaConfigVersion.cmake
  COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES ${PROJECT_BINARY_DIR}/package/qwhaConfig.cmake ${PROJECT_BINARY_DIR}/package/qwhaConfigVersion.cmake
  DESTINATION ${qwha_package_dir})
