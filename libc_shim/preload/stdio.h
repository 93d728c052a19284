// stdio.h: stdio on newtos sockets.
//
// libc's streams read and write with calls of its own that no preloaded symbol stands in front of.
// So fdopen() of a newtos socket makes a stream with read, write and close functions of ours
// (fopencookie), which says the socket's number when asked for it (fileno); dprintf() formats
// first.
#ifndef NT_PRELOAD_STDIO_H
#define NT_PRELOAD_STDIO_H

#include "libc_shim/preload/real.h"
#include "newtos_py/kernel/base.h"

#include <stdarg.h>

// NULL and errno if there is no socket at `fd`.
FILE *nt_fdopen(int fd, const char *mode);
int nt_vdprintf(int fd, const char *format, va_list args);
// fclose(): what stood at a number that libc closed by itself is gone.
int nt_fclose(FILE *file);

// The standard streams (stdin, stdout, stderr) are libc's own on a kernel descriptor, and ours
// while a newtos socket is at 0, 1 or 2: behind exec, or by dup2.
void nt_stdio_follow_number(int fd);
static inline void nt_stdio_follow(int fd)
{
    if (NT_UNLIKELY(fd <= 2))
        nt_stdio_follow_number(fd);
}

#endif
