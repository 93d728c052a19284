// channel.c: making and opening channels; the hot path is inline in channel.h.
#include "newtos_py/kernel/channel.h"

#define PRODUCER_PAGE NT_PAGE
#define SLOTS_OFFSET  (2 * (size_t)NT_PAGE)

uint64_t nt_channel_bytes(uint32_t capacity, uint32_t slot_bytes)
{
    uint64_t slots = (uint64_t)capacity * slot_bytes;
    return SLOTS_OFFSET + ((slots + NT_PAGE - 1) & ~(uint64_t)(NT_PAGE - 1));
}

static bool shape_valid(uint32_t capacity, uint32_t slot_bytes)
{
    // A free-running 32-bit index tells full from empty only below 2^31 slots.
    return capacity != 0 && (capacity & (capacity - 1)) == 0 && capacity <= 1u << 30 &&
           slot_bytes != 0 && slot_bytes % 8 == 0;
}

void nt_channel_format(void *base, uint32_t capacity, uint32_t slot_bytes)
{
    nt_assert(shape_valid(capacity, slot_bytes));
    struct nt_channel_producer_page *page = (void *)((uint8_t *)base + PRODUCER_PAGE);
    page->version = NT_CHANNEL_VERSION;
    page->capacity = capacity;
    page->slot_bytes = slot_bytes;
    nt_store_release(&page->magic, (uint32_t)NT_CHANNEL_MAGIC);
}

// The capacity of a mapped channel, or 0 if it is none. The shape is read once: for a consumer it
// is another's memory.
static uint32_t checked_capacity(const struct nt_channel_producer_page *page, uint64_t bytes,
                                 uint32_t slot_bytes)
{
    if (bytes < SLOTS_OFFSET || nt_load_acquire(&page->magic) != NT_CHANNEL_MAGIC ||
        page->version != NT_CHANNEL_VERSION)
        return 0;
    uint32_t capacity = nt_load_relaxed(&page->capacity);
    if (page->slot_bytes != slot_bytes || !shape_valid(capacity, slot_bytes) ||
        nt_channel_bytes(capacity, slot_bytes) > bytes)
        return 0;
    return capacity;
}

int nt_producer_open(struct nt_producer *p, void *base, uint64_t bytes, uint32_t slot_bytes)
{
    struct nt_channel_producer_page *page = (void *)((uint8_t *)base + PRODUCER_PAGE);
    uint32_t capacity = checked_capacity(page, bytes, slot_bytes);
    if (capacity == 0)
        return -1;
    *p = (struct nt_producer){
        .page = page,
        .peer = base,
        .slots = (uint8_t *)base + SLOTS_OFFSET,
        .mask = capacity - 1,
        .slot_bytes = slot_bytes,
        .tail = page->tail,
        .cached_head = page->tail - capacity, // no room until the peer's head has been looked at
    };
    return 0;
}

int nt_consumer_open(struct nt_consumer *c, void *base, uint64_t bytes, uint32_t slot_bytes)
{
    const struct nt_channel_producer_page *peer = (void *)((uint8_t *)base + PRODUCER_PAGE);
    uint32_t capacity = checked_capacity(peer, bytes, slot_bytes);
    if (capacity == 0)
        return -1;
    struct nt_channel_consumer_page *page = base;
    *c = (struct nt_consumer){
        .page = page,
        .peer = peer,
        .slots = (uint8_t *)base + SLOTS_OFFSET,
        .mask = capacity - 1,
        .slot_bytes = slot_bytes,
        .head = page->head,
        .cached_tail = page->head, // nothing until the peer's tail has been looked at
    };
    return 0;
}

bool nt_producer_push(struct nt_producer *p, const void *slot)
{
    if (nt_producer_room(p, 1) == 0)
        return false;
    memcpy(nt_producer_slot(p), slot, p->slot_bytes);
    nt_producer_advance(p);
    nt_producer_publish(p);
    return true;
}

bool nt_consumer_pop(struct nt_consumer *c, void *slot)
{
    if (nt_consumer_pending(c) == 0)
        return false;
    memcpy(slot, nt_consumer_slot(c), c->slot_bytes);
    nt_consumer_advance(c);
    nt_consumer_publish(c);
    return true;
}
