# SPDX-License-Identifier: MIT
# Toolchain file: 64-bit Arm Linux, programs run under qemu-user (Debian: g++-aarch64-linux-gnu, qemu-user).
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
find_program(QWHA_QEMU_AARCH64 NAMES qemu-aarch64-static qemu-aarch64)
set(CMAKE_CROSSCOMPILING_EMULATOR ${QWHA_QEMU_AARCH64} -L /usr/aarch64-linux-gnu)
