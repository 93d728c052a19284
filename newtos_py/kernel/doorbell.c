// doorbell.c: ringing the bells that an engine has marked. The protocol is in doorbell.h.
#include "newtos_py/kernel/doorbell.h"

#include <unistd.h>

void nt_bells_init(struct nt_bells *bells)
{
    memset(bells, 0, sizeof(*bells));
    for (uint32_t i = 0; i < NT_BELLS_MAX; i++)
        bells->bell[i].fd = -1;
}

// A mark outlives both of these: it says that the index stands in marked[], and only ringing takes
// it out of there.
int nt_bells_set(struct nt_bells *bells, uint32_t index, const uint32_t *sleeping, int fd)
{
    if (index >= NT_BELLS_MAX)
        return -1;
    bells->bell[index].sleeping = sleeping;
    bells->bell[index].fd = fd;
    return 0;
}

void nt_bells_clear(struct nt_bells *bells, uint32_t index)
{
    (void)nt_bells_set(bells, index, NULL, -1);
}

// EAGAIN (the counter is full) means that the sleeper has more wake-ups than it can count: it will
// wake. Any other failure is a descriptor that its owner has closed: there is nobody to wake.
static void ring(struct nt_bells *bells, const struct nt_bell *bell)
{
    const uint64_t one = 1;
    ssize_t written = write(bell->fd, &one, sizeof(one));
    (void)written;
    bells->rung++;
}

uint32_t nt_bells_ring(struct nt_bells *bells)
{
    if (bells->marked_count == 0)
        return 0;
    // Between what was published and the look at the flags; pairs with the sleeper's.
    nt_fence();
    uint32_t rung = 0;
    for (uint32_t i = 0; i < bells->marked_count; i++) {
        struct nt_bell *bell = &bells->bell[bells->marked[i]];
        bell->marked = 0;
        if (bell->sleeping != NULL && nt_load_relaxed(bell->sleeping) != 0) {
            ring(bells, bell);
            rung++;
        }
    }
    bells->marked_count = 0;
    return rung;
}

void nt_bells_ring_all(struct nt_bells *bells)
{
    for (uint32_t i = 0; i < NT_BELLS_MAX; i++)
        if (bells->bell[i].sleeping != NULL)
            ring(bells, &bells->bell[i]);
}
