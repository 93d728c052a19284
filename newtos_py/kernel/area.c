// area.c: making and opening socket areas; what the two sides do with them is theirs.
#include "newtos_py/kernel/area.h"

uint64_t nt_area_program_bytes(uint32_t slots)
{
    return NT_AREA_PROGRAM_DATA_OFFSET + (uint64_t)slots * NT_RING_RESERVE;
}

uint64_t nt_area_server_bytes(uint32_t slots)
{
    return NT_AREA_SERVER_DATA_OFFSET + (uint64_t)slots * NT_RING_RESERVE;
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
