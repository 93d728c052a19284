// memory.h: the simulated hosts' memory: anonymous pages in this process, one mapping a region.
//
// Every region is zeroed, page-aligned and followed by a page that faults, so that an engine that
// writes beyond its end stops there and then. Address space is not reserved: a socket area is far
// larger than what is ever touched. All of it goes when the simulation does.
#ifndef NT_WORLD_MEMORY_H
#define NT_WORLD_MEMORY_H

#include "newtos_py/kernel/base.h"

enum { NT_WORLD_REGIONS_MAX = 4096 };

struct nt_world_span {
    void *base;
    uint64_t bytes;
};

struct nt_world_memory {
    uint32_t count;
    struct nt_world_span mapping[4096]; // with the page that faults
};

// `bytes` rounded up to pages; asserts that there is room: a simulation without memory is none.
struct nt_world_span nt_world_map(struct nt_world_memory *memory, uint64_t bytes);
// Gives the pages back; the addresses stay taken, and fault.
void nt_world_close(struct nt_world_span *span);
void nt_world_unmap_all(struct nt_world_memory *memory);

#endif
