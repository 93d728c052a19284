// context.c: attaching areas and finding out whom to ring.
#include "libc_shim/sockets/inner.h"

void nt_sock_context_init(struct nt_sock_context *context, void (*yield)(void))
{
    context->area_count = 0;
    context->lanes = 1;
    context->next_lane = 0;
    memset(context->roomy, 0, sizeof context->roomy);
    context->yield = yield;
    memset(context->asleep, 0, sizeof context->asleep);
}

int nt_sock_attach(struct nt_sock_context *context, const struct nt_area *view, uint32_t protocol,
                   const uint32_t *sleeping, int doorbell)
{
    uint32_t index = context->area_count;
    if (index == NT_SOCK_AREAS_MAX)
        return -ENOSPC;
    struct nt_sock_area *area = &context->area[index];
    memset(area, 0, sizeof *area);
    area->view = *view;
    area->sleeping = sleeping;
    area->doorbell = doorbell;
    area->protocol = protocol;
    area->index = index;
    area->nth = nt_sock_count_areas(context, protocol, view->lane);
    for (uint32_t i = 0; i < index; i++)
        if (context->area[i].protocol == protocol && context->area[i].view.lane == view->lane)
            nt_store_relaxed(&context->area[i].is_newest, 0u);
    area->is_newest = 1;
    context->lanes = nt_max_u32(context->lanes, view->lane + 1u);
    area->context = context;
    // Other threads see the area complete or not at all.
    nt_store_release(&context->area_count, index + 1);
    // A thread that went to sleep just now either counted this area, or is seen here.
    nt_fence();
    for (uint32_t queue = 0; queue < NT_AREA_QUEUES; queue++) {
        if (nt_load_relaxed(&context->asleep[queue]) != 0)
            nt_store_relaxed(&area->view.queue[queue].sleeping, 1u);
    }
    return (int)index;
}

uint32_t nt_sock_count_areas(const struct nt_sock_context *context, uint32_t protocol,
                             uint32_t lane)
{
    uint32_t count = nt_load_acquire(&context->area_count), found = 0;
    for (uint32_t i = 0; i < count; i++)
        found += context->area[i].protocol == protocol && context->area[i].view.lane == lane;
    return found;
}

uint32_t nt_sock_flush(struct nt_sock_context *context, struct nt_sock_wake *wake, int *fds)
{
    uint32_t areas = wake->areas;
    if (areas == 0)
        return 0;
    wake->areas = 0;
    uint32_t count = 0;
    nt_fence(); // what was published, before the look at the flags (doorbell.h)
    while (areas != 0) {
        struct nt_sock_area *area = &context->area[__builtin_ctz(areas)];
        areas &= areas - 1;
        if (nt_load_relaxed(area->sleeping) != 0)
            fds[count++] = area->doorbell;
    }
    return count;
}

void nt_sock_context_child(struct nt_sock_context *context)
{
    nt_sock_context_init(context, context->yield);
}
