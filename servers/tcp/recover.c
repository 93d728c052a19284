// recover.c: private state made from the arena, at every start.
//
// The arena has been rolled back to its last commit (arena.h). Everything in it is walked once:
// what is free goes on the free lists, what lives into the hash table and on the send lists that
// might have had it; then all slots are published and swept, for nothing of what happened meanwhile
// left a reliable trace. Reads the arena only; its sizes were checked when it was opened.
#include <stdio.h>
#include <stdlib.h>

#include "servers/tcp/context.h"

static int bad(char *why, uint64_t why_bytes, const char *what, uint32_t index)
{
    (void)snprintf(why, why_bytes, "%s %u", what, index);
    return -1;
}

// -- Areas and slots -----------------------------------------------------------------------------

static int by_fence(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void adopt_page(struct nt_tcp_engine *tcp, uint32_t area, uint32_t page)
{
    struct nt_tcp_area_private *own = &tcp->areas[area];
    uint32_t first = page * NT_TCP_BINDING_PAGE;
    uint32_t first_slot = tcp->page[page].first_slot;
    uint32_t count = nt_min_u32(NT_TCP_BINDING_PAGE, tcp->area[area].slots - first_slot);
    for (uint32_t i = count; i-- > 0;) {
        if (tcp->binding[first + i].kind == NT_TCP_BINDING_FREE)
            nt_tcp_slot_adopt(tcp, first + i);
        else
            own->in_use++;
        if (tcp->binding[first + i].kind == NT_TCP_BINDING_LISTENER)
            nt_tcp_member_link(tcp, first + i);
        nt_tcp_publish_later(tcp, first + i);
    }
}

// Slots that wait for a fence, in the order of their fences.
static int line_up_fences(struct nt_tcp_engine *tcp)
{
    uint32_t bindings = tcp->config.shape.binding_pages * NT_TCP_BINDING_PAGE, count = 0;
    uint64_t *waiting = calloc(bindings, sizeof(*waiting));
    if (waiting == NULL)
        return -1;
    for (uint32_t i = 0; i < bindings; i++) {
        const struct nt_tcp_binding *b = &tcp->binding[i];
        if (tcp->page[i / NT_TCP_BINDING_PAGE].area == NT_TCP_NO_AREA ||
            b->kind != NT_TCP_BINDING_FENCED)
            continue;
        uint32_t age = tcp->globals->fence_number + 1 - b->object;
        waiting[count++] = (uint64_t)(UINT32_MAX - age) << 32 | i;
    }
    qsort(waiting, count, sizeof(*waiting), by_fence);
    for (uint32_t i = 0; i < count; i++)
        nt_tcp_slot_refence(tcp, (uint32_t)waiting[i]);
    free(waiting);
    return 0;
}

static int recover_areas(struct nt_tcp_engine *tcp, char *why, uint64_t why_bytes)
{
    uint32_t pages = tcp->config.shape.binding_pages;
    for (uint32_t i = 0; i < pages; i++)
        tcp->page[i].area = NT_TCP_NO_AREA;
    for (uint32_t n = 0; n < NT_TCP_AREAS; n++) {
        struct nt_tcp_area *area = &tcp->area[n];
        struct nt_tcp_area_private *own = &tcp->areas[n];
        own->free_head = NT_NO_INDEX;
        if (area->state == NT_TCP_AREA_NONE)
            continue;
        if (area->state > NT_TCP_AREA_DYING || area->slots > NT_AREA_SLOTS_MAX)
            return bad(why, why_bytes, "area", n);
        tcp->dying_areas += area->state == NT_TCP_AREA_DYING;
        own->granted_published = own->attached ? own->view.server->grant_tail : area->grant_tail;
        for (uint32_t p = NT_TCP_AREA_PAGES; p-- > 0;) {
            uint32_t page = (uint32_t)area->page[p] - 1;
            if (area->page[p] == 0)
                continue;
            if (page >= pages || tcp->page[page].area != NT_TCP_NO_AREA)
                return bad(why, why_bytes, "bindings of area", n);
            nt_tcp_page_take(tcp, n, page, p * NT_TCP_BINDING_PAGE);
            adopt_page(tcp, n, page);
        }
        if (own->attached)
            nt_tcp_sweep_all(tcp, n);
    }
    for (uint32_t i = pages; i-- > 0;)
        if (tcp->page[i].area == NT_TCP_NO_AREA)
            tcp->page_free[tcp->page_free_count++] = (uint16_t)i;
    return line_up_fences(tcp) == 0 ? 0 : bad(why, why_bytes, "memory for fences of", pages);
}

// -- Connections ---------------------------------------------------------------------------------

static int recover_tcb(struct nt_tcp_engine *tcp, uint32_t index, char *why, uint64_t why_bytes)
{
    struct nt_tcb *t = &tcp->tcb[index];
    if (t->state > NT_TCP_CLOSING || t->ooo_count > NT_TCP_OOO_RANGES ||
        (nt_tcb_has_slot(t) &&
         (t->area >= NT_TCP_AREAS || nt_tcp_binding_index(tcp, t->area, t->slot) == NT_NO_INDEX)))
        return bad(why, why_bytes, "TCB", index);
    if (!nt_tcb_connected(t))
        return 0;
    nt_tcp_hash_add_tcb(tcp, t);
    nt_tcp_send_control(tcp, t);
    nt_tcp_send_data(tcp, t);
    if (t->flags & NT_TCB_ACK_NOW)
        nt_tcp_send_ack(tcp, t);
    if (t->listener == NT_NO_INDEX)
        return 0;
    if (t->listener >= tcp->config.shape.listeners)
        return bad(why, why_bytes, "listener of TCB", index);
    tcp->listeners[t->listener].syn_count += t->state == NT_TCP_SYN_RCVD;
    return 0;
}

static int by_expiry(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static int recover_time_waits(struct nt_tcp_engine *tcp)
{
    uint32_t blocks = tcp->config.shape.time_waits, count = 0;
    uint64_t *order = calloc(blocks, sizeof(*order));
    if (order == NULL)
        return -1;
    uint32_t base = 0;
    for (uint32_t i = blocks; i-- > 0;) {
        if (tcp->time_wait[i].state == NT_TCP_FREE) {
            tcp->tw_free[tcp->tw_free_count++] = i;
            continue;
        }
        nt_tcp_hash_add_time_wait(tcp, i);
        tcp->time_wait_most = nt_max_u32(tcp->time_wait_most, i + 1);
        // They all expire within a minute of one another: any of them is a fit origin.
        base = count == 0 ? tcp->time_wait[i].expires_ms - (1u << 31) : base;
        order[count++] = (uint64_t)(tcp->time_wait[i].expires_ms - base) << 32 | i;
    }
    qsort(order, count, sizeof(*order), by_expiry);
    for (uint32_t i = 0; i < count; i++)
        nt_tcp_time_wait_link(tcp, (uint32_t)order[i]);
    tcp->status->counter[NT_TCP_TIME_WAITS_IN_USE] = count;
    free(order);
    return 0;
}

static void recover_listeners(struct nt_tcp_engine *tcp)
{
    for (uint32_t i = 0; i < tcp->config.shape.listeners; i++) {
        struct nt_tcp_listener_private *own = &tcp->listeners[i];
        own->region = own->members = own->turn = NT_NO_INDEX;
        own->old_head = tcp->listener[i].accept_head;
        // Whatever was claimed, and whoever was to be told, meanwhile.
        own->shared = true;
        own->tell_ns = tcp->listener[i].state == NT_TCP_LISTENER_OPEN;
        tcp->telling += own->tell_ns != 0;
        tcp->unsettled = true;
        if (tcp->listener[i].state == NT_TCP_LISTENER_OPEN)
            nt_tcp_listener_link(tcp, i);
        else if (tcp->listener[i].state == NT_TCP_LISTENER_CLOSING)
            tcp->closing_listeners++;
        if (tcp->listener[i].state != NT_TCP_LISTENER_FREE)
            tcp->dirty_listener[tcp->dirty_listener_count++] = i;
    }
}

int nt_tcp_recover(struct nt_tcp_engine *tcp, char *why, uint64_t why_bytes)
{
    recover_listeners(tcp);
    if (recover_areas(tcp, why, why_bytes) != 0)
        return -1;
    for (uint32_t i = tcp->config.shape.tcbs; i-- > 0;) {
        if (tcp->tcb[i].state == NT_TCP_FREE)
            tcp->tcb_free[tcp->tcb_free_count++] = i;
        else if (recover_tcb(tcp, i, why, why_bytes) != 0)
            return -1;
        if (tcp->tcb[i].state != NT_TCP_FREE)
            tcp->tcb_most = nt_max_u32(tcp->tcb_most, i + 1);
    }
    tcp->status->counter[NT_TCP_TCBS_IN_USE] = tcp->config.shape.tcbs - tcp->tcb_free_count;
    if (recover_time_waits(tcp) != 0)
        return bad(why, why_bytes, "memory for TIME-WAIT blocks:", tcp->config.shape.time_waits);
    return 0;
}
