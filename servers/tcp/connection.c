// connection.c: making, ending and freeing connections.
//
// A TCB lives as long as its connection does or its slot names it, whichever is longer: a broken or
// finished connection stays as CLOSED, out of the hash table, until its program closes the socket;
// a socket closed by its program keeps the slot until its data are acknowledged.
#include <errno.h>

#include "newtos_py/net/ipv4.h"
#include "newtos_py/net/ipv6.h"
#include "servers/tcp/congestion.h"
#include "servers/tcp/context.h"

enum { MSS_MIN = 64 };

void nt_tcb_init(const struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    *t = (struct nt_tcb){
        .state = NT_TCP_CLOSED,
        .area = NT_TCP_NO_AREA,
        .listener = NT_NO_INDEX,
        .rcv_nxt = 1,
        .rcv_adv = 1,
        .rcv_acked = 1,
        .rx_geometry = nt_geometry(0, NT_RING_FIRST_LOG2),
        .tx_geometry = nt_geometry(0, NT_RING_FIRST_LOG2),
        .rto_ms = NT_TCP_RTO_FIRST_MS,
        .quick_acks = NT_TCP_QUICK_ACKS,
        .ttl = NT_TCP_DEFAULT_TTL,
        .mss = NT_TCP_DEFAULT_MSS,
        .rcv_mss = NT_TCP_DEFAULT_MSS,
        .last_heard_ms = tcp->now_ms,
        .last_sent_ms = tcp->now_ms,
    };
    nt_tcb_set_iss(t, 0);
}

struct nt_tcb *nt_tcb_new(struct nt_tcp_engine *tcp)
{
    if (tcp->tcb_free_count == 0) {
        nt_tcp_count(tcp, NT_TCP_NO_TCB);
        return NULL;
    }
    struct nt_tcb *t = &tcp->tcb[tcp->tcb_free[--tcp->tcb_free_count]];
    nt_assert(t->state == NT_TCP_FREE);
    tcp->tcb_most = nt_max_u32(tcp->tcb_most, nt_tcb_index(tcp, t) + 1);
    uint32_t number = tcp->txn.number;
    tcp->private[nt_tcb_index(tcp, t)].answered_ms = 0;
    tcp->private[nt_tcb_index(tcp, t)].early = 0;
    if (t->mark == number)
        nt_tcb_touch_cold(tcp, t); // used and freed in this very transaction
    else
        nt_txn_touch(&tcp->txn, t, offsetof(struct nt_tcb, local_addr)); // free: the state suffices
    nt_tcb_init(tcp, t);
    t->mark = t->cold_mark = number;
    nt_tcp_count(tcp, NT_TCP_TCBS_IN_USE);
    nt_txn_crash_point(&tcp->txn);
    return t;
}

static void forget_timers(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    t->rtx_deadline_ms = t->ack_deadline_ms = t->idle_deadline_ms = 0;
    nt_tcp_timer_forget(tcp, t);
}

void nt_tcb_free(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    nt_tcb_touch(tcp, t);
    nt_tcp_hash_remove_tcb(tcp, t);
    forget_timers(tcp, t);
    t->state = NT_TCP_FREE;
    t->area = NT_TCP_NO_AREA;
    tcp->tcb_free[tcp->tcb_free_count++] = nt_tcb_index(tcp, t);
    tcp->status->counter[NT_TCP_TCBS_IN_USE]--;
    nt_txn_crash_point(&tcp->txn);
}

void nt_tcb_set_iss(struct nt_tcb *t, uint32_t iss)
{
    t->iss = t->snd_una = t->snd_nxt = t->snd_max = t->recover = iss;
    t->tx_end = iss + 1;
    t->snd_small = iss;
}

void nt_tcb_set_path(struct nt_tcp_engine *tcp, struct nt_tcb *t, const struct nt_path *path)
{
    uint32_t headers =
        NT_TCP_HEADER_BYTES + (nt_addr_is_v4(t->remote_addr) ? (uint32_t)NT_IPV4_HEADER_BYTES
                                                             : (uint32_t)NT_IPV6_HEADER_BYTES);
    uint32_t mss = path->mtu > headers + MSS_MIN ? path->mtu - headers : MSS_MIN;
    t->mss = t->rcv_mss = (uint16_t)nt_min_u32(mss, UINT16_MAX);
    t->gso_max = path->gso_max;
    t->rcv_wscale = NT_TCP_RCV_WSCALE;
    t->flags |= NT_TCB_TIMESTAMPS;
    t->ts_offset = nt_tcp_timestamp_offset(tcp, t->local_addr, t->remote_addr);
}

// What a program asked for before there was a connection: TCP_MAXSEG, SO_RCVBUF.
void nt_tcb_obey_program(struct nt_tcp_engine *tcp, struct nt_tcb *t, uint32_t area, uint32_t slot)
{
    if (area == NT_TCP_NO_AREA || !tcp->areas[area].attached)
        return;
    const struct nt_slot_program *program = &tcp->areas[area].view.slot_program[slot];
    uint32_t segment = nt_load_relaxed(&program->max_segment);
    uint32_t want = nt_load_relaxed(&program->rx_want_log2);
    if (segment >= MSS_MIN && segment < t->mss)
        t->mss = t->rcv_mss = (uint16_t)segment;
    if (want > NT_RING_FIRST_LOG2 && want <= NT_RING_LAST_LOG2) {
        t->rx_want_log2 = (uint8_t)want;
        t->rx_geometry = nt_geometry(0, want);
    }
}

void nt_tcb_release_slot(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    if (!nt_tcb_has_slot(t))
        return;
    nt_tcb_touch(tcp, t);
    uint32_t binding = nt_tcp_binding_index(tcp, t->area, t->slot);
    bool fence = (t->flags & NT_TCB_FENCE) != 0;
    t->area = NT_TCP_NO_AREA;
    nt_txn_crash_point(&tcp->txn);
    nt_tcp_slot_free(tcp, binding, fence);
}

// No peer any more; the program, if there still is one, finds what is left.
static void end(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    nt_tcp_listener_forget_syn(tcp, t);
    nt_tcp_hash_remove_tcb(tcp, t);
    forget_timers(tcp, t);
    if (NT_UNLIKELY(t->flags & NT_TCB_STEERED)) {
        struct nt_tcp_tuple tuple = {t->local_addr, t->remote_addr, t->local_port, t->remote_port};
        (void)nt_tcp_emit_steer(tcp, &tuple, false);
        t->flags &= ~(uint32_t)NT_TCB_STEERED;
    }
    t->ooo_count = 0;
    t->flags &= ~(uint32_t)(NT_TCB_ACK_NOW | NT_TCB_SYN_DUE | NT_TCB_RETRANSMIT | NT_TCB_FORCE |
                            NT_TCB_PERSIST | NT_TCB_RTT_TIMING | NT_TCB_RECOVERY);
    if (nt_tcb_has_slot(t) && !(t->flags & NT_TCB_PROGRAM_CLOSED)) {
        t->state = NT_TCP_CLOSED;
        return;
    }
    nt_tcb_release_slot(tcp, t);
    nt_tcb_free(tcp, t);
}

void nt_tcb_abort(struct nt_tcp_engine *tcp, struct nt_tcb *t, uint32_t error)
{
    nt_tcb_touch(tcp, t);
    if (nt_seq_lt(t->snd_una, t->snd_max))
        t->flags |= NT_TCB_FENCE; // its bytes may still be on their way out
    t->error = error;
    t->flags &= ~(uint32_t)NT_TCB_BOUND;
    end(tcp, t);
}

void nt_tcb_reset(struct nt_tcp_engine *tcp, struct nt_tcb *t, uint32_t error)
{
    if (t->state != NT_TCP_SYN_SENT && nt_tcb_connected(t))
        nt_tcp_emit_reset(tcp, t);
    nt_tcb_abort(tcp, t, error);
}

void nt_tcb_enter_closed(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    nt_tcb_touch(tcp, t);
    t->flags &= ~(uint32_t)NT_TCB_BOUND;
    end(tcp, t);
}

void nt_tcb_enter_time_wait(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    nt_tcb_touch(tcp, t);
    // If there is no room, the peer's FIN comes again and the block answers it.
    (void)nt_tcp_output_ack(tcp, t);
    nt_tcp_hash_remove_tcb(tcp, t);
    (void)nt_tcp_time_wait_add(tcp, t);
    t->flags &= ~(uint32_t)NT_TCB_STEERED; // the block's business now
    nt_txn_crash_point(&tcp->txn);
    nt_tcb_enter_closed(tcp, t);
}

void nt_tcb_enter_established(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    t->state = NT_TCP_ESTABLISHED;
    t->flags &= ~(uint32_t)NT_TCB_SYN_DUE; // the SYN came twice in one batch with what follows it
    if (t->flags & NT_TCB_TIMESTAMPS)      // not before: a SYN names the MSS without options
        t->rcv_mss = (uint16_t)(t->rcv_mss - NT_TCP_TIMESTAMP_BYTES);
    t->retries = 0;
    t->stuck_since_ms = 0;
    t->last_sent_ms = tcp->now_ms;
    nt_cc_init(t);
    nt_tcp_count(tcp, NT_TCP_ESTABLISHED_TOTAL);
    if (t->options & NT_OPTION_KEEPALIVE) {
        uint32_t idle_s = t->keep_idle_s != 0 ? t->keep_idle_s : (uint32_t)NT_TCP_KEEP_IDLE_S;
        t->idle_deadline_ms = nt_ms_after(tcp->now_ms, idle_s * 1000);
        nt_tcp_timer_arm(tcp, t);
    }
}

// Chooses both names; 0 or an errno.
static uint32_t name_connection(struct nt_tcp_engine *tcp, struct nt_tcb *t,
                                const struct nt_endpoint *target, struct nt_path *path,
                                uint32_t *time_wait)
{
    uint8_t remote[16], local[16];
    nt_addr_copy(remote, nt_addr_or_loopback(target->addr));
    if (nt_addr_is_multicast(remote) || nt_netconf_is_broadcast(&tcp->netconf, remote))
        return ENETUNREACH;
    if (nt_netconf_path(&tcp->netconf, remote, path) != 0)
        return ENETUNREACH;
    bool any = !(t->flags & NT_TCB_BOUND) || nt_addr_is_unspecified(t->local_addr);
    nt_addr_copy(local, any ? path->source : t->local_addr);
    uint16_t port = t->local_port;
    if (!(t->flags & NT_TCB_BOUND)) {
        port = nt_tcp_choose_port(tcp, local, remote, target->port, time_wait);
        if (port == 0)
            return EADDRNOTAVAIL;
    } else {
        struct nt_tcp_tuple tuple = {local, remote, port, target->port};
        uint32_t id = nt_tcp_hash_find(tcp, &tuple);
        if (id < tcp->config.shape.tcbs)
            return EADDRNOTAVAIL;
        *time_wait = id == NT_NO_INDEX ? NT_NO_INDEX : id - tcp->config.shape.tcbs;
    }
    nt_addr_copy(t->local_addr, local);
    nt_addr_copy(t->remote_addr, remote);
    t->local_port = port;
    t->remote_port = target->port;
    return 0;
}

// RFC 9293 §3.10.1, OPEN (active). The TCB is CLOSED and has its slot. 0 or an errno.
uint32_t nt_tcp_connect(struct nt_tcp_engine *tcp, struct nt_tcb *t,
                        const struct nt_endpoint *target)
{
    struct nt_path path;
    uint32_t time_wait = NT_NO_INDEX;
    nt_tcb_touch(tcp, t);
    uint32_t error = name_connection(tcp, t, target, &path, &time_wait);
    if (error != 0)
        return error;
    nt_tcb_set_path(tcp, t, &path);
    nt_tcb_obey_program(tcp, t, t->area, t->slot);
    struct nt_tcp_tuple tuple = {t->local_addr, t->remote_addr, t->local_port, t->remote_port};
    uint32_t iss = nt_tcp_isn(tcp, &tuple);
    if (time_wait != NT_NO_INDEX) {
        // Beyond what the old connection could have had in its window, as Linux does.
        iss = nt_seq_max(iss, tcp->time_wait[time_wait].snd_nxt + 65537);
        nt_tcp_count(tcp, NT_TCP_TIME_WAIT_REUSED);
        nt_tcp_time_wait_free(tcp, time_wait);
    }
    nt_txn_crash_point(&tcp->txn);
    if (NT_UNLIKELY(nt_tcp_lane_of(tcp, &tuple) != tcp->config.lane)) {
        if (!nt_tcp_emit_steer(tcp, &tuple, true))
            return EADDRNOTAVAIL;
        t->flags |= NT_TCB_STEERED;
    }
    nt_tcb_set_iss(t, iss);
    t->state = NT_TCP_SYN_SENT;
    t->flags |= NT_TCB_SYN_DUE;
    nt_tcp_hash_add_tcb(tcp, t);
    nt_tcp_count(tcp, NT_TCP_ACTIVE_OPENS);
    nt_tcp_send_control(tcp, t);
    return 0;
}
