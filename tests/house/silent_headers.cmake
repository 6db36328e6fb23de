# SPDX-License-Identifier: MIT
# cmake -DCOMPILERS=a;b -DSTANDARD=20 -DARCH=x86-64-v3 -DINCLUDES=-I… -DWARNINGS=… -DSOURCES=… -P silent_headers.cmake
# The first of COMPILERS that is installed is asked: a consumer's own warning flags find nothing to say about the headers
# and what the sources instantiate of them.

set(tried 0)
foreach(compiler IN LISTS COMPILERS)
  find_program(path NAMES ${compiler} NO_CACHE)
  if(NOT path)
    message("${compiler} is not installed")
    continue()
  endif()
  math(EXPR tried "${tried} + 1")
  set(arch)
  if(ARCH)
    set(arch -march=${ARCH})
  endif()
  set(work -fsyntax-only)  # clang warns before it optimises, GCC in between
  if(compiler MATCHES "^g\\+\\+")
    set(work -O1 -S -o ${SCRATCH})
  endif()
  foreach(source IN LISTS SOURCES)
    execute_process(COMMAND ${path} -std=c++${STANDARD} ${arch} ${INCLUDES} ${WARNINGS} -Werror ${work} ${source}
      RESULT_VARIABLE result ERROR_VARIABLE says)
    if(NOT result EQUAL 0)
      message(FATAL_ERROR "${compiler} -std=c++${STANDARD} ${arch} ${source}:\n${says}")
    endif()
    message("silent: ${compiler} -std=c++${STANDARD} ${arch} ${source}")
  endforeach()
  break()
endforeach()
if(tried EQUAL 0)
  message("qwha-skip: none of these compilers is installed")
endif()
