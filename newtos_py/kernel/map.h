// map.h: mapping shared memory with exactly the protection that its reader or writer has.
//
// A region with parts of different protection (a channel, a pool as the sending end of a wire sees
// it) is mapped read-only in one piece, then the parts that may be written are opened. Nothing is
// reserved: a socket area's address space is far larger than the memory it ever touches.
#ifndef NT_KERNEL_MAP_H
#define NT_KERNEL_MAP_H

#include "newtos_py/kernel/base.h"

// Maps [0, bytes) of a shared memory object; NULL with errno set if that fails.
void *nt_map(int fd, uint64_t bytes, bool writable);
// Changes the protection of a page-aligned part of a mapping; 0, or -1 with errno set.
int nt_map_protect(void *part, uint64_t bytes, bool writable);
int nt_unmap(void *base, uint64_t bytes);

#endif
