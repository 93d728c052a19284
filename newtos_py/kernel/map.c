// map.c: mmap(2) and friends, with errors as negative errno values.
#include "newtos_py/kernel/map.h"

#include <errno.h>
#include <sys/mman.h>

static int protection(bool writable) { return writable ? PROT_READ | PROT_WRITE : PROT_READ; }

int64_t nt_map(int fd, uint64_t bytes, bool writable)
{
    void *base = mmap(NULL, bytes, protection(writable), MAP_SHARED | MAP_NORESERVE, fd, 0);
    return base == MAP_FAILED ? -errno : (int64_t)(uintptr_t)base;
}

int nt_map_protect(uint64_t address, uint64_t bytes, bool writable)
{
    void *base = (void *)(uintptr_t)address;
    return mprotect(base, bytes, protection(writable)) == 0 ? 0 : -errno;
}

int nt_unmap(uint64_t address, uint64_t bytes)
{
    return munmap((void *)(uintptr_t)address, bytes) == 0 ? 0 : -errno;
}
