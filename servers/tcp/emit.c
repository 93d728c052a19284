// emit.c: one segment into the channel to IP.
//
// The header goes inline; payload is referenced where the program wrote it. The checksum field
// holds the pseudo-header's sum (its length that of the whole super-segment); whoever needs the
// whole checksum completes it.
#include "newtos_py/net/checksum.h"
#include "newtos_py/net/ipv4.h"
#include "servers/tcp/context.h"

// The next free descriptor, its header cleared; NULL if there is no room.
static struct nt_desc *begin(struct nt_tcp_engine *tcp)
{
    struct nt_producer *to_ip = &tcp->to_ip;
    if (nt_producer_room(to_ip, 1) == 0)
        return NULL;
    struct nt_desc *desc = nt_producer_slot(to_ip);
    memset(desc, 0, offsetof(struct nt_desc, data));
    desc->kind = NT_DESC_SEGMENT;
    desc->flags = NT_DESC_CSUM_PARTIAL;
    desc->l4_offset = NT_TX_META_BYTES;
    desc->check = nt_desc_check(to_ip->tail);
    return desc;
}

static void finish(struct nt_tcp_engine *tcp)
{
    nt_producer_advance(&tcp->to_ip);
    nt_tcp_count(tcp, NT_TCP_SEGMENTS_OUT);
    nt_txn_crash_point(&tcp->txn);
}

static void put_meta(struct nt_desc *desc, const uint8_t src[16], const uint8_t dst[16],
                     uint8_t ttl, uint8_t tos)
{
    struct nt_tx_meta meta = {.protocol = NT_IPPROTO_TCP, .ttl = ttl, .tos = tos, .df = 1};
    nt_addr_copy(meta.src, src);
    nt_addr_copy(meta.dst, dst);
    memcpy(desc->data, &meta, sizeof(meta));
}

// Header and pseudo-header sum; `len` bytes of payload will follow.
static void put_header(struct nt_desc *desc, const struct nt_tcp_header *header,
                       const uint8_t src[16], const uint8_t dst[16], uint32_t len)
{
    uint8_t *p = desc->data + NT_TX_META_BYTES;
    uint32_t bytes = nt_tcp_emit(header, p);
    uint32_t sum = nt_csum_pseudo(src, dst, NT_IPPROTO_TCP, bytes + len);
    nt_csum_store(p + NT_TCP_CHECKSUM, nt_csum_fold(sum));
    desc->inline_len = (uint8_t)(NT_TX_META_BYTES + bytes);
}

// Up to two pieces: the TX ring's end may lie between.
static void put_payload(struct nt_desc *desc, const struct nt_tcb *t, uint32_t seq, uint32_t len)
{
    uint32_t size = nt_geometry_size(t->tx_geometry);
    uint32_t position = nt_geometry_position(t->tx_geometry, seq - t->iss - 1);
    uint32_t first = nt_min_u32(len, size - position);
    uint64_t base = nt_area_tx_ring_offset(t->slot, t->tx_geometry);
    uint16_t region = (uint16_t)(NT_REGION_AREA + t->area);
    desc->ref[0] = (struct nt_ref){.offset = base + position, .len = first, .region = region};
    desc->ref_count = 1;
    if (first != len) {
        desc->ref[1] = (struct nt_ref){.offset = base, .len = len - first, .region = region};
        desc->ref_count = 2;
    }
    if (len > t->mss)
        desc->gso_size = t->mss;
}

static struct nt_tcp_header header_of(struct nt_tcp_engine *tcp, struct nt_tcb *t, uint32_t seq,
                                      uint8_t flags)
{
    bool syn = (flags & NT_TCP_SYN) != 0;
    struct nt_tcp_header header = {
        .src_port = t->local_port,
        .dst_port = t->remote_port,
        .seq = seq,
        .ack = flags & NT_TCP_ACK ? t->rcv_nxt : 0,
        .window = nt_tcp_announce_window(tcp, t, syn),
        .flags = flags,
    };
    if (t->flags & NT_TCB_TIMESTAMPS) {
        header.options |= NT_TCP_OPTION_TIMESTAMPS;
        header.ts_value = nt_tcp_timestamp(tcp, t);
        header.ts_echo = flags & NT_TCP_ACK ? t->ts_recent : 0;
    }
    if (syn) {
        header.options |= NT_TCP_OPTION_MSS;
        header.mss = t->rcv_mss;
        if (t->rcv_wscale != 0) {
            header.options |= NT_TCP_OPTION_WSCALE;
            header.wscale = t->rcv_wscale;
        }
    }
    return header;
}

static void acknowledged(struct nt_tcb *t)
{
    t->rcv_acked = t->rcv_nxt;
    t->flags &= ~(uint32_t)NT_TCB_ACK_NOW;
    t->ack_deadline_ms = 0;
    if (t->quick_acks != 0)
        t->quick_acks--;
}

// The TCB has been touched.
bool nt_tcp_emit_segment(struct nt_tcp_engine *tcp, struct nt_tcb *t, uint32_t seq, uint32_t len,
                         uint8_t flags)
{
    struct nt_desc *desc = begin(tcp);
    if (desc == NULL)
        return false;
    struct nt_tcp_header header = header_of(tcp, t, seq, flags);
    if (NT_UNLIKELY(t->flags & NT_TCB_TX_URGENT))
        nt_tcp_mark_urgent(t, &header);
    put_meta(desc, t->local_addr, t->remote_addr, t->ttl, t->tos);
    put_header(desc, &header, t->local_addr, t->remote_addr, len);
    if (len != 0)
        put_payload(desc, t, seq, len);
    finish(tcp);
    nt_tcp_count_n(tcp, NT_TCP_BYTES_OUT, len);
    if (flags & NT_TCP_ACK)
        acknowledged(t);
    return true;
}

// Where the peer takes a segment of ours without data for acceptable, also when it has shrunk its
// window.
static uint32_t acceptable_seq(const struct nt_tcb *t)
{
    uint32_t edge = t->snd_una + t->snd_wnd;
    return nt_seq_gt(t->snd_max, edge) ? edge : t->snd_max;
}

bool nt_tcp_output_ack(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    nt_tcb_touch(tcp, t);
    return nt_tcp_emit_segment(tcp, t, acceptable_seq(t), 0, NT_TCP_ACK);
}

// RFC 9293 §3.8.4: a sequence number that the peer must answer.
bool nt_tcp_output_probe(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    return nt_tcp_emit_segment(tcp, t, t->snd_una - 1, 0, NT_TCP_ACK);
}

void nt_tcp_emit_reset(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    nt_tcb_touch(tcp, t);
    if (nt_tcp_emit_segment(tcp, t, acceptable_seq(t), 0, NT_TCP_RST | NT_TCP_ACK))
        nt_tcp_count(tcp, NT_TCP_RESETS_OUT);
    else
        nt_tcp_count(tcp, NT_TCP_UNSENT_REPLIES);
}

static void answer(struct nt_tcp_engine *tcp, const struct nt_tcp_header *header,
                   const uint8_t src[16], const uint8_t dst[16])
{
    struct nt_desc *desc = begin(tcp);
    if (desc == NULL) {
        nt_tcp_count(tcp, NT_TCP_UNSENT_REPLIES);
        return;
    }
    put_meta(desc, src, dst, NT_TCP_DEFAULT_TTL, 0);
    put_header(desc, header, src, dst, 0);
    finish(tcp);
}

// RFC 9293 §3.5.2, group 1: a segment for no connection. Never to a RST.
void nt_tcp_answer_reset(struct nt_tcp_engine *tcp, const struct nt_segment *segment)
{
    const struct nt_tcp_header *in = &segment->header;
    if (in->flags & NT_TCP_RST)
        return;
    struct nt_tcp_header header = {
        .src_port = in->dst_port,
        .dst_port = in->src_port,
        .flags = NT_TCP_RST,
    };
    if (in->flags & NT_TCP_ACK) {
        header.seq = in->ack;
    } else {
        header.flags |= NT_TCP_ACK;
        header.ack = in->seq + nt_segment_len(segment);
    }
    nt_tcp_count(tcp, NT_TCP_RESETS_OUT);
    answer(tcp, &header, segment->dst, segment->src);
}

void nt_tcp_answer_time_wait(struct nt_tcp_engine *tcp, const struct nt_time_wait *tw)
{
    struct nt_tcp_header header = {
        .src_port = tw->local_port,
        .dst_port = tw->remote_port,
        .seq = tw->snd_nxt,
        .ack = tw->rcv_nxt,
        .window = tw->window,
        .flags = NT_TCP_ACK,
    };
    if (tw->timestamps) {
        header.options = NT_TCP_OPTION_TIMESTAMPS;
        header.ts_value =
            tcp->now_ms + nt_tcp_timestamp_offset(tcp, tw->local_addr, tw->remote_addr);
        header.ts_echo = tw->ts_recent;
    }
    answer(tcp, &header, tw->local_addr, tw->remote_addr);
}

// Tells IP that segments of a connection come here, or no longer. False: no room.
bool nt_tcp_emit_steer(struct nt_tcp_engine *tcp, const struct nt_tcp_tuple *tuple, bool here)
{
    struct nt_desc *desc = begin(tcp);
    if (desc == NULL)
        return false;
    struct nt_steer steer = {
        .local_port = tuple->local_port, .remote_port = tuple->remote_port, .here = here};
    nt_addr_copy(steer.local, tuple->local_addr);
    nt_addr_copy(steer.remote, tuple->remote_addr);
    desc->kind = NT_DESC_STEER;
    desc->flags = 0;
    desc->inline_len = sizeof(steer);
    memcpy(desc->data, &steer, sizeof(steer));
    nt_producer_advance(&tcp->to_ip);
    nt_txn_crash_point(&tcp->txn);
    return true;
}

// Says something of a flow group. False: no room.
bool nt_tcp_emit_group(struct nt_tcp_engine *tcp, uint32_t group, enum nt_group_word word)
{
    struct nt_desc *desc = begin(tcp);
    if (desc == NULL)
        return false;
    desc->kind = NT_DESC_GROUP;
    desc->flags = 0;
    desc->tag = group;
    desc->arg = word;
    nt_producer_advance(&tcp->to_ip);
    nt_txn_crash_point(&tcp->txn);
    return true;
}

bool nt_tcp_emit_stolen(struct nt_tcp_engine *tcp, const struct nt_stolen *stolen)
{
    struct nt_desc *desc = begin(tcp);
    if (desc == NULL)
        return false;
    desc->kind = NT_DESC_STOLEN;
    desc->flags = 0;
    desc->inline_len = sizeof(*stolen);
    memcpy(desc->data, stolen, sizeof(*stolen));
    nt_producer_advance(&tcp->to_ip);
    nt_txn_crash_point(&tcp->txn);
    return true;
}

// Hands a packet back that no connection here has. False: no room.
bool nt_tcp_emit_not_mine(struct nt_tcp_engine *tcp, const struct nt_desc *packet)
{
    struct nt_desc *desc = begin(tcp);
    if (desc == NULL)
        return false;
    uint32_t check = desc->check;
    memcpy(desc, packet, offsetof(struct nt_desc, data));
    desc->kind = NT_DESC_NOT_MINE;
    desc->inline_len = 0;
    desc->check = check;
    nt_producer_advance(&tcp->to_ip);
    nt_txn_crash_point(&tcp->txn);
    return true;
}

bool nt_tcp_emit_fence(struct nt_tcp_engine *tcp, uint32_t number)
{
    struct nt_desc *desc = begin(tcp);
    if (desc == NULL)
        return false;
    desc->kind = NT_DESC_FENCE;
    desc->flags = 0;
    desc->tag = NT_FENCE_TCP + tcp->config.lane;
    desc->arg = number;
    nt_producer_advance(&tcp->to_ip);
    nt_txn_crash_point(&tcp->txn);
    return true;
}
