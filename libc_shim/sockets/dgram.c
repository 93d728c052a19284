// dgram.c: UDP's datagrams, in and out of the rings of a slot.
//
// A ring is NT_DGRAM_SLOTS descriptors and a stretch of data, each datagram in one piece of it. The
// writer goes on after the last datagram, or at the start where the rest is too short, or when the
// ring is empty; it never meets the oldest datagram, whose descriptor says where that begins. Each
// takes a whole number of cache lines and at least one, so that "met" and "empty" look different.
#include "libc_shim/sockets/inner.h"

enum {
    DATA_END = NT_DGRAM_DATA_OFFSET + NT_DGRAM_DATA_BYTES,
    // RFC 768 over IPv4: 65535 - 20 - 8. Over IPv6 20 more, which no program counts on.
    DGRAM_BYTES_MAX = 65507,
    DGRAM_ROOM_MAX = 65536,
};

static struct nt_dgram *descriptor(uint8_t *ring, uint32_t cursor)
{
    return (struct nt_dgram *)(void *)ring + (cursor & (NT_DGRAM_SLOTS - 1));
}

static uint32_t rounded(uint32_t bytes)
{
    return bytes == 0 ? NT_CACHE_LINE
                      : (bytes + NT_CACHE_LINE - 1) & ~(uint32_t)(NT_CACHE_LINE - 1);
}

// Where a datagram of `bytes` (rounded) goes, or 0: nowhere just now.
static uint32_t place(const struct nt_sock *sock, uint32_t head, uint32_t bytes)
{
    uint32_t tail = nt_load_relaxed(&sock->tx_tail);
    if (head == tail)
        return NT_DGRAM_DATA_OFFSET;
    if (tail - head >= NT_DGRAM_SLOTS)
        return 0;
    uint32_t oldest = descriptor(nt_area_tx(&sock->area->view, sock->slot), head)->offset;
    uint32_t next = nt_load_relaxed(&sock->tx_offset);
    if (next > oldest) { // in use: oldest .. next
        if (DATA_END - next >= bytes)
            return next;
        return oldest - NT_DGRAM_DATA_OFFSET > bytes ? NT_DGRAM_DATA_OFFSET : 0;
    }
    return oldest - next > bytes ? next : 0;
}

bool nt_dgram_writable(const struct nt_sock *sock)
{
    uint32_t head = nt_load_acquire(&sock->server->tx_head);
    uint32_t used = nt_load_relaxed(&sock->tx_tail) - head;
    if (used > NT_DGRAM_SLOTS)
        return true; // impossible: let it find out
    // The server tells at half (area.h), so less than that isn't called writable; and any datagram
    // must fit, because poll() doesn't know which one will come.
    return used <= NT_DGRAM_SLOTS / 2 && place(sock, head, DGRAM_ROOM_MAX) != 0;
}

static void put_marks(const struct nt_dgram_marks *marks, struct nt_dgram *dgram)
{
    if (marks->ttl != 0)
        dgram->ttl = marks->ttl;
    if (marks->has_tos)
        dgram->tos = marks->tos;
    memcpy(dgram->local_addr, marks->source, sizeof dgram->local_addr);
}

ssize_t nt_dgram_send(struct nt_sock *sock, const struct iovec *iov, int count,
                      const struct nt_endpoint *to, const struct nt_dgram_marks *marks,
                      struct nt_sock_wake *wake)
{
    ssize_t wanted = nt_iov_bytes(iov, count);
    if (wanted < 0)
        return wanted;
    if (wanted > DGRAM_BYTES_MAX)
        return -EMSGSIZE;
    struct nt_sock_view view;
    nt_sock_look(sock, &view);
    if (to == NULL && sock->phase != NT_SOCK_CONNECTED)
        return -EDESTADDRREQ;
    // sock_alloc_send_pskb(): error, then shutdown.
    int error = nt_sock_take_error(sock, &view);
    if (error != 0)
        return -error;
    if ((view.shutdown & NT_SHUT_WR) != 0)
        return -EPIPE;

    uint32_t head = nt_load_acquire(&sock->server->tx_head);
    uint32_t tail = sock->tx_tail;
    if (tail - head > NT_DGRAM_SLOTS)
        return nt_sock_sick(sock);
    uint32_t room = rounded((uint32_t)wanted);
    uint32_t offset = place(sock, head, room);
    if (offset == 0)
        return -EAGAIN;
    uint8_t *ring = nt_area_tx(&sock->area->view, sock->slot);
    struct nt_iov walk = {iov, count, 0};
    nt_iov_gather(&walk, ring + offset, (size_t)wanted);
    struct nt_dgram *dgram = descriptor(ring, tail);
    memset(dgram, 0, sizeof *dgram);
    dgram->offset = offset;
    dgram->len = (uint32_t)wanted;
    if (to != NULL)
        dgram->peer = *to;
    dgram->ttl = sock->program->ttl;
    dgram->tos = sock->program->tos;
    if (marks != NULL)
        put_marks(marks, dgram);
    dgram->next_offset = offset + room;
    if (!nt_sock_advance_tx(sock, tail + 1))
        return -ERESTART;
    nt_store_relaxed(&sock->tx_offset, offset + room);
    nt_sock_tell(sock, wake);
    return wanted;
}

uint32_t nt_dgram_next_offset(const struct nt_sock *sock)
{
    uint32_t next =
        descriptor(nt_area_tx(&sock->area->view, sock->slot), sock->tx_tail - 1)->next_offset;
    return next >= NT_DGRAM_DATA_OFFSET && next <= DATA_END ? next : (uint32_t)NT_DGRAM_DATA_OFFSET;
}

int nt_dgram_unsent_bytes(const struct nt_sock *sock, uint32_t head)
{
    uint8_t *ring = nt_area_tx(&sock->area->view, sock->slot);
    uint32_t sum = 0;
    for (uint32_t i = head; i != nt_load_relaxed(&sock->tx_tail); i++)
        sum += descriptor(ring, i)->len;
    return (int)sum;
}

// -- Receiving -------------------------------------------------------------------------------

// Copies the oldest descriptor, once, and checks it: 1, 0: none, -1: impossible.
static int oldest(const struct nt_sock *sock, struct nt_dgram *dgram)
{
    uint32_t head = nt_load_relaxed(&sock->rx_head);
    uint32_t unread = nt_load_acquire(&sock->server->rx_tail) - head;
    if (unread == 0)
        return 0;
    if (unread > NT_DGRAM_SLOTS)
        return -1;
    *dgram = *descriptor(nt_area_rx(&sock->area->view, sock->slot), head);
    bool inside = dgram->offset >= NT_DGRAM_DATA_OFFSET && dgram->offset <= DATA_END &&
                  dgram->len <= DATA_END - dgram->offset;
    return inside ? 1 : -1;
}

int64_t nt_dgram_next_bytes(const struct nt_sock *sock)
{
    struct nt_dgram dgram;
    int found = oldest(sock, &dgram);
    return found == 0 ? -1 : found < 0 ? -2 : (int64_t)dgram.len;
}

static void describe(const struct nt_dgram *dgram, struct nt_sock_received *received)
{
    received->peer = dgram->peer;
    memcpy(received->local_addr, dgram->local_addr, sizeof received->local_addr);
    received->ttl = dgram->ttl;
    received->tos = dgram->tos;
}

ssize_t nt_dgram_recv(struct nt_sock *sock, const struct iovec *iov, int count, int flags,
                      struct nt_sock_received *received, struct nt_sock_wake *wake)
{
    if ((flags & MSG_ERRQUEUE) != 0)
        return -EAGAIN;
    if ((flags & MSG_OOB) != 0)
        return -EOPNOTSUPP;
    ssize_t wanted = nt_iov_bytes(iov, count);
    if (wanted < 0)
        return wanted;
    struct nt_sock_view view;
    nt_sock_look(sock, &view);
    // __skb_recv_udp(): a pending error comes before a datagram; the end after SHUT_RD is told only
    // to those who wait.
    int error = nt_sock_take_error(sock, &view);
    if (error != 0)
        return -error;
    struct nt_dgram dgram;
    int found = oldest(sock, &dgram);
    if (found < 0)
        return nt_sock_sick(sock);
    if (found == 0)
        return (view.shutdown & NT_SHUT_RD) != 0 && (flags & MSG_DONTWAIT) == 0 ? 0 : -EAGAIN;

    size_t bytes = (size_t)nt_min_u64(dgram.len, (uint64_t)wanted);
    struct nt_iov walk = {iov, count, 0};
    nt_iov_scatter(&walk, nt_area_rx(&sock->area->view, sock->slot) + dgram.offset, bytes);
    if (received != NULL) {
        describe(&dgram, received);
        if (bytes < dgram.len)
            received->flags |= MSG_TRUNC;
    }
    if ((flags & MSG_PEEK) == 0 && !nt_sock_advance_rx(sock, sock->rx_head + 1))
        return -ERESTART;
    // A full RX ring drops, and the next datagram finds the new head: no need to tell the server.
    (void)wake;
    return (flags & MSG_TRUNC) != 0 ? (ssize_t)dgram.len : (ssize_t)bytes;
}
