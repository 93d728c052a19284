// ahead.h: asking for memory before it is needed.
//
// With thousands of connections active, what a segment touches is in no cache: bucket, node and TCB
// of the hash table, each known only from the one before, then lines of the slot and the place in
// its ring. One after the other they are a dozen waits for memory. So a batch is gone through in
// passes: all buckets are asked for, then all that the buckets name, then all that the TCBs name;
// only then is the first of the batch handled, and the waits of the whole batch were one.
//
// All of this is a guess and changes nothing: the first of a chain may be another connection, and
// what is handled earlier in the batch may move what comes later. Where there are few connections,
// all is in the cache, and nobody asks.
#ifndef NT_TCP_AHEAD_H
#define NT_TCP_AHEAD_H

#include "servers/tcp/context.h"

enum {
    // What so many connections need, some 2 kB each, stays in a core's own cache.
    NT_TCP_AHEAD_CONNECTIONS = 256,
    // Of a payload: the hardware sees what comes next by then.
    NT_TCP_AHEAD_LINES = 4,
};

static inline bool nt_tcp_ahead_pays(const struct nt_tcp_engine *tcp)
{
    return tcp->config.shape.tcbs - tcp->tcb_free_count > NT_TCP_AHEAD_CONNECTIONS;
}

static inline void nt_tcp_ahead_tcb(const struct nt_tcp_engine *tcp, uint32_t index)
{
    const uint8_t *t = (const uint8_t *)&tcp->tcb[index];
    for (uint32_t at = 0; at < offsetof(struct nt_tcb, cold_mark); at += NT_CACHE_LINE)
        nt_prefetch_write(t + at);
    nt_prefetch_write(&tcp->private[index]);
}

static inline void nt_tcp_ahead_bucket(const struct nt_tcp_engine *tcp, uint32_t hash)
{
    nt_prefetch(&tcp->bucket[hash & tcp->bucket_mask]);
}

// The first of the chain, and its TCB.
static inline void nt_tcp_ahead_node(const struct nt_tcp_engine *tcp, uint32_t hash)
{
    uint32_t id = tcp->bucket[hash & tcp->bucket_mask];
    if (id == NT_NO_INDEX)
        return;
    nt_prefetch(&tcp->node[id]);
    if (id < tcp->config.shape.tcbs)
        nt_tcp_ahead_tcb(tcp, id);
    else
        nt_prefetch_write(&tcp->time_wait[id - tcp->config.shape.tcbs]);
}

// What a TCB names: its binding, its slot, and where `len` bytes will go in its ring.
static inline void nt_tcp_ahead_slot(const struct nt_tcp_engine *tcp, uint32_t hash, uint32_t len)
{
    uint32_t id = tcp->bucket[hash & tcp->bucket_mask];
    if (id >= tcp->config.shape.tcbs)
        return;
    const struct nt_tcb *t = &tcp->tcb[id];
    if (t->area == NT_TCP_NO_AREA || !tcp->areas[t->area].attached)
        return;
    const struct nt_area *area = &tcp->areas[t->area].view;
    uint32_t binding = nt_tcp_binding_index(tcp, t->area, t->slot);
    nt_prefetch(&tcp->binding[binding]);
    nt_prefetch_write(&tcp->binding_dirty[binding]);
    nt_prefetch_write(&area->slot_server[t->slot]);
    nt_prefetch(&area->slot_program[t->slot]);
    uint8_t *to = nt_area_rx_ring(area, t->slot, t->rx_geometry) +
                  nt_geometry_position(t->rx_geometry, nt_tcb_rx_cursor(t, t->rcv_nxt));
    len = nt_min_u32(len, NT_TCP_AHEAD_LINES * NT_CACHE_LINE);
    for (uint32_t at = 0; at < len; at += NT_CACHE_LINE)
        nt_prefetch_write(to + at);
}

#endif
