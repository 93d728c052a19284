// hash.c: the flow hash table, from four-tuple to TCB or TIME-WAIT block.
//
// Chained, private, keyed from the arena, with as many buckets as there can be entries: the cost of
// a look-up does not grow with the number of connections. The full hash stands beside each link,
// so that a chain is walked without touching the TCBs of others.
#include "servers/tcp/context.h"

static uint64_t load64(const uint8_t *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof(word));
    return word;
}

// Multiplies to 128 bits and folds: every input bit reaches the middle.
static uint64_t fold(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint32_t nt_tcp_hash(const struct nt_tcp_engine *tcp, const struct nt_tcp_tuple *tuple)
{
    uint64_t k0 = load64(tcp->globals->hash_key), k1 = load64(tcp->globals->hash_key + 8);
    uint64_t ports = (uint64_t)tuple->local_port << 16 | tuple->remote_port;
    uint64_t high = fold(load64(tuple->local_addr) ^ k1, load64(tuple->remote_addr) ^ k0);
    uint64_t low =
        fold(load64(tuple->local_addr + 8) ^ k0 ^ ports, load64(tuple->remote_addr + 8) ^ k1);
    uint64_t mixed = fold(high ^ k0, low ^ (ports * UINT64_C(0x9e3779b97f4a7c15)));
    return (uint32_t)(mixed ^ mixed >> 32);
}

static bool same(const struct nt_tcp_tuple *tuple, uint16_t local_port, uint16_t remote_port,
                 const uint8_t *local, const uint8_t *remote)
{
    return tuple->local_port == local_port && tuple->remote_port == remote_port &&
           nt_addr_equal(tuple->remote_addr, remote) && nt_addr_equal(tuple->local_addr, local);
}

static bool matches(const struct nt_tcp_engine *tcp, uint32_t id, const struct nt_tcp_tuple *tuple)
{
    if (id < tcp->config.shape.tcbs) {
        const struct nt_tcb *t = &tcp->tcb[id];
        return same(tuple, t->local_port, t->remote_port, t->local_addr, t->remote_addr);
    }
    const struct nt_time_wait *tw = &tcp->time_wait[id - tcp->config.shape.tcbs];
    return same(tuple, tw->local_port, tw->remote_port, tw->local_addr, tw->remote_addr);
}

// Index of the TCB, or number of TCBs + index of the TIME-WAIT block, or NT_NO_INDEX.
uint32_t nt_tcp_hash_find_hashed(const struct nt_tcp_engine *tcp, const struct nt_tcp_tuple *tuple,
                                 uint32_t hash)
{
    uint32_t others = 0;
    uint32_t id = tcp->bucket[hash & tcp->bucket_mask];
    while (id != NT_NO_INDEX && !(tcp->node[id].hash == hash && matches(tcp, id, tuple))) {
        id = tcp->node[id].next;
        others++;
    }
    if (nt_tcp_has_lanes(tcp)) {
        tcp->status->counter[NT_TCP_HASH_LOOKUPS]++;
        tcp->status->counter[NT_TCP_HASH_ENTRIES_SEEN] += others + (id != NT_NO_INDEX);
    }
    return id;
}

uint32_t nt_tcp_hash_find(const struct nt_tcp_engine *tcp, const struct nt_tcp_tuple *tuple)
{
    return nt_tcp_hash_find_hashed(tcp, tuple, nt_tcp_hash(tcp, tuple));
}

static void add(struct nt_tcp_engine *tcp, uint32_t id, const struct nt_tcp_tuple *tuple)
{
    uint32_t hash = nt_tcp_hash(tcp, tuple);
    uint32_t *bucket = &tcp->bucket[hash & tcp->bucket_mask];
    tcp->node[id] = (struct nt_tcp_node){.next = *bucket, .hash = hash};
    *bucket = id;
}

static void take_out(struct nt_tcp_engine *tcp, uint32_t id)
{
    uint32_t *link = &tcp->bucket[tcp->node[id].hash & tcp->bucket_mask];
    while (*link != id) {
        nt_assert(*link != NT_NO_INDEX);
        link = &tcp->node[*link].next;
    }
    *link = tcp->node[id].next;
}

void nt_tcp_hash_add_tcb(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    uint32_t index = nt_tcb_index(tcp, t);
    nt_assert(!tcp->private[index].hashed);
    struct nt_tcp_tuple tuple = {t->local_addr, t->remote_addr, t->local_port, t->remote_port};
    add(tcp, index, &tuple);
    tcp->private[index].hashed = 1;
}

void nt_tcp_hash_remove_tcb(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    uint32_t index = nt_tcb_index(tcp, t);
    if (!tcp->private[index].hashed)
        return;
    take_out(tcp, index);
    tcp->private[index].hashed = 0;
}

void nt_tcp_hash_add_time_wait(struct nt_tcp_engine *tcp, uint32_t index)
{
    const struct nt_time_wait *tw = &tcp->time_wait[index];
    struct nt_tcp_tuple tuple = {tw->local_addr, tw->remote_addr, tw->local_port, tw->remote_port};
    add(tcp, tcp->config.shape.tcbs + index, &tuple);
}

void nt_tcp_hash_remove_time_wait(struct nt_tcp_engine *tcp, uint32_t index)
{
    take_out(tcp, tcp->config.shape.tcbs + index);
}
