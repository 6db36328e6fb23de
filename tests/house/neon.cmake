# SPDX-License-Identifier: MIT
# cmake -DSOURCE=<checkout> -DBINARY=<folder> -P neon.cmake
# The kernels' own tests, built for 64-bit Arm and run under qemu-user: NEON from the same source, same bits.

find_program(compiler aarch64-linux-gnu-g++)
find_program(emulator NAMES qemu-aarch64-static qemu-aarch64)
if(NOT compiler OR NOT emulator)
  message("qwha-skip: needs g++-aarch64-linux-gnu and qemu-user")
  return()
endif()

set(rooms base transform adapter)
execute_process(COMMAND ${CMAKE_COMMAND} -S ${SOURCE} -B ${BINARY} -G Ninja -DCMAKE_BUILD_TYPE=Release
  -DCMAKE_TOOLCHAIN_FILE=${SOURCE}/cmake/aarch64-linux-gnu.cmake -DQWHA_ARCH= -DQWHA_OPENMP=OFF
  -DQWHA_BUILD_BENCH=OFF -DQWHA_BUILD_EXAMPLES=OFF -DQWHA_FETCH_DEPENDENCIES=OFF COMMAND_ERROR_IS_FATAL ANY)
list(TRANSFORM rooms PREPEND room_ OUTPUT_VARIABLE targets)
execute_process(COMMAND ${CMAKE_COMMAND} --build ${BINARY} --target ${targets} COMMAND_ERROR_IS_FATAL ANY)
list(JOIN rooms "|" labels)
execute_process(COMMAND ${CMAKE_CTEST_COMMAND} --test-dir ${BINARY} -L "^(${labels})$" --output-on-failure
  --no-tests=error COMMAND_ERROR_IS_FATAL ANY)
