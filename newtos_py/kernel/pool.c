// pool.c: packet buffers, their use counts, and the owner's free lists.
//
// Use counts are read by other processes while the owner bumps them, so they are loaded and stored
// atomically. A hand-out stores its count with the release of the channel that carries it; a
// take-back stores with release, so that whoever finds the count unchanged after copying has copied
// what was there before the buffer could be filled again.
#include "newtos_py/kernel/pool.h"

static uint64_t page_round(uint64_t bytes)
{
    return (bytes + NT_PAGE - 1) & ~(uint64_t)(NT_PAGE - 1);
}

uint64_t nt_pool_data_offset(uint32_t small_count, uint32_t large_count)
{
    uint64_t counts = sizeof(uint16_t) * ((uint64_t)small_count + large_count);
    return page_round(NT_PAGE + counts);
}

static uint64_t data_bytes(uint32_t small_count, uint32_t large_count)
{
    return (uint64_t)small_count * NT_POOL_SMALL_BYTES +
           (uint64_t)large_count * NT_POOL_LARGE_BYTES;
}

uint64_t nt_pool_bytes(uint32_t small_count, uint32_t large_count)
{
    return nt_pool_data_offset(small_count, large_count) +
           page_round(data_bytes(small_count, large_count));
}

void nt_pool_format(void *base, uint32_t small_count, uint32_t large_count)
{
    struct nt_pool_header *header = base;
    header->version = NT_POOL_VERSION;
    header->small_count = small_count;
    header->large_count = large_count;
    header->use_offset = NT_PAGE;
    header->data_offset = (uint32_t)nt_pool_data_offset(small_count, large_count);
    header->bytes = nt_pool_bytes(small_count, large_count);
    nt_store_release(&header->magic, (uint32_t)NT_POOL_MAGIC);
}

int nt_pool_open(struct nt_pool *pool, void *base, uint64_t bytes, uint16_t region)
{
    const struct nt_pool_header *header = base;
    if (bytes < NT_PAGE || nt_load_acquire(&header->magic) != NT_POOL_MAGIC ||
        header->version != NT_POOL_VERSION)
        return -1;
    uint32_t small_count = nt_load_relaxed(&header->small_count);
    uint32_t large_count = nt_load_relaxed(&header->large_count);
    uint64_t expected = nt_pool_bytes(small_count, large_count);
    if (header->bytes != expected || expected > bytes || header->use_offset != NT_PAGE)
        return -1;
    *pool = (struct nt_pool){
        .header = header,
        .use = (uint16_t *)((uint8_t *)base + NT_PAGE),
        .base = base,
        .bytes = expected,
        .small_count = small_count,
        .large_count = large_count,
        .data_offset = (uint32_t)nt_pool_data_offset(small_count, large_count),
        .region = region,
    };
    return 0;
}

uint64_t nt_pool_offset(const struct nt_pool *pool, uint32_t buffer)
{
    uint64_t data = pool->data_offset;
    if (buffer < pool->small_count)
        return data + (uint64_t)buffer * NT_POOL_SMALL_BYTES;
    return data + (uint64_t)pool->small_count * NT_POOL_SMALL_BYTES +
           (uint64_t)(buffer - pool->small_count) * NT_POOL_LARGE_BYTES;
}

uint32_t nt_pool_capacity(const struct nt_pool *pool, uint32_t buffer)
{
    return buffer < pool->small_count ? NT_POOL_SMALL_BYTES : NT_POOL_LARGE_BYTES;
}

int64_t nt_pool_buffer_at(const struct nt_pool *pool, uint64_t offset, uint32_t len)
{
    if (offset < pool->data_offset || offset >= pool->bytes)
        return -1;
    uint64_t at = offset - pool->data_offset;
    uint64_t small_bytes = (uint64_t)pool->small_count * NT_POOL_SMALL_BYTES;
    if (at < small_bytes) {
        bool fits = at % NT_POOL_SMALL_BYTES + len <= NT_POOL_SMALL_BYTES;
        return fits ? (int64_t)(at / NT_POOL_SMALL_BYTES) : -1;
    }
    uint64_t large = (at - small_bytes) / NT_POOL_LARGE_BYTES;
    if (large >= pool->large_count ||
        (at - small_bytes) % NT_POOL_LARGE_BYTES + len > NT_POOL_LARGE_BYTES)
        return -1;
    return (int64_t)(pool->small_count + large);
}

// The reference's buffer, or -1 if it is out of bounds or has been taken back.
static int64_t current_buffer(const struct nt_pool *pool, const struct nt_ref *ref)
{
    int64_t buffer = nt_pool_buffer_at(pool, ref->offset, ref->len);
    return buffer >= 0 && nt_pool_is_lent(pool, (uint32_t)buffer, ref->use) ? buffer : -1;
}

const uint8_t *nt_pool_read(const struct nt_pool *pool, const struct nt_ref *ref)
{
    return current_buffer(pool, ref) < 0 ? NULL : pool->base + ref->offset;
}

bool nt_pool_current(const struct nt_pool *pool, const struct nt_ref *ref)
{
    return current_buffer(pool, ref) >= 0;
}

int nt_pool_own(struct nt_pool_owner *owner, void *base, uint64_t bytes, uint16_t region,
                uint32_t *stack)
{
    *owner = (struct nt_pool_owner){0};
    if (nt_pool_open(&owner->view, base, bytes, region) != 0)
        return -1;
    const struct nt_pool *pool = &owner->view;
    owner->free_small = stack;
    owner->free_large = stack + pool->small_count;
    // Downwards, so that the lowest buffers are used first.
    for (uint32_t i = pool->small_count; i-- > 0;)
        if ((pool->use[i] & 1) == 0)
            owner->free_small[owner->free_small_count++] = i;
    for (uint32_t i = pool->small_count + pool->large_count; i-- > pool->small_count;)
        if ((pool->use[i] & 1) == 0)
            owner->free_large[owner->free_large_count++] = i;
    return 0;
}

int64_t nt_pool_take(struct nt_pool_owner *owner, uint32_t len)
{
    uint32_t buffer;
    if (len <= NT_POOL_SMALL_BYTES - NT_POOL_HEADROOM) {
        // Never a large one instead: small frames would starve the super-segments.
        if (owner->free_small_count == 0)
            return -1;
        buffer = owner->free_small[--owner->free_small_count];
    } else {
        if (len > NT_POOL_LARGE_BYTES - NT_POOL_HEADROOM || owner->free_large_count == 0)
            return -1;
        buffer = owner->free_large[--owner->free_large_count];
    }
    uint16_t *use = &owner->view.use[buffer];
    nt_store_release(use, (uint16_t)(*use + 1));
    // The buffer is filled only after readers of its last life can see that it is over.
    __atomic_thread_fence(__ATOMIC_RELEASE);
    return buffer;
}

bool nt_pool_give_back(struct nt_pool_owner *owner, struct nt_return ret)
{
    const struct nt_pool *pool = &owner->view;
    if (ret.region != pool->region || ret.buffer >= pool->small_count + pool->large_count ||
        (ret.use & 1) == 0 || pool->use[ret.buffer] != ret.use) {
        owner->stale_returns++;
        return false;
    }
    nt_store_release(&pool->use[ret.buffer], (uint16_t)(ret.use + 1));
    if (ret.buffer < pool->small_count)
        owner->free_small[owner->free_small_count++] = ret.buffer;
    else
        owner->free_large[owner->free_large_count++] = ret.buffer;
    return true;
}
