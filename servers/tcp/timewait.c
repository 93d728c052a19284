// timewait.c: TIME-WAIT in blocks of one line, which hold all that the state needs.
//
// All wait equally long, so the list in order of expiry is a queue. When no block is free the one
// nearest its end is given up. A new connection may take a block's four-tuple over early: on the
// passive end when its SYN is surely newer (input_time_wait, RFC 6191, RFC 1122 §4.2.2.13), on the
// active end when our own clock is (ports.c).
#include "servers/tcp/context.h"

void nt_tcp_time_wait_link(struct nt_tcp_engine *tcp, uint32_t index)
{
    tcp->tw_link[index] = (struct nt_tcp_link){.next = NT_NO_INDEX, .prev = tcp->tw_last};
    if (tcp->tw_last != NT_NO_INDEX)
        tcp->tw_link[tcp->tw_last].next = index;
    else
        tcp->tw_first = index;
    tcp->tw_last = index;
}

static void unlink_block(struct nt_tcp_engine *tcp, uint32_t index)
{
    struct nt_tcp_link link = tcp->tw_link[index];
    if (link.next != NT_NO_INDEX)
        tcp->tw_link[link.next].prev = link.prev;
    else
        tcp->tw_last = link.prev;
    if (link.prev != NT_NO_INDEX)
        tcp->tw_link[link.prev].next = link.next;
    else
        tcp->tw_first = link.next;
}

static void touch(struct nt_tcp_engine *tcp, struct nt_time_wait *tw)
{
    nt_txn_touch_once(&tcp->txn, &tw->mark, tw, sizeof(*tw));
}

void nt_tcp_time_wait_free(struct nt_tcp_engine *tcp, uint32_t index)
{
    struct nt_time_wait *tw = &tcp->time_wait[index];
    touch(tcp, tw);
    nt_tcp_hash_remove_time_wait(tcp, index);
    unlink_block(tcp, index);
    tw->state = NT_TCP_FREE;
    if (NT_UNLIKELY(tw->steered)) {
        struct nt_tcp_tuple tuple = {tw->local_addr, tw->remote_addr, tw->local_port,
                                     tw->remote_port};
        (void)nt_tcp_emit_steer(tcp, &tuple, false);
    }
    tcp->tw_free[tcp->tw_free_count++] = index;
    tcp->status->counter[NT_TCP_TIME_WAITS_IN_USE]--;
}

// The connection must not be in the hash table any more.
uint32_t nt_tcp_time_wait_add(struct nt_tcp_engine *tcp, const struct nt_tcb *t)
{
    if (tcp->tw_free_count == 0) {
        nt_tcp_count(tcp, NT_TCP_NO_TIME_WAIT);
        nt_tcp_time_wait_free(tcp, tcp->tw_first);
    }
    uint32_t index = tcp->tw_free[--tcp->tw_free_count];
    struct nt_time_wait *tw = &tcp->time_wait[index];
    tcp->time_wait_most = nt_max_u32(tcp->time_wait_most, index + 1);
    touch(tcp, tw);
    uint32_t mark = tw->mark;
    *tw = (struct nt_time_wait){
        .mark = mark,
        .state = NT_TCP_TIME_WAIT,
        .timestamps = (t->flags & NT_TCB_TIMESTAMPS) != 0,
        .steered = (t->flags & NT_TCB_STEERED) != 0,
        .window = (uint16_t)nt_min_u32((t->rcv_adv - t->rcv_nxt) >> t->rcv_wscale, UINT16_MAX),
        .local_port = t->local_port,
        .remote_port = t->remote_port,
        .snd_nxt = t->snd_max,
        .rcv_nxt = t->rcv_nxt,
        .ts_recent = t->ts_recent,
        .expires_ms = nt_ms_after(tcp->now_ms, NT_TCP_TIME_WAIT_MS),
    };
    nt_addr_copy(tw->local_addr, t->local_addr);
    nt_addr_copy(tw->remote_addr, t->remote_addr);
    nt_txn_crash_point(&tcp->txn);
    nt_tcp_hash_add_time_wait(tcp, index);
    nt_tcp_time_wait_link(tcp, index);
    nt_tcp_count(tcp, NT_TCP_TIME_WAITS_IN_USE);
    return index;
}

uint32_t nt_tcp_time_wait_expire(struct nt_tcp_engine *tcp, uint32_t budget)
{
    uint32_t done = 0;
    while (done < budget && tcp->tw_first != NT_NO_INDEX &&
           nt_ms_due(tcp->time_wait[tcp->tw_first].expires_ms, tcp->now_ms)) {
        nt_tcp_time_wait_free(tcp, tcp->tw_first);
        done++;
        nt_tcp_commit_if_full(tcp);
    }
    return done;
}

static void restart(struct nt_tcp_engine *tcp, uint32_t index)
{
    struct nt_time_wait *tw = &tcp->time_wait[index];
    touch(tcp, tw);
    tw->expires_ms = nt_ms_after(tcp->now_ms, NT_TCP_TIME_WAIT_MS);
    unlink_block(tcp, index);
    nt_tcp_time_wait_link(tcp, index);
}

// RFC 6191 §2: timestamps that have moved on, or else a greater sequence number.
static bool syn_is_newer(const struct nt_time_wait *tw, const struct nt_tcp_header *header)
{
    bool stamped = tw->timestamps && (header->options & NT_TCP_OPTION_TIMESTAMPS);
    if (stamped && header->ts_value != tw->ts_recent)
        return nt_seq_gt(header->ts_value, tw->ts_recent);
    return nt_seq_gt(header->seq, tw->rcv_nxt);
}

static bool paws_rejects(const struct nt_time_wait *tw, const struct nt_tcp_header *header)
{
    return tw->timestamps && (header->options & NT_TCP_OPTION_TIMESTAMPS) &&
           nt_seq_lt(header->ts_value, tw->ts_recent);
}

// RFC 9293 §3.10.7.4 for TIME-WAIT. RST is ignored, for else an old duplicate could end the state
// before its time (RFC 1337).
void nt_tcp_input_time_wait(struct nt_tcp_engine *tcp, uint32_t index, struct nt_segment *segment)
{
    struct nt_time_wait *tw = &tcp->time_wait[index];
    const struct nt_tcp_header *header = &segment->header;
    if (header->flags & NT_TCP_RST)
        return;
    if ((header->flags & (NT_TCP_SYN | NT_TCP_ACK)) == NT_TCP_SYN && syn_is_newer(tw, header)) {
        struct nt_tcp_listener *listener = nt_tcp_listener_find(tcp, segment->dst, header->dst_port,
                                                                segment->src, header->src_port);
        if (listener != NULL) {
            uint32_t last = tw->snd_nxt;
            nt_tcp_count(tcp, NT_TCP_TIME_WAIT_REUSED);
            nt_tcp_time_wait_free(tcp, index);
            nt_txn_crash_point(&tcp->txn);
            nt_tcp_input_listen(tcp, listener, segment, last, true);
            return;
        }
    }
    if (paws_rejects(tw, header)) {
        nt_tcp_count(tcp, NT_TCP_PAWS_DROPS);
        nt_tcp_answer_time_wait(tcp, tw);
        return;
    }
    // A FIN that came again did so because our acknowledgement was lost.
    if (header->flags & NT_TCP_FIN)
        restart(tcp, index);
    if (nt_segment_len(segment) != 0)
        nt_tcp_answer_time_wait(tcp, tw);
}
