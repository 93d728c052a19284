/* face.h: what Python sees of the kernel's C code, as the module newtos_py.kernel._kernel.
 *
 * This is a list: a header is added here when its declarations are for Python too. Each
 * hides from NT_CDEF what cffi cannot parse (the top meson.build says what that is). */
#ifndef NT_KERNEL_FACE_H
#define NT_KERNEL_FACE_H

#include "newtos_py/kernel/clock.h"
#include "newtos_py/kernel/sched.h"

#endif
