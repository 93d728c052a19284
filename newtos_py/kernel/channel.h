// channel.h: one-way single-producer single-consumer rings (SPSC) in shared memory.
//
// Layout of a channel's region, each part page-aligned so that it can be mapped with the protection
// it needs:
//     page 0       consumer page: head         written by the consumer, read-only to the producer
//     page 1       producer page: shape, tail  written by the producer, read-only to the consumer
//     page 2 ...   slots                       written by the producer, read-only to the consumer
// Indices are free-running 32-bit counters; capacity is a power of two.
//
// Each end keeps private state (struct nt_producer, struct nt_consumer): its own working index,
// which runs ahead of the published one while a transaction is open, and a cached copy of the other
// end's. Slots are filled beyond the published tail; publishing is one release store. A slot may be
// reused once the consumer has published a head beyond it.
//
// The other end's index is input: an index that cannot be (more than `capacity` apart) is counted
// as `bad_index` and treated as "nothing there" / "no room".
#ifndef NT_KERNEL_CHANNEL_H
#define NT_KERNEL_CHANNEL_H

#include "newtos_py/kernel/base.h"

enum {
    NT_CHANNEL_MAGIC = 0x4e544348,
    NT_CHANNEL_VERSION = 1,
};

struct nt_channel_consumer_page {
    uint32_t head;
    uint32_t pad[15];
};

struct nt_channel_producer_page {
    uint32_t magic;
    uint32_t version;
    uint32_t capacity; // slots, a power of two
    uint32_t slot_bytes;
    uint32_t pad[12];
    uint32_t tail; // on a cache line of its own
    uint32_t pad2[15];
};

struct nt_producer {
    struct nt_channel_producer_page *page;
    const struct nt_channel_consumer_page *peer;
    uint8_t *slots;
    uint32_t mask;
    uint32_t slot_bytes;
    uint32_t tail; // next slot to fill; published by nt_producer_publish
    uint32_t cached_head;
    uint64_t bad_index;
};

struct nt_consumer {
    struct nt_channel_consumer_page *page;
    const struct nt_channel_producer_page *peer;
    const uint8_t *slots;
    uint32_t mask;
    uint32_t slot_bytes;
    uint32_t head; // next slot to read; published by nt_consumer_publish
    uint32_t cached_tail;
    uint64_t bad_index;
};

// Bytes of a region for a channel of that shape, page-rounded.
uint64_t nt_channel_bytes(uint32_t capacity, uint32_t slot_bytes);
// Formats a zeroed region. Called once by the reincarnation server (or a test) before anybody maps
// it.
void nt_channel_format(void *base, uint32_t capacity, uint32_t slot_bytes);
// Open an end over a mapped region; private indices start at the published ones.
// Return 0, or -1 if the region is no channel of that slot size or is larger than `bytes`.
int nt_producer_open(struct nt_producer *p, void *base, uint64_t bytes, uint32_t slot_bytes);
int nt_consumer_open(struct nt_consumer *c, void *base, uint64_t bytes, uint32_t slot_bytes);
// One slot at a time, copied and published at once: for rare messages and for Python. False: full,
// empty. Not for ends that take part in transactions (arena.h).
bool nt_producer_push(struct nt_producer *p, const void *slot);
bool nt_consumer_pop(struct nt_consumer *c, void *slot);

#ifndef NT_CDEF
_Static_assert(offsetof(struct nt_channel_producer_page, tail) == 64, "tail has its own line");

// Free slots after the working tail; looks at the peer's head only if the cached one gives less
// than `wanted`.
static inline uint32_t nt_producer_room(struct nt_producer *p, uint32_t wanted)
{
    uint32_t capacity = p->mask + 1;
    uint32_t room = capacity - (p->tail - p->cached_head);
    if (NT_LIKELY(room >= wanted))
        return room;
    uint32_t head = nt_load_acquire(&p->peer->head);
    if (NT_UNLIKELY(p->tail - head > capacity)) {
        p->bad_index++;
        return 0;
    }
    p->cached_head = head;
    return capacity - (p->tail - head);
}

// The slot at the working tail; the caller has checked that there is room. Valid until published.
static inline void *nt_producer_slot(struct nt_producer *p)
{
    return p->slots + (size_t)(p->tail & p->mask) * p->slot_bytes;
}

static inline void nt_producer_advance(struct nt_producer *p) { p->tail++; }
static inline void nt_producer_publish(struct nt_producer *p)
{
    nt_store_release(&p->page->tail, p->tail);
}

// Filled slots at and after the working head; looks at the peer's tail only if the cached one shows
// none.
static inline uint32_t nt_consumer_pending(struct nt_consumer *c)
{
    uint32_t pending = c->cached_tail - c->head;
    if (pending != 0)
        return pending;
    uint32_t tail = nt_load_acquire(&c->peer->tail);
    if (NT_UNLIKELY(tail - c->head > c->mask + 1)) {
        c->bad_index++;
        return 0;
    }
    c->cached_tail = tail;
    return tail - c->head;
}

// The slot at the working head; the caller has checked that one is pending. Valid until published.
static inline const void *nt_consumer_slot(const struct nt_consumer *c)
{
    return c->slots + (size_t)(c->head & c->mask) * c->slot_bytes;
}

// The same for one of those pending after it.
static inline const void *nt_consumer_slot_ahead(const struct nt_consumer *c, uint32_t ahead)
{
    return c->slots + (size_t)((c->head + ahead) & c->mask) * c->slot_bytes;
}

static inline void nt_consumer_advance(struct nt_consumer *c) { c->head++; }
static inline void nt_consumer_publish(struct nt_consumer *c)
{
    nt_store_release(&c->page->head, c->head);
}
#endif

#endif
