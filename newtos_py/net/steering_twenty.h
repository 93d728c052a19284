// steering_twenty.h: the table of Affinity-Accept's Twenty-Policy (§7.1), see steering_twenty.c.
#ifndef NT_NET_STEERING_TWENTY_H
#define NT_NET_STEERING_TWENTY_H

#include "newtos_py/kernel/base.h"

enum {
    NT_TWENTY_SAMPLE = 20,
    NT_TWENTY_FLOWS = 8192, // what a card has room for: 8 K to 32 K (Affinity-Accept, Table 5)
    NT_TWENTY_LOOKS = 8,    // entries that a flow may be in, side by side
    NT_TWENTY_QUEUES = 8,
};

struct nt_twenty {
    uint32_t sent[8]; // since the last sample, by transmit queue
    uint32_t used;
    uint64_t updates;
    uint64_t flushes;
    uint32_t hash[8192]; // of a flow's arriving segments; 0: the entry is free
    uint8_t queue[8192];
};

// One more packet was sent from a queue: true if it is to be sampled.
bool nt_twenty_sample(struct nt_twenty *table, uint32_t queue);
// Arriving segments of that hash go to a queue from now on.
void nt_twenty_learn(struct nt_twenty *table, uint32_t hash, uint32_t queue);
// The queue of a hash; NT_TWENTY_QUEUES: not known.
uint32_t nt_twenty_find(const struct nt_twenty *table, uint32_t hash);

#endif
