# SPDX-License-Identifier: MIT
# cmake -DSOURCE=… -DCOMPILER=… -DFLAGS=… -P rejection.cmake
# The file compiles as it stands; with QWHA_EXPECT_ERROR it does not, and the compiler says what the file expects:
#   // expected-error {{"part of the message"}}

file(READ ${SOURCE} text)
string(REGEX MATCH "expected-error {{\"([^\n]*)\"}}" found "${text}")
if(NOT found)
  message(FATAL_ERROR "${SOURCE} does not say which error it expects")
endif()
set(expected "${CMAKE_MATCH_1}")

execute_process(COMMAND ${COMPILER} ${FLAGS} -fsyntax-only ${SOURCE} RESULT_VARIABLE twin OUTPUT_QUIET ERROR_VARIABLE twin_says)
if(NOT twin EQUAL 0)
  message(FATAL_ERROR "the twin that should compile does not:\n${twin_says}")
endif()
execute_process(COMMAND ${COMPILER} ${FLAGS} -fsyntax-only -DQWHA_EXPECT_ERROR ${SOURCE}
  RESULT_VARIABLE rejected OUTPUT_QUIET ERROR_VARIABLE says)
if(rejected EQUAL 0)
  message(FATAL_ERROR "compiles, but should be rejected with: ${expected}")
endif()
string(FIND "${says}" "${expected}" position)
if(position EQUAL -1)
  message(FATAL_ERROR "rejected, but without the sentence '${expected}':\n${says}")
endif()
