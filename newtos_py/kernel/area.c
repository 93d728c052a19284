// area.c: making and opening socket areas; what the two sides do with them is theirs.
#include "newtos_py/kernel/area.h"

uint64_t nt_area_program_bytes(uint32_t slots)
{
    return NT_AREA_PROGRAM_DATA_OFFSET + nt_area_large_offset(slots);
}

uint64_t nt_area_server_bytes(uint32_t slots)
{
    return NT_AREA_SERVER_DATA_OFFSET + nt_area_large_offset(slots);
}

uint64_t nt_area_hint_bytes(void) { return NT_AREA_HINT_BYTES; }

void nt_area_format(void *program, void *server, void *hint, uint32_t slots, uint32_t protocol)
{
    nt_assert(slots != 0 && slots <= NT_AREA_SLOTS_MAX);
    (void)hint; // hints are right when zero
    struct nt_area_program_header *ours = program;
    ours->version = NT_AREA_VERSION;
    ours->slots = slots;
    nt_store_release(&ours->magic, (uint32_t)NT_AREA_MAGIC);
    struct nt_area_server_header *theirs = server;
    theirs->version = NT_AREA_VERSION;
    theirs->slots = slots;
    theirs->protocol = protocol;
    nt_store_release(&theirs->magic, (uint32_t)NT_AREA_MAGIC);
}

int nt_area_open(struct nt_area *area, void *program, void *server, void *hint, uint32_t slots)
{
    struct nt_area_program_header *ours = program;
    struct nt_area_server_header *theirs = server;
    if (slots == 0 || slots > NT_AREA_SLOTS_MAX || nt_load_acquire(&ours->magic) != NT_AREA_MAGIC ||
        ours->version != NT_AREA_VERSION || ours->slots != slots ||
        nt_load_acquire(&theirs->magic) != NT_AREA_MAGIC || theirs->version != NT_AREA_VERSION ||
        theirs->slots != slots)
        return -1;
    *area = (struct nt_area){
        .program = ours,
        .queue = (void *)((uint8_t *)program + NT_AREA_PROGRAM_QUEUES_OFFSET),
        .slot_program = (void *)((uint8_t *)program + NT_AREA_PROGRAM_SLOTS_OFFSET),
        .tx_data = (uint8_t *)program + NT_AREA_PROGRAM_DATA_OFFSET,
        .server = theirs,
        .slot_server = (void *)((uint8_t *)server + NT_AREA_SERVER_SLOTS_OFFSET),
        .rx_data = (uint8_t *)server + NT_AREA_SERVER_DATA_OFFSET,
        .hints = hint,
        .ready = (void *)((uint8_t *)hint + NT_AREA_HINT_READY_OFFSET),
        .slots = slots,
    };
    return 0;
}

enum {
    FREEZE_TRIES = 1000, // more than a sane program can be quicker
};

// `cursor` is less than a ring away from `near`, or that far from the other end of all numbers.
static uint32_t freeze(uint32_t *cursor, uint32_t near)
{
    const uint32_t half = UINT32_C(1) << 31;
    uint32_t value = nt_load_acquire(cursor);
    for (int tries = 0; tries < FREEZE_TRIES; tries++) {
        uint32_t ahead = value - near, behind = near - value;
        if (nt_min_u32(ahead, behind) > NT_RING_RESERVE)
            return value ^ half; // frozen before
        if (nt_cursor_advance(cursor, value, value ^ half))
            return value;
        value = nt_load_acquire(cursor);
    }
    return value;
}

void nt_slot_freeze(struct nt_slot_program *program, const struct nt_slot_server *server,
                    struct nt_slot_cursors *cursors)
{
    __atomic_fetch_or(&program->control, (uint32_t)NT_CONTROL_FROZEN, __ATOMIC_SEQ_CST);
    cursors->tx_tail = freeze(&program->tx_tail, nt_load_acquire(&server->tx_head));
    cursors->rx_head = freeze(&program->rx_head, nt_load_acquire(&server->rx_tail));
    nt_fence();
}
