// inner.h: what the files of the socket layer share; nobody else includes it.
//
// Theory. Linux's answers follow from three things: the state of the connection, which directions
// are shut, and a pending error. Here the program's half of that is private (struct nt_sock) and
// the server's half is in its block of the slot; nt_sock_look() puts them together into a struct
// nt_sock_view in Linux's terms, and every call decides from that view.
//
// Order of loads: state and flags first, cursors after. The server stores them the other way round,
// so a view with RX_FIN or BROKEN goes with the final rx_tail.
#ifndef NT_SHIM_INNER_H
#define NT_SHIM_INNER_H

#include <errno.h>
#include <netinet/in.h>

#include "libc_shim/sockets/iov.h"
#include "libc_shim/sockets/socket.h"

enum { // nt_sock.shutdown and nt_sock_view.shutdown: Linux's RCV_SHUTDOWN and SEND_SHUTDOWN
    NT_SHUT_RD = 1,
    NT_SHUT_WR = 2,
    NT_SHUT_BOTH = 3,
};

enum nt_sock_flags {              // private
    NT_SOCKF_CORK = 1,            // TCP_CORK is set: MSG_MORE must not clear it
    NT_SOCKF_UNREPORTED = 2,      // connected, but the connect() that says so is still to come
    NT_SOCKF_USED_UP = 4,         // the slot had a connection: the next connect() needs a fresh one
    NT_SOCKF_UNBOUND = 8,         // the slot is fresh and must be bound to bound_to first
    NT_SOCKF_NAMED = 16,          // accepted: bound_to and peer are its names
    NT_SOCKF_POSTED = 32,         // datagrams: a request waits for its reply
    NT_SOCKF_DISCONNECTING = 64,  // shut down between a failed connect() and the next: no way back
    NT_SOCKF_PKTINFO = 128,       // IP_PKTINFO
    NT_SOCKF_PKTINFO6 = 256,      // IPV6_RECVPKTINFO
    NT_SOCKF_RECVTTL = 512,       // IP_RECVTTL
    NT_SOCKF_RECVTOS = 1024,      // IP_RECVTOS
    NT_SOCKF_RECVHOPLIMIT = 2048, // IPV6_RECVHOPLIMIT
    NT_SOCKF_RECVTCLASS = 4096,   // IPV6_RECVTCLASS
    NT_SOCKF_TIMESTAMP = 8192,    // SO_TIMESTAMP
    NT_SOCKF_TIMESTAMPNS = 16384, // SO_TIMESTAMPNS
    NT_SOCKF_SHARED = 32768,      // other processes may move it away at any moment
    NT_SOCKF_OOB_READ = 65536,    // urgent_read counts
    NT_SOCKF_OOB_INLINE = 131072, // SO_OOBINLINE
};

enum nt_sock_state { // of Linux's states, those that its answers tell apart
    NT_TCP_CLOSE = 1,
    NT_TCP_SYN_SENT = 2,
    NT_TCP_ESTABLISHED = 3, // and the states after it, until both directions are done
    NT_TCP_LISTEN = 4,
};

struct nt_sock_view {
    enum nt_sock_state state;
    uint32_t shutdown; // NT_SHUT_*
    uint32_t error;    // pending error word, 0: none. The errno is in its low 16 bits
    bool done;         // the peer's FIN has arrived (Linux's SOCK_DONE)
};

// The error word of a connection that a cold start took away.
enum { NT_ERROR_COLD_START = (1 << 30) | ECONNRESET };
// Of a datagram socket that another process has taken; it is never reported.
enum { NT_ERROR_MOVED = (1 << 30) | ERESTART };

static inline uint32_t nt_error_number(uint32_t word) { return word & 0xffff; }

static inline void nt_sock_lock(struct nt_sock *sock)
{
    nt_spin_lock(&sock->lock, sock->area == NULL ? NULL : sock->area->context->yield);
}
static inline void nt_sock_unlock(struct nt_sock *sock) { nt_spin_unlock(&sock->lock); }

// Something for the server is published in this socket's slot.
static inline void nt_sock_tell(struct nt_sock *sock, struct nt_sock_wake *wake)
{
    nt_area_set_activity(&sock->area->view, sock->slot);
    wake->areas |= 1u << sock->area->index;
}

// True if the server forgot the slot: it came back without its arena.
static inline bool nt_sock_is_lost(const struct nt_sock *sock)
{
    return nt_load_relaxed(sock->cold_starts) != sock->cold_starts_then ||
           nt_load_relaxed(&sock->server->generation) != sock->generation;
}

// Moves the socket's cursors on, locked: what was written, or read, up to there is done. False: it
// is not, the socket was moved.
static inline bool nt_sock_advance_tx(struct nt_sock *sock, uint32_t tail)
{
    if (NT_UNLIKELY((sock->flags & NT_SOCKF_SHARED) != 0)) {
        if (!nt_cursor_advance(&sock->program->tx_tail, sock->tx_tail, tail))
            return false;
    } else {
        nt_store_release(&sock->program->tx_tail, tail);
    }
    nt_store_relaxed(&sock->tx_tail, tail);
    return true;
}
static inline bool nt_sock_advance_rx(struct nt_sock *sock, uint32_t head)
{
    if (NT_UNLIKELY((sock->flags & NT_SOCKF_SHARED) != 0)) {
        if (!nt_cursor_advance(&sock->program->rx_head, sock->rx_head, head))
            return false;
    } else {
        nt_store_release(&sock->program->rx_head, head);
    }
    nt_store_relaxed(&sock->rx_head, head);
    return true;
}

static inline uint32_t nt_sock_options(const struct nt_sock *sock)
{
    return nt_load_relaxed(&sock->program->options);
}

static inline int nt_sock_sick(struct nt_sock *sock)
{
    nt_store_relaxed(&sock->phase, (uint8_t)NT_SOCK_SICK);
    return -EIO;
}

// From now on the server may choose this program for a listening socket's connections.
static inline void nt_sock_accepting(const struct nt_sock *sock)
{
    if (NT_UNLIKELY(nt_load_relaxed(&sock->program->accepting) == 0))
        nt_store_relaxed(&sock->program->accepting, (uint32_t)NT_ACCEPTING);
}
// The core that it accepted on last; UINT32_MAX: none known.
static inline uint32_t nt_sock_accepting_core(const struct nt_sock *sock)
{
    return (nt_load_relaxed(&sock->program->accepting) >> NT_ACCEPTING_CORE_SHIFT) - 1;
}

// What a slot says of the core that its program runs on; with one lane nobody asks.
static inline uint32_t nt_sock_core(const struct nt_sock_context *context)
{
    if (nt_load_relaxed(&context->lanes) == 1 || context->core == NULL)
        return 0;
    return context->core() + 1;
}

// lanes.c: all parts of a listening socket.
void nt_sock_copy_options(struct nt_sock *part, const struct nt_sock *sock);
bool nt_sock_has_pending(struct nt_sock *sock);
uint32_t nt_sock_events_of_all(const struct nt_sock *sock);
// Says that, and where, the caller accepts, in all lanes.
void nt_sock_accepting_in_all(const struct nt_sock *sock);

// slot.c
void nt_sock_look(const struct nt_sock *sock, struct nt_sock_view *view);
// Reports the pending error once: the errno, or 0.
int nt_sock_take_error(struct nt_sock *sock, const struct nt_sock_view *view);
// Takes a granted slot of an area of that protocol and lane and makes it the socket's: 0; -EAGAIN:
// the server was asked for more; -ENOTCONN: there is no such area; -EIO. `options` (or NULL) is the
// block of another slot whose options it gets.
#define NT_SOCK_ANY_LANE UINT32_MAX
int nt_sock_take_slot(struct nt_sock_context *context, struct nt_sock *sock, uint32_t protocol,
                      uint32_t lane, const struct nt_slot_program *options,
                      struct nt_sock_wake *wake);
// The area of that number, or NULL.
struct nt_sock_area *nt_sock_area_numbered(struct nt_sock_context *context, uint32_t protocol,
                                           uint32_t number);
// Makes a slot that is known to be ours the socket's.
void nt_sock_enter_slot(struct nt_sock *sock, struct nt_sock_area *area, uint32_t slot,
                        uint32_t generation, const struct nt_slot_program *options);
bool nt_sock_slot_is_free(const struct nt_sock_area *area, uint32_t slot, uint32_t generation);
// Says CLOSE (and `control`) in a slot of the socket's and forgets it.
void nt_sock_leave_slot(struct nt_sock *sock, struct nt_sock_area *area, uint32_t slot,
                        uint32_t control, struct nt_sock_wake *wake);
// Gives the socket a fresh slot with the same options and queue, and resets the old one's
// connection; 0, or as nt_sock_take_slot() and then nothing has changed.
int nt_sock_renew_slot(struct nt_sock_context *context, struct nt_sock *sock,
                       struct nt_sock_wake *wake);

// lifecycle.c
// Everything but the slot, as after socket().
void nt_sock_init(struct nt_sock *sock, int family, int type);

// options.c
void nt_sock_options_init(struct nt_sock *sock);

// stream.c, dgram.c: with the socket locked.
ssize_t nt_stream_send(struct nt_sock *sock, const struct iovec *iov, int count, int flags,
                       struct nt_sock_wake *wake);
ssize_t nt_stream_recv(struct nt_sock *sock, const struct iovec *iov, int count, int flags,
                       struct nt_sock_received *received, struct nt_sock_wake *wake);
bool nt_stream_writable(const struct nt_sock *sock);
// Unread bytes; or -1: impossible cursors.
int64_t nt_stream_unread(const struct nt_sock *sock);
// POLLIN|POLLRDNORM: SO_RCVLOWAT bytes, or impossible cursors; POLLPRI: an urgent one.
uint32_t nt_stream_poll_in(const struct nt_sock *sock);

// urgent.c: urgent data, where the server says that there are some (NT_SLOT_URGENT).
enum nt_urgent { // tcp_sock.urg_data
    NT_URGENT_NONE = 0,
    NT_URGENT_AWAITED = 1, // the mark is known, its byte has not come yet
    NT_URGENT_HERE = 2,
    NT_URGENT_READ = 3, // by MSG_OOB
};
struct nt_urgent_view {
    enum nt_urgent state;
    uint32_t mark;  // the urgent byte's cursor
    uint32_t gone;  // the next bytes of the ring were urgent ones, and no read gives them any more
    uint32_t ahead; // bytes that reads give before the urgent one
    bool passed;    // reads give those behind it, too: the next byte is the urgent one, not inline
};
void nt_stream_urgent(const struct nt_sock *sock, struct nt_urgent_view *view);
static inline bool nt_stream_has_mark(const struct nt_sock *sock)
{
    return NT_UNLIKELY((nt_load_relaxed(&sock->server->flags) & NT_SLOT_URGENT) != 0);
}
// Of `unread` bytes, those that one read may give; *skip: after so many that it may not.
uint32_t nt_urgent_limit(const struct nt_sock *sock, uint32_t unread, uint32_t *skip);
int64_t nt_urgent_inq(const struct nt_sock *sock, int64_t bytes); // FIONREAD of so many
ssize_t nt_urgent_recv(struct nt_sock *sock, const struct nt_sock_view *view,
                       const struct iovec *iov, int count, int flags,
                       struct nt_sock_received *received);

struct nt_dgram_marks { // attached to one datagram (ancillary.c); zero: the socket's own
    uint8_t source[16];
    uint8_t ttl;
    uint8_t tos;
    bool has_tos;
};
int nt_dgram_read_marks(const struct nt_sock *sock, const struct msghdr *message, bool to_ipv4,
                        struct nt_dgram_marks *marks);
// `to` and `marks` may be NULL.
ssize_t nt_dgram_send(struct nt_sock *sock, const struct iovec *iov, int count,
                      const struct nt_endpoint *to, const struct nt_dgram_marks *marks,
                      struct nt_sock_wake *wake);
ssize_t nt_dgram_recv(struct nt_sock *sock, const struct iovec *iov, int count, int flags,
                      struct nt_sock_received *received, struct nt_sock_wake *wake);
bool nt_dgram_writable(const struct nt_sock *sock);
uint32_t nt_dgram_next_offset(const struct nt_sock *sock); // behind the last one that was written
int nt_dgram_unsent_bytes(const struct nt_sock *sock, uint32_t head);
// Length of the oldest datagram; -1: none; -2: an impossible descriptor.
int64_t nt_dgram_next_bytes(const struct nt_sock *sock);

#endif
