# SPDX-License-Identifier: MIT
# cmake -DNM=nm -DOBJECT=isolated.o -DPARTS=a.o;b.o -DKEEP=symbol -P isolated.cmake
# An isolated object offers the linker KEEP and nothing else, though the objects that it was made of offer much more.

function(definitions list)
  execute_process(COMMAND ${NM} --defined-only --extern-only ${ARGN} OUTPUT_VARIABLE out COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX MATCHALL " [A-Zuvw] [^\n]+" symbols "${out}")
  list(TRANSFORM symbols REPLACE "^ [A-Zuvw] " "")
  set(${list} "${symbols}" PARENT_SCOPE)
endfunction()

definitions(before ${PARTS})
definitions(after ${OBJECT})
if(NOT after STREQUAL KEEP)
  message(FATAL_ERROR "${OBJECT} should define ${KEEP} alone, and defines ${after}")
endif()
list(FILTER before EXCLUDE REGEX isa_)
list(LENGTH before count)
if(count LESS 2)
  message(FATAL_ERROR "the parts define nothing that could leak: this test proves nothing any more")
endif()
message("${count} symbols without an instruction set in their name are kept inside ${OBJECT}")
