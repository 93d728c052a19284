// poll.c: what is ready, in Linux's words.
#include <poll.h>

#include "libc_shim/sockets/inner.h"

enum {
    READABLE = POLLIN | POLLRDNORM,
    WRITABLE = POLLOUT | POLLWRNORM,
};

// tcp_poll()
static uint32_t poll_stream(struct nt_sock *sock, const struct nt_sock_view *view, uint8_t phase)
{
    if (view->state == NT_TCP_LISTEN)
        return nt_sock_has_pending(sock) ? READABLE : 0;
    uint32_t mask = 0;
    if (view->shutdown == NT_SHUT_BOTH || view->state == NT_TCP_CLOSE)
        mask |= POLLHUP;
    if ((view->shutdown & NT_SHUT_RD) != 0)
        mask |= READABLE | POLLRDHUP;
    bool used = phase == NT_SOCK_CONNECTED || phase == NT_SOCK_CONNECTING;
    if (view->state != NT_TCP_SYN_SENT) {
        if (used)
            mask |= nt_stream_poll_in(sock);
        if (!used || (view->shutdown & NT_SHUT_WR) != 0 || nt_stream_writable(sock))
            mask |= WRITABLE;
    }
    if (view->error != 0)
        mask |= POLLERR;
    return mask;
}

// datagram_poll()
static uint32_t poll_dgram(const struct nt_sock *sock, const struct nt_sock_view *view)
{
    uint32_t mask = 0;
    if (view->error != 0)
        mask |= POLLERR;
    if ((view->shutdown & NT_SHUT_RD) != 0)
        mask |= READABLE | POLLRDHUP;
    if (view->shutdown == NT_SHUT_BOTH)
        mask |= POLLHUP;
    if (nt_dgram_next_bytes(sock) != -1)
        mask |= READABLE;
    if (nt_dgram_writable(sock))
        mask |= WRITABLE | POLLWRBAND;
    return mask;
}

uint32_t nt_sock_poll(struct nt_sock *sock)
{
    uint8_t phase = nt_load_acquire(&sock->phase);
    if (phase == NT_SOCK_CLOSED)
        return POLLNVAL;
    if (phase == NT_SOCK_SICK)
        return READABLE | WRITABLE | POLLERR | POLLHUP;
    struct nt_sock_view view;
    nt_sock_look(sock, &view);
    return sock->type == SOCK_STREAM ? poll_stream(sock, &view, phase) : poll_dgram(sock, &view);
}

uint32_t nt_sock_events(const struct nt_sock *sock)
{
    if (NT_UNLIKELY(nt_load_relaxed(&sock->phase) == NT_SOCK_LISTENING))
        return nt_sock_events_of_all(sock);
    return nt_load_acquire(&sock->server->events);
}

void nt_sock_see(const struct nt_sock *sock, struct nt_sock_seen *seen)
{
    seen->events = nt_sock_events(sock);
    seen->rx_tail = nt_load_acquire(&sock->server->rx_tail);
    seen->tx_full = nt_load_acquire(&sock->tx_full);
}

bool nt_sock_is_edge(const struct nt_sock *sock, const struct nt_sock_seen *before,
                     const struct nt_sock_seen *now, uint32_t events)
{
    uint32_t changed = now->level ^ before->level;
    uint8_t phase = nt_load_relaxed(&sock->phase);
    if (now->events == before->events)
        return false;
    // Of listening sockets and datagrams only the server's count tells one event from the next; a
    // change of the connection's state concerns everybody.
    if (sock->type != SOCK_STREAM || phase == NT_SOCK_LISTENING ||
        (changed & (POLLERR | POLLHUP | POLLRDHUP | POLLPRI)) != 0)
        return true;
    bool in = now->rx_tail != before->rx_tail || (changed & READABLE) != 0;
    bool out = now->tx_full != before->tx_full || (changed & WRITABLE) != 0;
    return (in && (events & (READABLE | POLLRDHUP | POLLPRI)) != 0) ||
           (out && (events & WRITABLE) != 0);
}

void nt_sock_set_queue(struct nt_sock *sock, uint32_t number)
{
    if (nt_load_relaxed(&sock->phase) == NT_SOCK_LISTENING) {
        nt_sock_accepting_in_all(sock); // whoever polls it will accept (Fastsocket §3.2.1)
        for (struct nt_sock *part = nt_load_acquire(&sock->beside); part != NULL;
             part = nt_load_acquire(&part->beside))
            nt_store_relaxed(&part->program->queue, (uint16_t)number);
    }
    nt_store_relaxed(&sock->program->queue, (uint16_t)number);
    nt_fence(); // before the caller looks at the level (area.h, "Telling each other")
}

uint32_t nt_sock_queue(const struct nt_sock *sock)
{
    return nt_load_relaxed(&sock->program->queue);
}

int nt_sock_rx_bytes(struct nt_sock *sock)
{
    struct nt_sock_view view;
    nt_sock_look(sock, &view);
    if (sock->type == SOCK_DGRAM) {
        int64_t bytes = nt_dgram_next_bytes(sock);
        return bytes == -2 ? -EIO : bytes < 0 ? 0 : (int)bytes;
    }
    if (view.state == NT_TCP_LISTEN)
        return -EINVAL;
    uint8_t phase = nt_load_relaxed(&sock->phase);
    if (phase != NT_SOCK_CONNECTED && phase != NT_SOCK_CONNECTING)
        return 0;
    int64_t bytes = nt_stream_unread(sock);
    if (nt_stream_has_mark(sock))
        bytes = nt_urgent_inq(sock, bytes);
    return bytes < 0 ? -EIO : (int)bytes;
}

int nt_sock_tx_bytes(struct nt_sock *sock)
{
    struct nt_sock_view view;
    nt_sock_look(sock, &view);
    if (view.state == NT_TCP_LISTEN)
        return -EINVAL;
    uint32_t head = nt_load_acquire(&sock->server->tx_head);
    uint32_t used = nt_load_relaxed(&sock->tx_tail) - head;
    if (sock->type == SOCK_STREAM)
        return used > NT_RING_RESERVE ? -EIO : (int)used;
    return used > NT_DGRAM_SLOTS ? -EIO : nt_dgram_unsent_bytes(sock, head);
}
