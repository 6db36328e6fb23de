# SPDX-License-Identifier: MIT
# cmake -DOBJECTS=a.o;b.o -DOUTPUT=kernels.o -DKEEP=symbol -DLINKER=ld -DOBJCOPY=objcopy -P isolate.cmake
#
# Several objects become one whose only global definition is KEEP. Inline functions of the standard library are compiled
# with the object's own flags, too (std::vector's, say), and a linker that finds such a function in two objects keeps one
# of them, whichever: an AVX-512 copy would then run on every machine. So the link groups that allow this are dissolved
# (ld -r --force-group-allocation) and every other symbol becomes local (objcopy). qwha's own code has the instruction set
# in its names and needs none of this.

file(REMOVE ${OUTPUT})  # a step that fails leaves no half-made object behind
execute_process(COMMAND ${LINKER} -r --force-group-allocation -o ${OUTPUT}.whole ${OBJECTS} COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${OBJCOPY} --keep-global-symbol=${KEEP} ${OUTPUT}.whole ${OUTPUT} COMMAND_ERROR_IS_FATAL ANY)
file(REMOVE ${OUTPUT}.whole)
