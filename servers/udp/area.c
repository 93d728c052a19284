#include "servers/udp/area.h"

#include <stdlib.h>

#include "servers/udp/move.h"
#include "servers/udp/output.h"
#include "servers/udp/socket.h"

// -- Grants ----------------------------------------------------------------------------------

// Slots the program has been given and not yet taken; what it says is input.
static uint32_t in_hand(const struct nt_udp_area_private *area, uint32_t grant_tail)
{
    uint32_t count = grant_tail - nt_load_relaxed(&area->view.program->grant_head);
    return nt_min_u32(count, NT_UDP_GRANTS_HIGH);
}

void nt_udp_area_grant(struct nt_udp *udp, uint32_t number)
{
    struct nt_udp_area *record = &udp->state->area[number];
    struct nt_udp_area_private *area = udp->area[number];
    if (record->state != NT_UDP_AREA_LIVE)
        return;
    uint32_t count = in_hand(area, record->grant_tail);
    if (count >= NT_UDP_GRANTS_LOW)
        return;
    area->grants_were_empty = count == 0;
    for (; count < NT_UDP_GRANTS_HIGH && area->free_count != 0; count++) {
        uint16_t slot = area->free[area->free_count - 1];
        if (nt_udp_socket_grant(udp, number, slot) == NULL)
            return;
        area->free_count--;
        NT_UDP_TOUCH(udp, record);
        area->view.server->grant[record->grant_tail & (NT_AREA_SLOTS_MAX - 1)] = slot;
        record->grant_tail++;
        area->grants_dirty = true;
        nt_udp_count(udp, NT_UDP_COUNT_GRANTS);
        nt_txn_crash_point(&udp->txn);
    }
}

void nt_udp_area_slot_free(struct nt_udp_area_private *area, uint32_t slot)
{
    nt_assert(area->free_count < NT_AREA_SLOTS_MAX);
    area->free[area->free_count++] = (uint16_t)slot;
}

// The slots' own blocks were published before: a program that finds a grant finds its generation.
void nt_udp_publish_grants(struct nt_udp *udp)
{
    for (uint32_t i = 0; i < udp->area_limit; i++) {
        struct nt_udp_area_private *area = udp->area[i];
        if (area == NULL || !area->grants_dirty || !area->attached)
            continue;
        uint32_t tail = udp->state->area[i].grant_tail;
        uint32_t first =
            area->view.server->grant[area->granted_published & (NT_AREA_SLOTS_MAX - 1)];
        nt_store_release(&area->view.server->grant_tail, tail);
        if (area->grants_were_empty)
            nt_udp_area_tell(udp, area, 0, first);
        area->granted_published = tail;
        area->grants_dirty = area->grants_were_empty = false;
    }
}

// -- Activity --------------------------------------------------------------------------------

bool nt_udp_area_active(const struct nt_udp_area_private *area)
{
    return area->pending_count != 0 || nt_load_relaxed(&area->view.hints->activity) != 0;
}

static void take_word(struct nt_udp_area_private *area, uint32_t word)
{
    uint64_t bits = __atomic_exchange_n(&area->view.hints->bitmap[word], 0, __ATOMIC_ACQUIRE);
    uint64_t fresh = bits & ~area->pending[word];
    area->pending[word] |= fresh;
    area->pending_count += (uint32_t)__builtin_popcountll(fresh);
}

static void take_bits(struct nt_udp_area_private *area)
{
    struct nt_area_hints *hints = area->view.hints;
    if (__atomic_exchange_n(&hints->activity, 0, __ATOMIC_ACQUIRE) == 0)
        return;
    for (uint32_t i = 0; i < NT_SUMMARY_WORDS; i++) {
        uint64_t summary = __atomic_exchange_n(&hints->summary[i], 0, __ATOMIC_ACQUIRE);
        for (; summary != 0; summary &= summary - 1)
            take_word(area, i * 64 + (uint32_t)__builtin_ctzll(summary));
    }
}

int32_t nt_udp_area_next(struct nt_udp_area_private *area)
{
    if (area->pending_count == 0)
        take_bits(area);
    for (uint32_t i = 0; area->pending_count != 0 && i < NT_BITMAP_WORDS; i++) {
        uint32_t word = (area->sweep + i) % NT_BITMAP_WORDS;
        uint64_t bits = area->pending[word];
        if (bits == 0)
            continue;
        area->pending[word] = bits & (bits - 1);
        area->pending_count--;
        area->sweep = word;
        return (int32_t)(word * 64 + (uint32_t)__builtin_ctzll(bits));
    }
    return -1;
}

void nt_udp_area_again(struct nt_udp_area_private *area, uint32_t slot)
{
    uint64_t bit = UINT64_C(1) << (slot & 63);
    if ((area->pending[slot >> 6] & bit) == 0)
        area->pending_count++;
    area->pending[slot >> 6] |= bit;
}

void nt_udp_area_tell(struct nt_udp *udp, struct nt_udp_area_private *area, uint32_t queue,
                      uint32_t slot)
{
    if (queue >= NT_AREA_QUEUES)
        queue = 0;
    nt_area_set_ready(&area->view, queue, slot);
    if (area->bell[queue] != NT_BELL_NONE)
        nt_bells_mark(&udp->bells, area->bell[queue]);
}

// -- Coming and going ------------------------------------------------------------------------

int nt_udp_map_area(struct nt_engine *engine, uint32_t number, uint32_t slots, uint32_t pid,
                    void *program, void *server, void *hint)
{
    struct nt_udp *udp = engine->context;
    struct nt_area view;
    if (number >= NT_AREAS_MAX || nt_area_open(&view, program, server, hint, slots) != 0)
        return -1;
    struct nt_udp_area_private *area = udp->area[number];
    if (area == NULL)
        area = udp->area[number] = calloc(1, sizeof *area);
    if (area == NULL)
        return -1;
    memset(area, 0, sizeof *area);
    memset(area->bell, 0xff, sizeof area->bell);
    memset(area->socket, 0xff, sizeof area->socket);
    area->view = view;
    area->pid = pid;
    area->view.number = (uint16_t)number;
    area->attached = true;
    udp->area_limit = nt_max_u32(udp->area_limit, number + 1);
    for (uint32_t slot = slots; slot-- > 0;)
        nt_udp_area_slot_free(area, slot);
    return 0;
}

void nt_udp_unmap_area(struct nt_engine *engine, uint32_t number)
{
    struct nt_udp *udp = engine->context;
    if (number < NT_AREAS_MAX && udp->area[number] != NULL)
        udp->area[number]->attached = false;
}

int nt_udp_set_queue(struct nt_engine *engine, uint32_t area, uint32_t queue, uint32_t bell)
{
    struct nt_udp *udp = engine->context;
    if (area >= NT_AREAS_MAX || udp->area[area] == NULL || queue >= NT_AREA_QUEUES ||
        (bell >= NT_BELLS_MAX && bell != NT_BELL_NONE))
        return -1;
    udp->area[area]->bell[queue] = (uint16_t)bell;
    return 0;
}

// Whether nothing that its program sent is left in the ring; not what belongs to another slot now.
static bool all_sent(const struct nt_udp_area_private *area, const struct nt_udp_socket *socket)
{
    const struct nt_slot_program *program = &area->view.slot_program[socket->slot];
    return socket->state == NT_UDP_BROKEN || (socket->flags & NT_UDP_ARRIVING) != 0 ||
           nt_load_acquire(&program->generation) != socket->generation ||
           nt_load_acquire(&program->tx_tail) == socket->tx_sent;
}

// The program is dead: what it sent last is sent, then its socket ends.
static void end_socket(struct nt_udp *udp, struct nt_udp_area_private *area,
                       struct nt_udp_socket *socket)
{
    nt_udp_look(udp, socket);
    if (socket->state == NT_UDP_DRAINING || socket->state == NT_UDP_FREE)
        return; // it had been closed
    if (all_sent(area, socket))
        nt_udp_socket_close(udp, socket);
    else if (udp->ip_full)
        nt_udp_timer(udp, udp->now_ns + NT_UDP_RETRY_US * NT_UDP_US);
}

void nt_udp_area_die(struct nt_udp *udp, uint32_t number)
{
    struct nt_udp_area_private *area = udp->area[number];
    for (uint32_t slot = 0; slot < area->view.slots; slot++) {
        struct nt_udp_socket *socket = nt_udp_socket_of(udp, number, slot);
        if (socket != NULL && socket->state == NT_UDP_LEFT)
            nt_udp_left_look(udp, socket);
        else if (socket != NULL && socket->state != NT_UDP_DRAINING)
            end_socket(udp, area, socket);
        if (nt_txn_room(&udp->txn) < UINT64_C(2) * NT_UDP_JOURNAL_AN_INPUT)
            return; // the rest after the next commit
    }
}

bool nt_udp_area_drained(const struct nt_udp *udp, uint32_t number)
{
    const struct nt_udp_area_private *area = udp->area[number];
    return area == NULL || !area->attached || area->free_count == area->view.slots;
}

void nt_udp_area_recover(struct nt_udp *udp, uint32_t number)
{
    struct nt_udp_area_private *area = udp->area[number];
    area->free_count = 0;
    for (uint32_t slot = area->view.slots; slot-- > 0;) {
        if (area->socket[slot] != NT_UDP_NONE)
            continue;
        nt_udp_area_slot_free(area, slot);
        // Its end may have been committed, but not shown.
        nt_store_release(&area->view.slot_server[slot].state, (uint8_t)NT_SLOT_FREE);
    }
    for (uint32_t slot = 0; slot < area->view.slots; slot++)
        if (area->socket[slot] != NT_UDP_NONE)
            nt_udp_area_again(area, slot);
    area->granted_published = nt_load_relaxed(&area->view.server->grant_tail);
    area->grants_dirty = true;
}
