# SPDX-License-Identifier: MIT
# cmake -DSOURCE=consumers/… -DBINARY=… -DARGUMENTS=… -DRUN=program;… -P consumer.cmake
# Configures a consumer's project from nothing, builds it and runs its programs.

file(REMOVE_RECURSE ${BINARY})
execute_process(COMMAND ${CMAKE_COMMAND} -S ${SOURCE} -B ${BINARY} -G ${GENERATOR} -DCMAKE_CXX_COMPILER=${COMPILER}
  -DCMAKE_BUILD_TYPE=Release ${ARGUMENTS} RESULT_VARIABLE result)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "configure failed")
endif()
execute_process(COMMAND ${CMAKE_COMMAND} --build ${BINARY} RESULT_VARIABLE result)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "build failed")
endif()
foreach(program IN LISTS RUN)
  execute_process(COMMAND ${BINARY}/${program} RESULT_VARIABLE result)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "${program} returned ${result}")
  endif()
endforeach()
