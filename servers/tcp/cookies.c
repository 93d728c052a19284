// cookies.c: SYN cookies (RFC 4987 §3.6): a full SYN queue refuses nobody.
//
// Where no TCB may be kept for a connection request, all that it would hold goes into the SYN-ACK,
// and comes back with what acknowledges it: the connection is made then. The initial sequence
// number is
//
//     1 bit: parity of the period   3 bits: index of the peer's MSS   28 bits: keyed hash
//
// and a peer that sends timestamps gets its window scale back in the low bits of ours, which the
// hash covers, too. Who cannot see our SYN-ACK would have to guess 28 bits within two periods.
// A peer without timestamps speaks without window scale, too (as with Linux's cookies).
//
// Nothing else is kept, so nothing is lost by a crash: the key lives in the arena, and when cookies
// were sent last. That is written past the journal, for it may be a little late, never early.
#include "newtos_py/net/ipv6.h"
#include "servers/tcp/context.h"

enum {
    MSS_SHIFT = 28,
    HASH_MASK = (1 << MSS_SHIFT) - 1,
    SCALE_MASK = 15, // the bits of a timestamp; 16 ms of it
    NO_SCALE = 15,   // RFC 7323 §2.2: no scale is beyond 14
    NO_TIMESTAMPS = 16,
};

// A cookie is good for the rest of its period and the next: longer than a SYN-ACK and what
// acknowledges it may be under way.
static const uint64_t period_ns = UINT64_C(64000000000);

// What is common (Ethernet with and without options, PPPoE, tunnels, IPv6's and IPv4's least, jumbo
// frames): the largest that is no larger than the peer's.
static const uint16_t mss_of[8] = {64, 536, 1220, 1360, 1400, 1440, 1460, 8960};

static uint32_t mss_index(const struct nt_tcp_header *header)
{
    uint32_t named = header->options & NT_TCP_OPTION_MSS ? header->mss : NT_TCP_DEFAULT_MSS;
    uint32_t index = 7;
    while (index != 0 && mss_of[index] > named)
        index--;
    return index;
}

static uint32_t hash(const struct nt_tcp_engine *tcp, const struct nt_segment *segment,
                     uint32_t irs, uint64_t period, uint32_t index, uint32_t scale)
{
    // Longer than what isn.c hashes with this key, so never the same.
    uint8_t input[48];
    nt_addr_copy(input, segment->dst);
    nt_addr_copy(input + 16, segment->src);
    nt_put16(input + 32, segment->header.dst_port);
    nt_put16(input + 34, segment->header.src_port);
    nt_put32(input + 36, irs);
    nt_put32(input + 40, (uint32_t)period);
    nt_put16(input + 44, (uint16_t)index);
    nt_put16(input + 46, (uint16_t)scale);
    return (uint32_t)nt_siphash(tcp->globals->isn_key, input, sizeof(input)) & HASH_MASK;
}

static uint32_t cookie(const struct nt_tcp_engine *tcp, const struct nt_segment *segment,
                       uint32_t irs, uint64_t period, uint32_t index, uint32_t scale)
{
    return (uint32_t)(period & 1) << 31 | index << MSS_SHIFT |
           hash(tcp, segment, irs, period, index, scale);
}

// What goes into the timestamp, and comes back in its echo.
static uint32_t scale_named(const struct nt_tcp_header *header)
{
    if (!(header->options & NT_TCP_OPTION_TIMESTAMPS))
        return NO_TIMESTAMPS;
    return header->options & NT_TCP_OPTION_WSCALE ? header->wscale : (uint32_t)NO_SCALE;
}

static uint32_t scale_echoed(const struct nt_tcp_header *header)
{
    return header->options & NT_TCP_OPTION_TIMESTAMPS ? header->ts_echo & SCALE_MASK
                                                      : (uint32_t)NO_TIMESTAMPS;
}

// The SYN-ACK is that of a TCB which is forgotten at once. Best effort: the SYN comes again.
void nt_tcp_answer_cookie(struct nt_tcp_engine *tcp, const struct nt_tcp_listener *listener,
                          const struct nt_segment *syn, const struct nt_path *path)
{
    struct nt_tcb t;
    uint32_t scale = scale_named(&syn->header);
    nt_tcb_init(tcp, &t);
    nt_tcp_listener_begin(tcp, listener, &t, syn, path);
    if (scale == NO_TIMESTAMPS)
        t.rcv_wscale = 0;
    else // at most so little in the past, and later ones are later
        t.ts_offset -= (nt_tcp_timestamp(tcp, &t) - scale) & SCALE_MASK;
    uint64_t period = tcp->now_ns / period_ns;
    nt_tcb_set_iss(&t, cookie(tcp, syn, t.irs, period, mss_index(&syn->header), scale));
    if (nt_tcp_emit_segment(tcp, &t, t.iss, 0, NT_TCP_SYN | NT_TCP_ACK))
        nt_tcp_count(tcp, NT_TCP_COOKIES_SENT);
    else
        nt_tcp_count(tcp, NT_TCP_UNSENT_REPLIES);
    tcp->globals->cookie_period = (uint32_t)period + 1;
}

// Cookies may be on their way.
static bool sent_lately(const struct nt_tcp_engine *tcp)
{
    uint32_t last = tcp->globals->cookie_period;
    return last != 0 && (uint32_t)(tcp->now_ns / period_ns) + 1 - last <= 1;
}

static bool is_cookie(const struct nt_tcp_engine *tcp, const struct nt_segment *segment)
{
    uint32_t iss = segment->header.ack - 1, irs = segment->header.seq - 1;
    uint64_t period = tcp->now_ns / period_ns;
    if ((period & 1) != iss >> 31)
        period--;
    uint32_t index = iss >> MSS_SHIFT & 7;
    return iss == cookie(tcp, segment, irs, period, index, scale_echoed(&segment->header));
}

// The SYN, as far as the acknowledgement tells.
static struct nt_segment remembered_syn(const struct nt_segment *segment)
{
    struct nt_segment syn = *segment;
    uint32_t scale = scale_echoed(&segment->header);
    syn.header.seq = syn.seq = segment->header.seq - 1;
    syn.header.mss = mss_of[(segment->header.ack - 1) >> MSS_SHIFT & 7];
    syn.header.options |= NT_TCP_OPTION_MSS;
    if (scale < NO_SCALE) {
        syn.header.options |= NT_TCP_OPTION_WSCALE;
        syn.header.wscale = (uint8_t)scale;
    }
    return syn;
}

static void make_connection(struct nt_tcp_engine *tcp, struct nt_tcp_listener *listener,
                            struct nt_tcb *t, const struct nt_segment *segment,
                            const struct nt_path *path)
{
    struct nt_segment syn = remembered_syn(segment);
    nt_tcp_listener_begin(tcp, listener, t, &syn, path);
    nt_tcb_set_iss(t, segment->header.ack - 1);
    (void)nt_tcp_announce_window(tcp, t, true); // as the SYN-ACK did, which said it was received
    t->snd_nxt = t->snd_max = t->iss + 1;
    t->rcv_acked = t->rcv_nxt;
    t->state = NT_TCP_SYN_RCVD;
    nt_txn_crash_point(&tcp->txn);
    nt_tcp_hash_add_tcb(tcp, t);
    if (nt_tcp_has_lanes(tcp))
        nt_tcp_keep_here(tcp, t);
    tcp->listeners[t->listener].syn_count++;
    nt_tcp_rto_restart(tcp, t); // if there is no slot just now, the peer is asked once more
    nt_tcp_count(tcp, NT_TCP_PASSIVE_OPENS);
    nt_tcp_count(tcp, NT_TCP_COOKIES_ACCEPTED);
}

bool nt_tcp_input_cookie(struct nt_tcp_engine *tcp, struct nt_tcp_listener *listener,
                         struct nt_segment *segment)
{
    struct nt_path path;
    if ((segment->header.flags & NT_TCP_SYN) || NT_LIKELY(!sent_lately(tcp)))
        return false;
    if (!is_cookie(tcp, segment)) {
        nt_tcp_count(tcp, NT_TCP_COOKIES_REFUSED);
        // What follows the first segment of a connection whose first was lost: it comes again, in
        // order, and must not find the connection reset.
        return nt_segment_len(segment) != 0;
    }
    if (nt_tcp_accept_queue_full(tcp, listener) ||
        nt_netconf_path(&tcp->netconf, segment->src, &path) != 0) {
        nt_tcp_count(tcp, NT_TCP_LISTEN_DROPS);
        return true; // comes again, with data
    }
    struct nt_tcb *t = nt_tcb_new(tcp);
    if (t == NULL)
        return true;
    make_connection(tcp, listener, t, segment, &path);
    nt_tcp_input_synchronized(tcp, t, segment);
    return true;
}
