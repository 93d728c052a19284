// descriptor.h: calls on descriptor numbers: close, dup, fcntl, ioctl and their relatives.
//
// The names of those that take kernel descriptors, too, end in _any: they are called whatever
// stands behind the number, because they change what stands behind one.
#ifndef NT_PRELOAD_DESCRIPTOR_H
#define NT_PRELOAD_DESCRIPTOR_H

#include "libc_shim/preload/file.h"

int nt_close_any(int fd);
int nt_close_range_any(unsigned first, unsigned last, int flags);
int nt_dup_any(int fd);
int nt_dup3_any(int fd, int to, int flags, bool same_is_fine);

// On a number that is not the kernel's.
int nt_fcntl(int fd, int command, void *arg);
int nt_ioctl(int fd, unsigned long request, void *arg);
// Epoll numbers and placeholders answer for themselves; cached numbers and the shim's own don't.
int nt_fstat(int fd, struct stat *st);

// What the kernel has just given out for the program: at EMFILE, cached numbers make room for a
// second try. Use: do fd = ...; while (nt_again(fd));
bool nt_again(int fd);

#endif
