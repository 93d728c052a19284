// ports.c: which local port a connection or bind() gets.
//
// Ports of active opens come from RFC 6056's double-hash scheme (§3.3.4): a keyed hash of the
// destination gives the offset, one of sixteen counters what follows, so that ports to one
// destination do not repeat soon and those to another tell nothing. The counters are in the arena:
// a restart goes on where its forerunner was. A port whose four-tuple is in TIME-WAIT may be taken
// over as soon as its timestamps have moved on (RFC 6191).
#include <errno.h>

#include "servers/tcp/context.h"

enum {
    PORTS = NT_TCP_PORT_LAST - NT_TCP_PORT_FIRST + 1,
    // Free ports are found at once unless nearly all are taken; then a look at each is the bound.
    TRIES = PORTS,
};

static bool listening_on(const struct nt_tcp_engine *tcp, uint16_t port)
{
    for (uint32_t i = tcp->port_bucket[port % NT_TCP_PORT_BUCKETS]; i != NT_NO_INDEX;
         i = tcp->listeners[i].next)
        if (tcp->listener[i].port == port)
            return true;
    return false;
}

// The old connection's last timestamp is surely older than the next one's first.
static bool may_take_over(const struct nt_tcp_engine *tcp, const struct nt_time_wait *tw)
{
    return tw->timestamps && nt_seq_gt(tcp->now_ms, tw->expires_ms - NT_TCP_TIME_WAIT_MS + 1);
}

// True if the four-tuple is free, or *time_wait can be taken over.
static bool tuple_free(const struct nt_tcp_engine *tcp, const struct nt_tcp_tuple *tuple,
                       uint32_t *time_wait)
{
    uint32_t id = nt_tcp_hash_find(tcp, tuple);
    *time_wait = NT_NO_INDEX;
    if (id == NT_NO_INDEX)
        return true;
    if (id < tcp->config.shape.tcbs ||
        !may_take_over(tcp, &tcp->time_wait[id - tcp->config.shape.tcbs]))
        return false;
    *time_wait = id - tcp->config.shape.tcbs;
    return true;
}

// As at boot: no two lanes say so of one four-tuple, whatever flow groups have moved since.
static bool leads_back(const struct nt_tcp_engine *tcp, const struct nt_tcp_tuple *tuple)
{
    if (!nt_tcp_has_lanes(tcp))
        return true;
    struct nt_flow arriving = {tuple->remote_addr, tuple->local_addr, tuple->remote_port,
                               tuple->local_port};
    return nt_steering_lane(&tcp->steering, &arriving) == tcp->config.lane;
}

// With several lanes, only ports that lead back to this one (Fastsocket §3.3: an active
// connection's lane is in its port): so lanes never choose the same.
uint16_t nt_tcp_choose_port(struct nt_tcp_engine *tcp, const uint8_t local[16],
                            const uint8_t remote[16], uint16_t remote_port, uint32_t *time_wait)
{
    uint8_t input[34];
    memcpy(input, local, 16);
    memcpy(input + 16, remote, 16);
    nt_put16(input + 32, remote_port);
    uint64_t hash = nt_siphash(tcp->globals->port_key, input, sizeof(input));
    uint32_t offset = (uint32_t)hash;
    uint32_t *cursor = &tcp->globals->port_cursor[hash >> 60];
    for (uint32_t i = 0; i < TRIES; i++) {
        uint16_t port =
            (uint16_t)(NT_TCP_PORT_FIRST + (offset % PORTS + *cursor % PORTS + i) % PORTS);
        struct nt_tcp_tuple tuple = {local, remote, port, remote_port};
        if (!leads_back(tcp, &tuple) || listening_on(tcp, port) ||
            !tuple_free(tcp, &tuple, time_wait))
            continue;
        nt_txn_touch(&tcp->txn, cursor, sizeof(*cursor));
        *cursor = (*cursor + i + 1) % PORTS;
        nt_txn_crash_point(&tcp->txn);
        return port;
    }
    return 0;
}

// A socket that speaks only IPv6 meets none of IPv4's.
static bool overlap(const uint8_t a[16], uint32_t a_options, const uint8_t b[16],
                    uint32_t b_options)
{
    bool a_v4 = nt_addr_is_v4(a), b_v4 = nt_addr_is_v4(b);
    if ((!a_v4 && b_v4 && (a_options & NT_OPTION_V6ONLY)) ||
        (!b_v4 && a_v4 && (b_options & NT_OPTION_V6ONLY)))
        return false;
    return nt_addr_is_unspecified(a) || nt_addr_is_unspecified(b) || nt_addr_equal(a, b);
}

// Linux's rules: two may share a port if both say REUSEPORT, or both say REUSEADDR and neither
// listens.
static bool conflict(uint32_t options, uint32_t others, bool other_listens)
{
    if (options & others & NT_OPTION_REUSEPORT)
        return false;
    return other_listens || !(options & others & NT_OPTION_REUSEADDR);
}

uint32_t nt_tcp_check_bind(const struct nt_tcp_engine *tcp, const uint8_t local[16], uint16_t port,
                           uint32_t options, const struct nt_tcb *except)
{
    for (uint32_t i = tcp->port_bucket[port % NT_TCP_PORT_BUCKETS]; i != NT_NO_INDEX;
         i = tcp->listeners[i].next) {
        const struct nt_tcp_listener *listener = &tcp->listener[i];
        if (listener->port == port && overlap(local, options, listener->addr, listener->options) &&
            conflict(options, listener->options, true))
            return EADDRINUSE;
    }
    // bind() is rare: looking at every connection costs less than counting them by port.
    for (uint32_t i = 0; i < tcp->config.shape.tcbs; i++) {
        const struct nt_tcb *t = &tcp->tcb[i];
        bool holds = t->state != NT_TCP_FREE && t != except && t->local_port == port &&
                     (t->state != NT_TCP_CLOSED || (t->flags & NT_TCB_BOUND));
        if (holds && overlap(local, options, t->local_addr, t->options) &&
            conflict(options, t->flags & NT_TCB_PASSIVE ? NT_OPTION_REUSEADDR : t->options, false))
            return EADDRINUSE;
    }
    if (options & (NT_OPTION_REUSEADDR | NT_OPTION_REUSEPORT))
        return 0;
    for (uint32_t i = 0; i < tcp->config.shape.time_waits; i++)
        if (tcp->time_wait[i].state != NT_TCP_FREE && tcp->time_wait[i].local_port == port &&
            overlap(local, options, tcp->time_wait[i].local_addr, 0))
            return EADDRINUSE;
    return 0;
}

uint16_t nt_tcp_choose_bind_port(struct nt_tcp_engine *tcp, const uint8_t local[16])
{
    enum { BIND_TRIES = 64 }; // each looks at every connection
    uint64_t hash = nt_siphash(tcp->globals->port_key, local, 16);
    uint32_t *cursor = &tcp->globals->port_cursor[hash >> 60];
    for (uint32_t i = 0; i < BIND_TRIES; i++) {
        uint32_t step = ((uint32_t)hash % PORTS + *cursor % PORTS + i) % PORTS;
        uint16_t port = (uint16_t)(NT_TCP_PORT_FIRST + step);
        if (nt_tcp_check_bind(tcp, local, port, 0, NULL) != 0)
            continue;
        nt_txn_touch(&tcp->txn, cursor, sizeof(*cursor));
        *cursor = (*cursor + i + 1) % PORTS;
        return port;
    }
    return 0;
}
