// emulate.c: see emulate.h. Why C: it runs for every frame.
#include "drivers/wire/emulate.h"

#include "newtos_py/net/ethernet.h"

bool nt_emulate_needs_segments(const struct nt_wire_emulation *emulation)
{
    return emulation->rate_bits != 0 || emulation->loss_ppb != 0 || emulation->reorder_ppb != 0 ||
           emulation->duplicate_ppb != 0 || emulation->corrupt_ppb != 0;
}

bool nt_emulate_active(const struct nt_wire_emulation *emulation)
{
    return emulation->latency_ns != 0 || nt_emulate_needs_segments(emulation);
}

void nt_emulate_init(struct nt_emulate_state *state, const struct nt_wire_emulation *emulation)
{
    *state = (struct nt_emulate_state){.random = emulation->seed};
}

// SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014): any seed
// is good, and the state is one word.
static uint64_t draw(struct nt_emulate_state *state)
{
    uint64_t z = state->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

// A number below `bound`: the high word of a product, so that no division is needed and the bias
// (below bound / 2^32) is nothing beside what is emulated.
static uint32_t draw_below(struct nt_emulate_state *state, uint32_t bound)
{
    return (uint32_t)((draw(state) >> 32) * bound >> 32);
}

static bool happens(struct nt_emulate_state *state, uint32_t chance_ppb)
{
    return chance_ppb != 0 && draw_below(state, NT_WIRE_CHANCE_ONE) < chance_ppb;
}

// Nanoseconds that the transmitter takes for so many bytes; at least 1 kbit/s, so that it fits.
static uint64_t transmit_ns(uint64_t bytes, uint64_t rate_bits)
{
    uint64_t rate = rate_bits < 1000 ? 1000 : rate_bits;
    return bytes * 8 * UINT64_C(1000000000) / rate;
}

// True if the frame finds room in the link's queue; then the time at which it has been sent.
static bool pass_transmitter(struct nt_emulate_state *state,
                             const struct nt_wire_emulation *emulation, uint64_t now_ns,
                             uint32_t len, uint64_t *sent_ns)
{
    *sent_ns = now_ns;
    if (emulation->rate_bits == 0)
        return true;
    uint64_t start_ns = state->link_free_ns > now_ns ? state->link_free_ns : now_ns;
    uint64_t queue_ns = transmit_ns(NT_EMULATE_QUEUE_BYTES, emulation->rate_bits);
    if (start_ns - now_ns > queue_ns)
        return false;
    state->link_free_ns = start_ns + transmit_ns(len, emulation->rate_bits);
    *sent_ns = state->link_free_ns;
    return true;
}

void nt_emulate_judge(struct nt_txn *txn, struct nt_emulate_state *state,
                      const struct nt_wire_emulation *emulation, uint64_t now_ns, uint32_t len,
                      struct nt_emulate_verdict *verdict)
{
    *verdict = (struct nt_emulate_verdict){.fate = NT_EMULATE_PASS, .due_ns = now_ns};
    if (!nt_emulate_active(emulation))
        return;
    nt_txn_touch_once(txn, &state->mark, state, sizeof(*state));
    if (happens(state, emulation->loss_ppb)) {
        verdict->fate = NT_EMULATE_LOST;
        return;
    }
    uint64_t sent_ns;
    if (!pass_transmitter(state, emulation, now_ns, len, &sent_ns)) {
        verdict->fate = NT_EMULATE_QUEUE_FULL;
        return;
    }
    uint64_t due_ns = sent_ns + emulation->latency_ns;
    if (due_ns < state->last_due_ns)
        due_ns = state->last_due_ns; // the clock is monotonic; a restart of the machine is not
    state->last_due_ns = due_ns;
    verdict->due_ns = due_ns;
    verdict->duplicate_due_ns = due_ns;
    verdict->duplicate = happens(state, emulation->duplicate_ppb);
    verdict->reorder = happens(state, emulation->reorder_ppb);
    if (verdict->reorder)
        verdict->due_ns += NT_EMULATE_REORDER_NS;
    verdict->corrupt = len > NT_ETHERNET_HEADER_BYTES && happens(state, emulation->corrupt_ppb);
    if (verdict->corrupt) {
        verdict->corrupt_at =
            NT_ETHERNET_HEADER_BYTES + draw_below(state, len - NT_ETHERNET_HEADER_BYTES);
        verdict->corrupt_to = (uint8_t)draw_below(state, 256);
    }
}
