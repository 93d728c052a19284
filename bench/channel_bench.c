// channel_bench.c: the loops that bench/channel.py times; a Python call costs as much as a batch.
#include "bench/channel_bench.h"

#include "newtos_py/kernel/channel.h"
#include "newtos_py/kernel/clock.h"
#include "newtos_py/kernel/desc.h"

static void fill(struct nt_desc *desc, uint32_t number)
{
    desc->kind = NT_DESC_FRAME;
    desc->ref_count = 1;
    desc->inline_len = 0;
    desc->check = nt_desc_check(number);
    desc->ref[0] = (struct nt_ref){
        .offset = (uint64_t)number << 11, .len = 1500, .region = NT_REGION_DRIVER_POOL, .use = 1};
}

static bool as_sent(const struct nt_desc *desc, uint32_t number)
{
    return desc->kind == NT_DESC_FRAME && desc->check == nt_desc_check(number) &&
           desc->ref[0].offset == (uint64_t)number << 11;
}

// Pushes up to `batch` descriptors, numbered from *number on.
static void push_batch(struct nt_producer *p, uint32_t batch, uint64_t count, uint64_t *number)
{
    uint64_t room = nt_min_u32(nt_producer_room(p, batch), batch);
    room = nt_min_u64(room, count - *number);
    for (uint64_t i = 0; i < room; i++) {
        fill(nt_producer_slot(p), (uint32_t)*number);
        nt_producer_advance(p);
        (*number)++;
    }
    if (room != 0)
        nt_producer_publish(p);
}

// Pops up to `batch`; false if one is not as it was sent.
static bool pop_batch(struct nt_consumer *c, uint32_t batch, uint64_t *number)
{
    uint32_t pending = nt_min_u32(nt_consumer_pending(c), batch);
    bool right = true;
    for (uint32_t i = 0; i < pending; i++) {
        right &= as_sent(nt_consumer_slot(c), (uint32_t)*number);
        nt_consumer_advance(c);
        (*number)++;
    }
    if (pending != 0)
        nt_consumer_publish(c);
    return right;
}

uint64_t nt_bench_both(void *channel, uint64_t bytes, uint32_t batch, uint64_t count)
{
    struct nt_producer p;
    struct nt_consumer c;
    if (nt_producer_open(&p, channel, bytes, sizeof(struct nt_desc)) != 0 ||
        nt_consumer_open(&c, channel, bytes, sizeof(struct nt_desc)) != 0)
        return 0;
    uint64_t sent = 0;
    uint64_t received = 0;
    uint64_t start_ns = nt_now_ns();
    while (received < count) {
        push_batch(&p, batch, count, &sent);
        if (!pop_batch(&c, batch, &received))
            return 0;
    }
    return nt_now_ns() - start_ns;
}

uint64_t nt_bench_produce(void *channel, uint64_t bytes, uint32_t batch, uint64_t count)
{
    struct nt_producer p;
    if (nt_producer_open(&p, channel, bytes, sizeof(struct nt_desc)) != 0)
        return 0;
    uint64_t sent = 0;
    uint64_t start_ns = nt_now_ns();
    while (sent < count) {
        uint64_t before = sent;
        push_batch(&p, batch, count, &sent);
        if (sent == before)
            nt_cpu_relax();
    }
    return nt_now_ns() - start_ns;
}

uint64_t nt_bench_consume(void *channel, uint64_t bytes, uint32_t batch, uint64_t count)
{
    struct nt_consumer c;
    if (nt_consumer_open(&c, channel, bytes, sizeof(struct nt_desc)) != 0)
        return 0;
    while (nt_consumer_pending(&c) == 0)
        nt_cpu_relax(); // the clock starts with the first descriptor
    uint64_t received = 0;
    uint64_t start_ns = nt_now_ns();
    while (received < count) {
        uint64_t before = received;
        if (!pop_batch(&c, batch, &received))
            return 0;
        if (received == before)
            nt_cpu_relax();
    }
    return nt_now_ns() - start_ns;
}
