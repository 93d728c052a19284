// wire_trace.c: what a driver has put on its wire, and what became of what it received, as lines of
// the trace.
//
// A frame shows when its descriptor is published, so each shows once, however often its sender
// dies.
#include <inttypes.h>

#include "drivers/wire/engine.h"
#include "newtos_py/kernel/desc.h"
#include "newtos_py/sim/frame_line.h"
#include "newtos_py/sim/world.h"

struct fate {
    uint32_t counter;
    const char *what;
};

static const struct fate fates[] = {
    {NT_WIRE_NO_GRANT, "drops for want of a buffer"},
    {NT_WIRE_BAD_PEER_DESC, "gets a bad descriptor"},
    {NT_WIRE_BAD_GRANT, "gets a bad grant"},
    {NT_WIRE_LOST, "loses"},
    {NT_WIRE_QUEUE_DROPPED, "drops, its queue being full"},
    {NT_WIRE_REORDERED, "holds back"},
    {NT_WIRE_DUPLICATED, "duplicates"},
    {NT_WIRE_CORRUPTED, "corrupts"},
    {NT_WIRE_FORGOTTEN, "hears that its peer forgot"},
};

static void trace_frame(struct nt_world *world, const struct nt_world_driver *driver,
                        const struct nt_desc *desc)
{
    char line[256];
    if (desc->kind != NT_DESC_FRAME) {
        NT_WORLD_TRACE(&world->trace, NT_WORLD_TRACE_EVENTS, world->now_ns, "%s sends kind %u",
                       driver->node->name, desc->kind);
        return;
    }
    const uint8_t *frame = (const uint8_t *)driver->peer->pool.base + desc->ref[0].offset;
    nt_world_frame_line(frame, desc->ref[0].len, line, sizeof(line));
    NT_WORLD_TRACE(&world->trace, NT_WORLD_TRACE_EVENTS, world->now_ns, "%s sends %s",
                   driver->node->name, line);
}

void nt_world_trace_wire(struct nt_world *world, struct nt_world_driver *driver)
{
    uint8_t *base = driver->tx.base;
    const struct nt_channel_producer_page *page = (const void *)(base + NT_PAGE);
    const struct nt_desc *slots = (const void *)(base + UINT64_C(2) * NT_PAGE);
    if (page->tail - driver->traced > page->capacity) // the first look
        driver->traced = page->tail;
    for (; driver->traced != page->tail; driver->traced++)
        trace_frame(world, driver, &slots[driver->traced & (page->capacity - 1)]);
    for (uint32_t i = 0; i < sizeof(fates) / sizeof(fates[0]); i++) {
        uint64_t count = driver->node->status->counter[fates[i].counter];
        uint64_t *counted = &driver->counted[fates[i].counter];
        if (count != *counted)
            NT_WORLD_TRACE(&world->trace, NT_WORLD_TRACE_EVENTS, world->now_ns, "%s %s %" PRIu64,
                           driver->node->name, fates[i].what, count - *counted);
        *counted = count;
    }
}
