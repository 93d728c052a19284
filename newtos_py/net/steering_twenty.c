// steering_twenty.c: route arriving segments to where their flow's packets are sent from
// (Affinity-Accept §7.1, Twenty-Policy; Fastsocket calls it FDir in ATR mode).
//
// The driver samples every 20th packet that a transmit queue sends: from then on the card puts
// segments of the other direction of that packet's flow into the receive queue of the same core.
// Flows with many packets are found soon, short ones seldom.
//
// The table is limited, and the driver cannot remove a flow from it, because nobody tells it when
// a connection is gone. So it flushes all of the table when a flow finds no place (§7.1): until
// they are sampled again, flows go by the hash once more. Entries are known by the hash alone, as
// in the card: two flows of one hash share an entry, and a wrong one costs a hand-over by IP.
#include "newtos_py/net/steering_twenty.h"

bool nt_twenty_sample(struct nt_twenty *table, uint32_t queue)
{
    if (queue >= NT_TWENTY_QUEUES || ++table->sent[queue] < NT_TWENTY_SAMPLE)
        return false;
    table->sent[queue] = 0;
    return true;
}

// Where a hash is, or where there is room for it; NT_TWENTY_FLOWS: neither.
static uint32_t place(const struct nt_twenty *table, uint32_t hash)
{
    // The low bits choose the queue in rss: two flows of one queue should not share them here.
    uint32_t first = (hash >> 7) * UINT32_C(2654435761) >> 19;
    for (uint32_t i = 0; i < NT_TWENTY_LOOKS; i++) {
        uint32_t at = (first + i) % NT_TWENTY_FLOWS;
        if (table->hash[at] == hash || table->hash[at] == 0)
            return at;
    }
    return NT_TWENTY_FLOWS;
}

void nt_twenty_learn(struct nt_twenty *table, uint32_t hash, uint32_t queue)
{
    if (hash == 0)
        return;
    uint32_t at = place(table, hash);
    if (at == NT_TWENTY_FLOWS) {
        memset(table->hash, 0, sizeof table->hash);
        table->used = 0;
        table->flushes++;
        at = place(table, hash);
    }
    table->used += table->hash[at] == 0;
    table->hash[at] = hash;
    table->queue[at] = (uint8_t)queue;
    table->updates++;
}

uint32_t nt_twenty_find(const struct nt_twenty *table, uint32_t hash)
{
    uint32_t at = hash == 0 ? (uint32_t)NT_TWENTY_FLOWS : place(table, hash);
    return at == NT_TWENTY_FLOWS || table->hash[at] != hash ? (uint32_t)NT_TWENTY_QUEUES
                                                            : table->queue[at];
}
