// slots.c: bindings of slots: who a slot of a socket area belongs to.
//
// Bindings live in pages of 64 that an area takes from a common pool as it grows, so that thousands
// of small areas and one large cost what they use. Freed slots are reused last in, first out: their
// memory is warm. A slot whose unacknowledged bytes a driver may still gather is FENCED first
// (decision 0004): the fence goes down at the end of the step, behind everything that was sent.
#include "servers/tcp/context.h"

// Registers a page as an area's; private.
void nt_tcp_page_take(struct nt_tcp_engine *tcp, uint32_t area, uint32_t page, uint32_t first_slot)
{
    tcp->page[page] =
        (struct nt_tcp_page){.area = (uint16_t)area, .first_slot = (uint16_t)first_slot};
    struct nt_tcp_area_private *own = &tcp->areas[area];
    own->next_page = nt_max_u32(own->next_page, first_slot / NT_TCP_BINDING_PAGE + 1);
}

void nt_tcp_slot_adopt(struct nt_tcp_engine *tcp, uint32_t binding)
{
    struct nt_tcp_area_private *own = &tcp->areas[nt_tcp_binding_area(tcp, binding)];
    tcp->binding_next[binding] = own->free_head;
    own->free_head = binding;
    own->free_count++;
}

static bool add_page(struct nt_tcp_engine *tcp, uint32_t number)
{
    struct nt_tcp_area_private *own = &tcp->areas[number];
    struct nt_tcp_area *area = &tcp->area[number];
    uint32_t first_slot = own->next_page * NT_TCP_BINDING_PAGE;
    if (!own->attached || first_slot >= area->slots || tcp->page_free_count == 0)
        return false;
    uint32_t page = tcp->page_free[--tcp->page_free_count];
    uint16_t *entry = &area->page[own->next_page];
    nt_txn_touch(&tcp->txn, entry, sizeof(*entry));
    *entry = (uint16_t)(page + 1);
    nt_txn_crash_point(&tcp->txn);
    nt_tcp_page_take(tcp, number, page, first_slot);
    uint32_t count = nt_min_u32(NT_TCP_BINDING_PAGE, area->slots - first_slot);
    for (uint32_t i = count; i-- > 0;) { // downwards, so that the lowest is used first
        uint32_t binding = page * NT_TCP_BINDING_PAGE + i;
        // A page without an area means nothing, so its old bytes need no journal. Generations go on
        // from what the area's memory has seen.
        tcp->binding[binding] = (struct nt_tcp_binding){
            .generation = own->view.slot_server[first_slot + i].generation,
        };
        nt_tcp_slot_adopt(tcp, binding);
    }
    return true;
}

static uint32_t try_to_take(struct nt_tcp_engine *tcp, uint32_t area)
{
    struct nt_tcp_area_private *own = &tcp->areas[area];
    if (own->free_head == NT_NO_INDEX && !add_page(tcp, area))
        return NT_NO_INDEX;
    uint32_t binding = own->free_head;
    own->free_head = tcp->binding_next[binding];
    own->free_count--;
    own->in_use++;
    // 0 is the generation of a program block that was never written.
    struct nt_tcp_binding *b = nt_tcp_binding_touch(tcp, binding);
    if (++b->generation == 0)
        b->generation = 1;
    return binding;
}

uint32_t nt_tcp_slot_take(struct nt_tcp_engine *tcp, uint32_t area)
{
    uint32_t binding = try_to_take(tcp, area);
    if (binding == NT_NO_INDEX)
        nt_tcp_count(tcp, NT_TCP_NO_SLOT);
    return binding;
}

uint32_t nt_tcp_slot_take_near(struct nt_tcp_engine *tcp, uint32_t area)
{
    struct nt_tcp_area_private *own = &tcp->areas[area];
    uint32_t binding = try_to_take(tcp, area);
    for (uint32_t i = 0; binding == NT_NO_INDEX && i < tcp->attached_count; i++) {
        uint32_t at = (own->spill + i) % tcp->attached_count, other = tcp->attached[at];
        if (other == area || tcp->area[other].state != NT_TCP_AREA_LIVE ||
            !nt_tcp_one_program(tcp, area, other))
            continue;
        binding = try_to_take(tcp, other);
        own->spill = at;
    }
    if (binding == NT_NO_INDEX)
        nt_tcp_count(tcp, NT_TCP_NO_SLOT);
    return binding;
}

void nt_tcp_slot_bind(struct nt_tcp_engine *tcp, uint32_t binding, struct nt_tcb *t)
{
    struct nt_tcp_binding *b = nt_tcp_binding_touch(tcp, binding);
    b->kind = NT_TCP_BINDING_TCB;
    b->object = nt_tcb_index(tcp, t);
    nt_txn_crash_point(&tcp->txn);
    t->area = (uint16_t)nt_tcp_binding_area(tcp, binding);
    t->slot = (uint16_t)nt_tcp_binding_slot(tcp, binding);
    t->generation = b->generation;
    const struct nt_area *area = nt_tcb_area(tcp, t);
    if (area != NULL)
        t->request = area->slot_server[t->slot].reply; // none is open
}

static void set_free(struct nt_tcp_engine *tcp, uint32_t binding)
{
    struct nt_tcp_binding *b = nt_tcp_binding_touch(tcp, binding);
    b->kind = NT_TCP_BINDING_FREE;
    tcp->areas[nt_tcp_binding_area(tcp, binding)].in_use--;
    nt_tcp_slot_adopt(tcp, binding);
}

static void fence_later(struct nt_tcp_engine *tcp, uint32_t binding)
{
    tcp->binding_next[binding] = NT_NO_INDEX;
    if (tcp->fenced_last != NT_NO_INDEX)
        tcp->binding_next[tcp->fenced_last] = binding;
    else
        tcp->fenced_first = binding;
    tcp->fenced_last = binding;
}

void nt_tcp_slot_free(struct nt_tcp_engine *tcp, uint32_t binding, bool fence)
{
    if (!fence) {
        set_free(tcp, binding);
        return;
    }
    struct nt_tcp_binding *b = nt_tcp_binding_touch(tcp, binding);
    b->kind = NT_TCP_BINDING_FENCED;
    b->object = tcp->globals->fence_number + 1; // sent at the end of this step
    fence_later(tcp, binding);
}

void nt_tcp_slot_refence(struct nt_tcp_engine *tcp, uint32_t binding) { fence_later(tcp, binding); }

// -- Fences --------------------------------------------------------------------------------------

// True if every driver has passed the fence. A host without drivers has only IP to gather, and that
// has gathered what it took from the channel.
static bool passed(struct nt_tcp_engine *tcp, uint32_t number)
{
    bool drivers = false;
    for (uint32_t i = 0; i < NT_DRIVERS_MAX; i++) {
        const struct nt_status *status = tcp->config.driver_status[i];
        if (status == NULL)
            continue;
        drivers = true;
        uint32_t seen = (uint32_t)nt_load_acquire(&status->fence[NT_FENCE_TCP + tcp->config.lane]);
        if (nt_seq_lt(seen, number))
            return false;
    }
    if (drivers)
        return true;
    const struct nt_producer *to_ip = &tcp->to_ip;
    return nt_load_acquire(&to_ip->peer->head) == to_ip->page->tail;
}

static void send_fence(struct nt_tcp_engine *tcp, uint32_t number)
{
    if (!nt_tcp_emit_fence(tcp, number))
        return;
    struct nt_tcp_globals *globals = tcp->globals;
    nt_txn_touch(&tcp->txn, &globals->fence_number,
                 offsetof(struct nt_tcp_globals, pad) -
                     offsetof(struct nt_tcp_globals, fence_number));
    globals->fence_number = number;
    globals->fence_sent_ms = tcp->now_ms;
    nt_tcp_count(tcp, NT_TCP_FENCES);
}

// Frees what all drivers have passed; sends the fence that is due, or the last one again.
uint32_t nt_tcp_fences_look(struct nt_tcp_engine *tcp)
{
    enum { AT_ONCE = 64 };
    uint32_t freed = 0;
    while (tcp->fenced_first != NT_NO_INDEX && freed < AT_ONCE) {
        uint32_t binding = tcp->fenced_first, number = tcp->binding[binding].object;
        if (nt_seq_gt(number, tcp->globals->fence_number) || !passed(tcp, number))
            break;
        tcp->fenced_first = tcp->binding_next[binding];
        if (tcp->fenced_first == NT_NO_INDEX)
            tcp->fenced_last = NT_NO_INDEX;
        set_free(tcp, binding);
        freed++;
    }
    if (tcp->fenced_last == NT_NO_INDEX)
        return freed;
    uint32_t last = tcp->globals->fence_number;
    if (nt_seq_gt(tcp->binding[tcp->fenced_last].object, last))
        send_fence(tcp, last + 1);
    else if (tcp->now_ms - tcp->globals->fence_sent_ms >= NT_TCP_FENCE_AGAIN_MS)
        send_fence(tcp, last);
    return freed;
}

// -- Grants --------------------------------------------------------------------------------------

void nt_tcp_grant(struct nt_tcp_engine *tcp, uint32_t number)
{
    struct nt_tcp_area *area = &tcp->area[number];
    struct nt_tcp_area_private *own = &tcp->areas[number];
    if (area->state != NT_TCP_AREA_LIVE || !own->attached)
        return;
    // The program's word; a lie costs it grants, or slots of its own.
    uint32_t granted = area->grant_tail - nt_load_acquire(&own->view.program->grant_head);
    uint32_t high = nt_min_u32(NT_TCP_GRANTS_HIGH, (area->slots + 3) / 4);
    uint32_t low = nt_min_u32(NT_TCP_GRANTS_LOW, (high + 1) / 2);
    if (granted >= low)
        return;
    for (; granted < high; granted++) {
        uint32_t binding = try_to_take(tcp, number);
        if (binding == NT_NO_INDEX)
            return;
        nt_tcp_binding_touch(tcp, binding)->kind = NT_TCP_BINDING_GRANTED;
        nt_txn_crash_point(&tcp->txn);
        nt_tcp_area_touch(tcp, area);
        own->view.server->grant[area->grant_tail++ & (NT_AREA_SLOTS_MAX - 1)] =
            nt_tcp_binding_slot(tcp, binding);
    }
}

// -- Dead areas
// ------------------------------------------------------------------------------------

static void give_up_pages(struct nt_tcp_engine *tcp, uint32_t number)
{
    struct nt_tcp_area *area = &tcp->area[number];
    nt_txn_touch(&tcp->txn, area->page, sizeof(area->page));
    for (uint32_t i = 0; i < NT_TCP_AREA_PAGES; i++) {
        if (area->page[i] != 0)
            tcp->page_free[tcp->page_free_count++] = (uint16_t)(area->page[i] - 1);
        area->page[i] = 0;
    }
    struct nt_tcp_area_private *own = &tcp->areas[number];
    own->free_head = NT_NO_INDEX;
    own->free_count = 0;
    own->next_page = 0;
}

// Answers for the areas that have drained.
uint32_t nt_tcp_drained_areas(struct nt_tcp_engine *tcp)
{
    uint32_t done = 0;
    for (uint32_t i = 0; tcp->dying_areas != 0 && i < NT_TCP_AREAS; i++) {
        struct nt_tcp_area *area = &tcp->area[i];
        if (area->state != NT_TCP_AREA_DYING || tcp->areas[i].in_use != 0 ||
            tcp->areas[i].pending_count != 0)
            continue;
        struct nt_request reply = {
            .number = area->dead_request, .kind = NT_REQ_AREA_DEAD, .area = (uint16_t)i};
        if (!nt_tcp_reply(tcp, &reply))
            break;
        nt_tcp_area_touch(tcp, area);
        area->state = NT_TCP_AREA_NONE;
        nt_txn_crash_point(&tcp->txn);
        give_up_pages(tcp, i);
        tcp->dying_areas--;
        done++;
    }
    return done;
}
