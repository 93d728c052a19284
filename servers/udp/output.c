#include "servers/udp/output.h"

#include <errno.h>

#include "newtos_py/net/checksum.h"
#include "newtos_py/net/flow.h"
#include "newtos_py/net/ipv4.h"
#include "newtos_py/net/ipv6.h"
#include "servers/udp/area.h"
#include "servers/udp/move.h"
#include "servers/udp/ports.h"
#include "servers/udp/socket.h"

enum {
    DATA_END = NT_DGRAM_DATA_OFFSET + NT_DGRAM_DATA_BYTES,
    TOLD_ABOVE = 8, // area.h: a ring that held more than this tells when it is half empty, or empty
};

// -- Descriptors -----------------------------------------------------------------------------

struct nt_desc *nt_udp_segment(struct nt_udp *udp)
{
    if (nt_producer_room(&udp->to_ip, 2) < 2)
        return NULL;
    struct nt_desc *desc = nt_producer_slot(&udp->to_ip);
    memset(desc, 0, offsetof(struct nt_desc, data));
    desc->kind = NT_DESC_SEGMENT;
    desc->l4_offset = NT_TX_META_BYTES;
    desc->check = nt_desc_check(udp->to_ip.tail);
    return desc;
}

void nt_udp_segment_push(struct nt_udp *udp)
{
    nt_producer_advance(&udp->to_ip);
    udp->ip_pushed = true;
    nt_txn_crash_point(&udp->txn);
}

// -- Fences and groups -----------------------------------------------------------------------

// The lowest fence of all drivers: what all of them have passed.
uint32_t nt_udp_last_fence_passed(const struct nt_udp *udp)
{
    uint64_t passed = UINT32_MAX;
    for (uint32_t i = 0; i < NT_UDP_DRIVERS; i++)
        if (udp->driver[i].exists)
            passed =
                nt_min_u64(passed, nt_load_acquire(&udp->driver[i].status->fence[NT_FENCE_UDP]));
    return (uint32_t)passed;
}

bool nt_udp_fence_passed(const struct nt_udp *udp)
{
    return udp->waiting_count != 0 && nt_udp_last_fence_passed(udp) > udp->fence_passed;
}

void nt_udp_wait_for_fence(struct nt_udp *udp, struct nt_udp_socket *socket)
{
    uint16_t index = nt_udp_index(udp, socket);
    nt_udp_timer(udp, udp->now_ns + NT_UDP_FENCE_LOOK_US * NT_UDP_US);
    if (udp->is_waiting[index])
        return;
    udp->is_waiting[index] = 1;
    udp->waiting[udp->waiting_count++] = index;
}

static void push_fence(struct nt_udp *udp)
{
    nt_assert(nt_producer_room(&udp->to_ip, 1) != 0); // nt_udp_segment has left room
    struct nt_desc *desc = nt_producer_slot(&udp->to_ip);
    memset(desc, 0, offsetof(struct nt_desc, data));
    desc->kind = NT_DESC_FENCE;
    desc->tag = NT_FENCE_UDP;
    desc->arg = udp->state->globals.fence;
    desc->check = nt_desc_check(udp->to_ip.tail);
    nt_udp_segment_push(udp);
    udp->fence_sent_ns = udp->now_ns;
}

void nt_udp_fence(struct nt_udp *udp)
{
    if (!udp->references)
        return;
    udp->references = false;
    struct nt_udp_globals *globals = &udp->state->globals;
    NT_UDP_TOUCH(udp, globals);
    globals->fence++;
    nt_udp_count(udp, NT_UDP_COUNT_FENCES);
    push_fence(udp);
}

// tx_head moves to `head`: tells the program if it may have waited for the room. What it has seen
// so far is what was published.
static void free_datagrams(struct nt_udp *udp, struct nt_udp_socket *socket, uint32_t head)
{
    const struct nt_area *area = &nt_udp_area_of(udp, socket)->view;
    uint32_t tail = nt_load_relaxed(&area->slot_program[socket->slot].tx_tail);
    uint32_t shown = area->slot_server[socket->slot].tx_head;
    uint32_t before = tail - shown, after = tail - head;
    bool half = before > NT_DGRAM_SLOTS / 2 && after <= NT_DGRAM_SLOTS / 2;
    // A ring empties in several steps, of which the last may begin with few datagrams.
    uint8_t *crowded = &udp->crowded[nt_udp_index(udp, socket)];
    if (before > TOLD_ABOVE)
        *crowded = 1;
    if (*crowded && (after == 0 || half)) {
        nt_udp_socket_event(udp, socket);
        *crowded = 0;
    } else {
        nt_udp_socket_touch(udp, socket);
    }
    socket->tx_head = head;
}

// What has just been sent, up to tx_sent.
static void note_sent(struct nt_udp *udp, struct nt_udp_socket *socket, bool referenced)
{
    bool waits = socket->group[0].fence != 0;
    if (!waits && !referenced) {
        free_datagrams(udp, socket, socket->tx_sent);
        return;
    }
    // The fence that will follow what this transaction sends.
    uint32_t fence = udp->state->globals.fence + 1;
    udp->references = true;
    // The older group is still this transaction's own, or there is a newer one to collect it.
    bool older = !waits || socket->group[0].fence == fence;
    struct nt_udp_group *group = &socket->group[older ? 0 : 1];
    group->fence = fence;
    group->head = socket->tx_sent;
    nt_udp_wait_for_fence(udp, socket);
}

// Groups whose fence has been passed; true if none is left.
static bool collect(struct nt_udp *udp, struct nt_udp_socket *socket, uint32_t passed)
{
    while (socket->group[0].fence != 0 && socket->group[0].fence <= passed) {
        free_datagrams(udp, socket, socket->group[0].head);
        socket->group[0] = socket->group[1];
        socket->group[1] = (struct nt_udp_group){0};
    }
    if (socket->group[0].fence != 0)
        return false;
    nt_udp_socket_free_if_drained(udp, socket);
    return true;
}

static void fence_again(struct nt_udp *udp)
{
    if (udp->now_ns - udp->fence_sent_ns < NT_UDP_FENCE_AGAIN_MS * NT_UDP_MS ||
        nt_producer_room(&udp->to_ip, 1) == 0)
        return;
    nt_udp_count(udp, NT_UDP_COUNT_FENCES_REPEATED);
    push_fence(udp);
}

void nt_udp_collect(struct nt_udp *udp)
{
    if (udp->waiting_count == 0)
        return;
    uint32_t passed = nt_udp_last_fence_passed(udp);
    if (passed == udp->fence_passed && passed != UINT32_MAX) { // UINT32_MAX: no driver at all
        fence_again(udp);
        nt_udp_timer(udp, udp->now_ns + NT_UDP_FENCE_LOOK_US * NT_UDP_US);
        return;
    }
    uint32_t kept = 0, i = 0;
    for (; i < udp->waiting_count && nt_txn_room(&udp->txn) > NT_UDP_JOURNAL_AN_INPUT; i++) {
        uint16_t index = udp->waiting[i];
        if (collect(udp, &udp->state->socket[index], passed))
            udp->is_waiting[index] = 0;
        else
            udp->waiting[kept++] = index;
    }
    if (i == udp->waiting_count)
        udp->fence_passed = passed; // else: go on where the journal was full
    memmove(&udp->waiting[kept], &udp->waiting[i],
            (udp->waiting_count - i) * sizeof udp->waiting[0]);
    udp->waiting_count = (uint16_t)(kept + udp->waiting_count - i);
    if (udp->waiting_count != 0)
        nt_udp_timer(udp, udp->now_ns + NT_UDP_FENCE_LOOK_US * NT_UDP_US);
}

// -- Datagrams -------------------------------------------------------------------------------

struct datagram { // a program's, copied and checked
    struct nt_dgram head;
    uint8_t src[16];
    uint8_t dst[16];
    uint16_t dst_port;
};

// Where it goes, and from which address; 0 or an errno.
static int route(struct nt_udp *udp, const struct nt_udp_socket *socket, uint32_t options,
                 struct datagram *datagram)
{
    const struct nt_endpoint *peer = &datagram->head.peer;
    struct nt_path path;
    if (peer->port == 0 && (socket->flags & NT_UDP_CONNECTED) == 0)
        return EDESTADDRREQ;
    datagram->dst_port = peer->port != 0 ? peer->port : socket->peer_port;
    const uint8_t *dst = peer->port != 0 ? peer->addr : socket->peer_addr;
    nt_addr_copy(datagram->dst, nt_addr_or_loopback(dst));
    const bool v4 = nt_addr_is_v4(datagram->dst);
    if (nt_netconf_path(&udp->conf, datagram->dst, &path) != 0)
        return ENETUNREACH;
    if (!v4 && datagram->head.len > UINT16_MAX - NT_IPV6_HEADER_BYTES - NT_UDP_HEADER_BYTES)
        return EMSGSIZE; // its header is longer, and there are no fragments
    if (nt_netconf_is_broadcast(&udp->conf, datagram->dst) && (options & NT_OPTION_BROADCAST) == 0)
        return EACCES;
    const uint8_t *wanted = datagram->head.local_addr; // IP_PKTINFO's, of this datagram
    if (nt_addr_is_unspecified(wanted))
        wanted = socket->local_addr;
    else if (!nt_netconf_is_local(&udp->conf, wanted))
        return EINVAL;
    bool own = !nt_addr_is_unspecified(wanted) && nt_netconf_is_local(&udp->conf, wanted);
    nt_addr_copy(datagram->src, own ? wanted : path.source);
    return nt_addr_is_v4(datagram->src) == v4 ? 0 : ENETUNREACH;
}

static void write_headers(const struct nt_udp_socket *socket, uint32_t options,
                          const struct datagram *datagram, struct nt_desc *desc)
{
    const struct nt_dgram *head = &datagram->head;
    struct nt_tx_meta meta = {
        .protocol = NT_IPPROTO_UDP,
        .ttl = head->ttl != 0 ? head->ttl : NT_UDP_DEFAULT_TTL,
        .tos = head->tos,
        .df = (options & NT_OPTION_PMTU_PROBE) != 0,
    };
    nt_addr_copy(meta.src, datagram->src);
    nt_addr_copy(meta.dst, datagram->dst);
    memcpy(desc->data, &meta, sizeof meta);
    struct nt_udp_header repr = {
        .src_port = socket->local_port,
        .dst_port = datagram->dst_port,
        .length = (uint16_t)(NT_UDP_HEADER_BYTES + head->len),
    };
    uint8_t *header = desc->data + NT_TX_META_BYTES;
    nt_udp_emit(&repr, header);
    // The rest of the sum is the driver's; IP's, if the driver can't (checksum.h).
    uint32_t sum = nt_csum_pseudo(datagram->src, datagram->dst, NT_IPPROTO_UDP, repr.length);
    nt_csum_store(header + NT_UDP_CHECKSUM, nt_csum_fold(sum));
    desc->flags = NT_DESC_CSUM_PARTIAL;
    desc->flow_hash = nt_flow_hash(datagram->src, repr.src_port, datagram->dst, repr.dst_port);
    desc->inline_len = NT_TX_META_BYTES + NT_UDP_HEADER_BYTES;
}

// True if its payload is referenced, false if it was copied.
static bool put_payload(const struct nt_udp_socket *socket, const uint8_t *ring,
                        const struct nt_dgram *head, struct nt_desc *desc)
{
    if (head->len <= NT_UDP_INLINE_MAX) {
        memcpy(desc->data + desc->inline_len, ring + head->offset, head->len);
        desc->inline_len = (uint8_t)(desc->inline_len + head->len);
        return false;
    }
    desc->ref_count = 1;
    desc->ref[0] = (struct nt_ref){
        .offset = nt_area_tx_offset(socket->slot) + head->offset,
        .len = head->len,
        .region = (uint16_t)(NT_REGION_AREA + socket->area),
    };
    return true;
}

static const uint8_t any_v4[16] = {[10] = 0xff, [11] = 0xff};

// Sends one datagram. False: IP's channel is full, try again later.
static bool send_one(struct nt_udp *udp, struct nt_udp_socket *socket, uint32_t options,
                     struct datagram *datagram, const uint8_t *ring)
{
    bool referenced = false;
    const uint8_t *dst = datagram->head.peer.port != 0 ? datagram->head.peer.addr : any_v4;
    int error = nt_udp_port_autobind(udp, socket, dst, options);
    if (error == 0)
        error = route(udp, socket, options, datagram);
    if (error == 0) {
        struct nt_desc *desc = nt_udp_segment(udp);
        if (desc == NULL)
            return false;
        write_headers(socket, options, datagram, desc);
        referenced = put_payload(socket, ring, &datagram->head, desc);
        nt_udp_segment_push(udp);
        nt_udp_count(udp, NT_UDP_COUNT_OUT_DATAGRAMS);
        nt_udp_count_n(udp, NT_UDP_COUNT_OUT_BYTES, datagram->head.len);
    } else {
        nt_udp_count(udp, NT_UDP_COUNT_TX_REFUSED);
        nt_udp_socket_error(udp, socket, error);
    }
    nt_udp_socket_touch(udp, socket);
    socket->tx_sent++;
    note_sent(udp, socket, referenced);
    return true;
}

// Copies a program's descriptor, once, and checks it.
static bool read_datagram(const uint8_t *ring, uint32_t cursor, struct nt_dgram *head)
{
    memcpy(head, ring + (cursor & (NT_DGRAM_SLOTS - 1)) * sizeof *head, sizeof *head);
    return head->offset >= NT_DGRAM_DATA_OFFSET && head->offset <= DATA_END &&
           head->len <= NT_UDP_PAYLOAD_MAX && head->len <= DATA_END - head->offset;
}

// What one turn of sending came to.
enum turn { TURN_DONE, TURN_AGAIN, TURN_FULL, TURN_BROKEN };

static enum turn send_all(struct nt_udp *udp, struct nt_udp_socket *socket,
                          const struct nt_slot_program *program)
{
    const struct nt_area *area = &nt_udp_area_of(udp, socket)->view;
    uint32_t tail = nt_load_acquire(&program->tx_tail);
    uint32_t options = nt_load_relaxed(&program->options);
    const uint8_t *ring = nt_area_tx(area, socket->slot);
    if (tail - socket->tx_head > NT_DGRAM_SLOTS || tail - socket->tx_sent > NT_DGRAM_SLOTS)
        return TURN_BROKEN;
    for (uint32_t count = 0; socket->tx_sent != tail; count++) {
        struct datagram datagram;
        if (count == NT_UDP_QUANTUM || nt_txn_room(&udp->txn) < NT_UDP_JOURNAL_AN_INPUT)
            return TURN_AGAIN;
        if (!read_datagram(ring, socket->tx_sent, &datagram.head))
            return TURN_BROKEN;
        if (!send_one(udp, socket, options, &datagram, ring))
            return TURN_FULL;
    }
    return TURN_DONE;
}

// -- Requests of the program -----------------------------------------------------------------

static void disconnect(struct nt_udp *udp, struct nt_udp_socket *socket)
{
    nt_udp_socket_touch(udp, socket);
    socket->flags &= (uint8_t)~NT_UDP_CONNECTED;
    socket->peer_port = 0;
    memset(socket->peer_addr, 0, sizeof socket->peer_addr);
    if (socket->flags & NT_UDP_ANY_ADDRESS) // Linux: the address that connect chose goes with it
        memset(socket->local_addr, 0, sizeof socket->local_addr);
}

static int connect(struct nt_udp *udp, struct nt_udp_socket *socket,
                   const struct nt_endpoint *target, uint32_t options)
{
    if (target->port == 0) {
        disconnect(udp, socket);
        return 0;
    }
    struct datagram datagram = {.head = {.peer = *target}};
    if (socket->flags & NT_UDP_CONNECTED)
        disconnect(udp, socket);
    int error = nt_udp_port_autobind(udp, socket, target->addr, options);
    if (error == 0)
        error = route(udp, socket, options, &datagram);
    if (error != 0)
        return error;
    nt_udp_socket_touch(udp, socket);
    nt_addr_copy(socket->peer_addr, datagram.dst);
    socket->peer_port = target->port;
    socket->flags |= NT_UDP_CONNECTED;
    if (socket->flags & NT_UDP_ANY_ADDRESS)
        nt_addr_copy(socket->local_addr, datagram.src);
    nt_udp_count(udp, NT_UDP_COUNT_CONNECTS);
    return 0;
}

static void answer_mail(struct nt_udp *udp, struct nt_udp_socket *socket,
                        const struct nt_slot_program *program)
{
    uint32_t request = nt_load_acquire(&program->request);
    if (request == socket->reply)
        return;
    struct nt_endpoint target = program->target;
    int error = (request & 0xff) == NT_MAIL_CONNECT
                    ? connect(udp, socket, &target, nt_load_relaxed(&program->options))
                    : ENOSYS;
    nt_udp_socket_event(udp, socket);
    socket->reply = request;
    socket->reply_errno = (uint32_t)error;
}

void nt_udp_look(struct nt_udp *udp, struct nt_udp_socket *socket)
{
    struct nt_udp_area_private *area = nt_udp_area_of(udp, socket);
    const struct nt_slot_program *program = &area->view.slot_program[socket->slot];
    if (socket->state == NT_UDP_LEFT)
        nt_udp_left_look(udp, socket);
    if (nt_load_acquire(&program->generation) != socket->generation ||
        socket->state == NT_UDP_DRAINING || (socket->flags & NT_UDP_ARRIVING))
        return;
    // Before the ring: what was sent before the close must be seen.
    bool closed = (nt_load_acquire(&program->control) & NT_CONTROL_CLOSE) != 0;
    if (socket->state != NT_UDP_BROKEN) {
        switch (send_all(udp, socket, program)) {
        case TURN_DONE:
            answer_mail(udp, socket, program);
            break;
        case TURN_AGAIN:
            nt_udp_area_again(area, socket->slot);
            return;
        case TURN_FULL:
            nt_udp_area_again(area, socket->slot);
            udp->ip_full = true;
            return;
        case TURN_BROKEN:
            nt_udp_socket_break(udp, socket);
            break;
        }
    }
    if (closed)
        nt_udp_socket_close(udp, socket);
}
