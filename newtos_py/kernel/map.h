// map.h: mapping shared memory with exactly the protection that its reader or writer has.
//
// A region with parts of different protection (a channel, a pool as the sending end of a wire sees
// it) is mapped read-only in one piece, then the parts that may be written are opened. Nothing is
// reserved: a socket area's address space is far larger than the memory it ever touches.
#ifndef NT_KERNEL_MAP_H
#define NT_KERNEL_MAP_H

#include "newtos_py/kernel/base.h"

// Maps [0, bytes) of a shared memory object; its address, or a negative errno.
int64_t nt_map(int fd, uint64_t bytes, bool writable);
// Changes the protection of a part of a mapping, page-aligned; 0 or a negative errno.
int nt_map_protect(uint64_t address, uint64_t bytes, bool writable);
int nt_unmap(uint64_t address, uint64_t bytes);

#endif
