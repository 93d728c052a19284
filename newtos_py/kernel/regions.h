// regions.h: a server's private table from region number to mapped memory.
//
// Filled by the Python face as it maps things; read by engines to resolve a struct nt_ref. A
// reference is input: resolve returns NULL unless region, offset and length are in bounds, and, for
// a pool, the use count is current.
#ifndef NT_KERNEL_REGIONS_H
#define NT_KERNEL_REGIONS_H

#include "newtos_py/kernel/desc.h"
#include "newtos_py/kernel/pool.h"

struct nt_region_entry {
    uint8_t *base; // NULL: not mapped
    uint64_t bytes;
    const struct nt_pool *pool; // set for pools
};

struct nt_regions {
    struct nt_region_entry entry[272]; // NT_REGIONS_MAX
};

int nt_regions_set(struct nt_regions *regions, uint32_t number, void *base, uint64_t bytes,
                   const struct nt_pool *pool);
void nt_regions_clear(struct nt_regions *regions, uint32_t number);
const uint8_t *nt_regions_resolve(const struct nt_regions *regions, const struct nt_ref *ref);
// Copies all of a descriptor's bytes from `inline_from` on, then its references, to `out`.
// Returns the length, or -1 if a reference is bad or it does not fit: what "gather" means
// everywhere.
int64_t nt_regions_gather(const struct nt_regions *regions, const struct nt_desc *desc,
                          uint32_t inline_from, uint8_t *out, uint64_t out_bytes);

#endif
