// memory.c: see memory.h.
#include "newtos_py/sim/memory.h"

#include <sys/mman.h>

struct nt_world_span nt_world_map(struct nt_world_memory *memory, uint64_t bytes)
{
    uint64_t rounded = (bytes + NT_PAGE - 1) & ~(uint64_t)(NT_PAGE - 1);
    uint64_t all = rounded + NT_PAGE;
    nt_assert(memory->count < NT_WORLD_REGIONS_MAX);
    void *base =
        mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    nt_assert(base != MAP_FAILED);
    nt_assert(mprotect((uint8_t *)base + rounded, NT_PAGE, PROT_NONE) == 0);
    memory->mapping[memory->count++] = (struct nt_world_span){base, all};
    return (struct nt_world_span){base, rounded};
}

void nt_world_close(struct nt_world_span *span)
{
    nt_assert(madvise(span->base, span->bytes, MADV_DONTNEED) == 0 &&
              mprotect(span->base, span->bytes, PROT_NONE) == 0);
}

void nt_world_unmap_all(struct nt_world_memory *memory)
{
    for (uint32_t i = 0; i < memory->count; i++)
        (void)munmap(memory->mapping[i].base, memory->mapping[i].bytes);
    memory->count = 0;
}
