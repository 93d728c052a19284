// doorbell.h: waking whoever sleeps on the other side of shared memory.
//
// The protocol, model-checked in doorbell.pml:
//     waker:    publish work; fence; if (sleeping) write the eventfd
//     sleeper:  sleeping = 1; fence; look for work again; if none, block; sleeping = 0
// At least one of the two sees the other's store, so no wake-up is lost; a spurious one costs a
// look.
//
// A bell is (flag, eventfd). A server's table holds one bell a neighbour and one for each event
// queue of each attached program. An engine only marks bells, after it has published (an engine
// makes no system call); the loop rings the marked ones, each once a batch, with one fence for all.
#ifndef NT_KERNEL_DOORBELL_H
#define NT_KERNEL_DOORBELL_H

#include "newtos_py/kernel/base.h"

enum {
    NT_BELLS_MAX = 4096,
    NT_BELL_NONE = 0xffff,
};

struct nt_bell {
    const uint32_t *sleeping; // the sleeper's flag; NULL: no such bell
    int fd;                   // eventfd
    uint8_t marked;
};

struct nt_bells {
    uint32_t marked_count;
    uint16_t marked[4096];
    struct nt_bell bell[4096];
    uint64_t rung; // system calls made
};

void nt_bells_init(struct nt_bells *bells);
// -1 if the index is out of range.
int nt_bells_set(struct nt_bells *bells, uint32_t index, const uint32_t *sleeping, int fd);
void nt_bells_clear(struct nt_bells *bells, uint32_t index);
// Rings what is marked and whose owner sleeps; returns how many eventfds were written.
uint32_t nt_bells_ring(struct nt_bells *bells);
// Rings every bell there is, asleep or not: what a new generation does once.
void nt_bells_ring_all(struct nt_bells *bells);

#ifndef NT_CDEF
static inline void nt_bells_mark(struct nt_bells *bells, uint32_t index)
{
    struct nt_bell *bell = &bells->bell[index];
    if (bell->marked || bell->sleeping == NULL)
        return;
    bell->marked = 1;
    bells->marked[bells->marked_count++] = (uint16_t)index;
}
#endif

#endif
