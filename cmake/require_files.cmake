# SPDX-License-Identifier: MIT
# cmake -DFILES=a;b -P require_files.cmake: one line and failure when one of them is missing
foreach(file IN LISTS FILES)
  if(NOT EXISTS "${file}")
    message(FATAL_ERROR "${file} is missing: run `sh cmake/setup.sh` first (QWHA_CACHE names another cache folder)")
  endif()
endforeach()
