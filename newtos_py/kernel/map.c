// map.c: mmap(2) and its kin.
#include "newtos_py/kernel/map.h"

#include <sys/mman.h>

static int protection(bool writable) { return writable ? PROT_READ | PROT_WRITE : PROT_READ; }

void *nt_map(int fd, uint64_t bytes, bool writable)
{
    void *base = mmap(NULL, bytes, protection(writable), MAP_SHARED | MAP_NORESERVE, fd, 0);
    return base == MAP_FAILED ? NULL : base;
}

int nt_map_protect(void *part, uint64_t bytes, bool writable)
{
    return mprotect(part, bytes, protection(writable));
}

int nt_unmap(void *base, uint64_t bytes) { return munmap(base, bytes); }
