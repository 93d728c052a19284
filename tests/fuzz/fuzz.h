// fuzz.h: what the fuzz targets share: input as a stream of choices, and memory to run engines on.
//
// A target is libFuzzer's LLVMFuzzerTestOneInput. Linked with standalone.c instead of libFuzzer it
// is fed from a seeded generator: sequences of plausible operations with bytes flipped.
#ifndef NT_TESTS_FUZZ_H
#define NT_TESTS_FUZZ_H

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "newtos_py/kernel/channel.h"
#include "newtos_py/kernel/desc.h"
#include "newtos_py/kernel/engine.h"
#include "newtos_py/kernel/pool.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// -- Input -----------------------------------------------------------------------------------

struct fuzz_input {
    const uint8_t *at;
    const uint8_t *end;
};

static inline uint8_t fuzz_u8(struct fuzz_input *in) { return in->at < in->end ? *in->at++ : 0; }

static inline uint16_t fuzz_u16(struct fuzz_input *in)
{
    uint8_t high = fuzz_u8(in);
    return (uint16_t)(high << 8 | fuzz_u8(in));
}

static inline uint32_t fuzz_u32(struct fuzz_input *in)
{
    uint32_t high = fuzz_u16(in);
    return high << 16 | fuzz_u16(in);
}

// The next operation: its bytes follow a length, so that one that was cut short spoils none behind.
static inline bool fuzz_next(struct fuzz_input *in, struct fuzz_input *operation)
{
    uint32_t len = fuzz_u16(in), left = (uint32_t)(in->end - in->at);
    operation->at = in->at;
    operation->end = in->at + (len < left ? len : left);
    in->at = operation->end;
    return operation->at < operation->end;
}

// Up to `max` of the next bytes; how many there were.
static inline uint32_t fuzz_bytes(struct fuzz_input *in, uint8_t *out, uint32_t max)
{
    uint32_t left = (uint32_t)(in->end - in->at), len = left < max ? left : max;
    memcpy(out, in->at, len);
    in->at += len;
    return len;
}

// -- Memory ----------------------------------------------------------------------------------

enum { FUZZ_REGIONS = 32 };

struct fuzz_memory { // every region of the target; zeroed between two inputs
    uint8_t *base[FUZZ_REGIONS];
    uint64_t bytes[FUZZ_REGIONS];
    uint32_t count;
    uint32_t used;
};

// The same regions come in the same order each time, so they are mapped only once.
static inline uint8_t *fuzz_region(struct fuzz_memory *memory, uint64_t bytes)
{
    uint32_t index = memory->used++;
    if (index < memory->count) {
        nt_assert(memory->bytes[index] == bytes);
        return memory->base[index];
    }
    nt_assert(index < FUZZ_REGIONS);
    void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    nt_assert(base != MAP_FAILED);
    memory->base[index] = base;
    memory->bytes[index] = bytes;
    memory->count = memory->used;
    return base;
}

static inline void fuzz_zero(struct fuzz_memory *memory)
{
    for (uint32_t i = 0; i < memory->count; i++)
        nt_assert(madvise(memory->base[i], memory->bytes[i], MADV_DONTNEED) == 0);
    memory->used = 0;
}

enum { FUZZ_SLOTS = 256 };

static inline uint8_t *fuzz_channel(struct fuzz_memory *memory, uint32_t slot_bytes)
{
    uint8_t *base = fuzz_region(memory, nt_channel_bytes(FUZZ_SLOTS, slot_bytes));
    nt_channel_format(base, FUZZ_SLOTS, slot_bytes);
    return base;
}

static inline void fuzz_open_in(struct nt_consumer *end, uint8_t *base, uint32_t slot_bytes)
{
    nt_assert(nt_consumer_open(end, base, nt_channel_bytes(FUZZ_SLOTS, slot_bytes), slot_bytes) ==
              0);
}

static inline void fuzz_open_out(struct nt_producer *end, uint8_t *base, uint32_t slot_bytes)
{
    nt_assert(nt_producer_open(end, base, nt_channel_bytes(FUZZ_SLOTS, slot_bytes), slot_bytes) ==
              0);
}

static inline void fuzz_push(struct nt_producer *end, struct nt_desc *desc, bool whole)
{
    desc->check = whole ? nt_desc_check(end->tail) : 0;
    (void)nt_producer_push(end, desc);
}

// -- Engines ---------------------------------------------------------------------------------

static inline void fuzz_audit(const struct nt_engine *engine)
{
    char why[NT_ENGINE_AUDIT_BYTES] = "";
    if (engine->audit(engine->context, why, sizeof why) != 0) {
        fprintf(stderr, "audit: %s\n", why);
        abort();
    }
}

static inline void fuzz_settle(const struct nt_engine *engine, uint64_t now_ns)
{
    for (int turn = 0; turn < 64; turn++) {
        uint32_t done = engine->step(engine->context, now_ns, NT_ENGINE_BUDGET);
        fuzz_audit(engine);
        if (done == 0 && engine->next_deadline(engine->context) > now_ns)
            return;
    }
}

#endif
