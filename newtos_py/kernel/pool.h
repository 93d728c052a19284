// pool.h: packet buffers that one server owns and others read in place.
//
// A pool has two classes of buffers: small ones for a wire frame, large ones for a super-segment of
// 64 kB plus headers. Region layout, page-aligned parts:
//     header page, use counts (one 16-bit word a buffer)   written by the owner only
//     buffers: all small ones, then all large ones         written by the owner (and, for a wire,
//     by the
//                                                          sending end: the "DMA"); read by all
//                                                          others
//
// The use count is bumped at hand-out and at take-back, so odd means "out". Descriptors and returns
// carry it: a return with another count is stale and ignored; a consumer that finds another count
// before parsing, or after copying and before its commit, drops what it read. Counts survive the
// owner: its next generation takes odd buffers as out and even ones as free.
// Free lists (last in, first out, so that the warm buffers are used) are private to the owner.
#ifndef NT_KERNEL_POOL_H
#define NT_KERNEL_POOL_H

#include "newtos_py/kernel/base.h"
#include "newtos_py/kernel/desc.h"

enum {
    NT_POOL_MAGIC = 0x4e54504c,
    NT_POOL_VERSION = 1,
    NT_POOL_SMALL_BYTES = 2048,
    NT_POOL_LARGE_BYTES = 69632, // 64 kB + a page for headers
    NT_POOL_HEADROOM = 64, // frames start this far into a buffer, less 14 so that IP is aligned
};

struct nt_pool_header {
    uint32_t magic;
    uint32_t version;
    uint32_t small_count;
    uint32_t large_count;
    uint32_t use_offset;  // bytes from the region's start to the use counts
    uint32_t data_offset; // ... to buffer 0
    uint64_t bytes;       // of the whole region
};

// A view over a mapped pool, for owner and readers alike.
struct nt_pool {
    const struct nt_pool_header *header;
    uint16_t *use; // written by the owner only
    uint8_t *base; // the region's start: references count from here
    uint64_t bytes;
    uint32_t small_count;
    uint32_t large_count;
    uint32_t data_offset;
    uint16_t region; // host-wide region number
};

// The owner's private part.
struct nt_pool_owner {
    struct nt_pool view;
    uint32_t *free_small; // stacks of buffer indices
    uint32_t *free_large;
    uint32_t free_small_count;
    uint32_t free_large_count;
    uint64_t stale_returns;
};

uint64_t nt_pool_bytes(uint32_t small_count, uint32_t large_count);
uint64_t nt_pool_data_offset(uint32_t small_count, uint32_t large_count); // page-aligned
void nt_pool_format(void *base, uint32_t small_count, uint32_t large_count);
// 0, or -1 if the region is no pool or is larger than `bytes`.
int nt_pool_open(struct nt_pool *pool, void *base, uint64_t bytes, uint16_t region);
// Rebuilds the free lists from the use counts. `stack` holds small_count + large_count words.
int nt_pool_own(struct nt_pool_owner *owner, void *base, uint64_t bytes, uint16_t region,
                uint32_t *stack);
// Takes a buffer that holds `len` bytes plus headroom; -1 if none is free. Its count becomes odd.
int64_t nt_pool_take(struct nt_pool_owner *owner, uint32_t len);
// Takes a buffer back. False (and counted) if the return is stale or malformed.
bool nt_pool_give_back(struct nt_pool_owner *owner, struct nt_return ret);
uint64_t nt_pool_offset(const struct nt_pool *pool,
                        uint32_t buffer); // of the buffer, in the region
uint32_t nt_pool_capacity(const struct nt_pool *pool, uint32_t buffer); // bytes
// The buffer that contains [offset, offset + len), or -1 if there is none such.
int64_t nt_pool_buffer_at(const struct nt_pool *pool, uint64_t offset, uint32_t len);
// The bytes of a reference if it is in bounds and its use count is current, else NULL.
const uint8_t *nt_pool_read(const struct nt_pool *pool, const struct nt_ref *ref);
// True while the reference's buffer has not been taken back: asked again after copying.
bool nt_pool_current(const struct nt_pool *pool, const struct nt_ref *ref);

#ifndef NT_CDEF
// The same for whoever knows the buffer, and that the reference is within it.
static inline bool nt_pool_is_lent(const struct nt_pool *pool, uint32_t buffer, uint16_t use)
{
    // What was copied was loaded before the count is looked at again.
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return nt_load_acquire(&pool->use[buffer]) == use && (use & 1) != 0;
}
#endif

#endif
