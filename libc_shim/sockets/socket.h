// socket.h: the socket calls over socket areas, without blocking and without the kernel.
//
// A struct nt_sock is one open socket: what Linux calls an open file description; descriptor
// numbers, O_NONBLOCK, reference counts and blocking are the caller's. It is private memory, given
// by the caller (zeroed, 64-byte aligned, see nt_queue_collect() for its lifetime). It owns one
// slot of one area from nt_sock_create() or nt_sock_accept() to nt_sock_close().
//
// Every call may be made by several threads at once: it takes the socket's lock itself (an empty
// nonblocking recv takes none), holds it for one copy at most, and returns. Results are >= 0, or
// -errno exactly as Linux would say it for a nonblocking socket. -EAGAIN means wait: for the level
// that poll() names, on the queue that the socket names, then call again. Flags:
//     MSG_DONTWAIT  pass it when the program's call does not block: it changes nothing but the few
//                   results that Linux gives only to calls that wait (recv on a datagram socket
//                   after SHUT_RD: 0)
//     MSG_NOSIGNAL  ignored: -EPIPE on a stream socket means that the caller raises SIGPIPE unless
//                   it is set (and never for datagrams)
//     MSG_WAITALL   ignored: the caller goes on with the rest of its buffers
//
// -ERESTART, which Linux keeps to itself, is for a socket that several processes hold: another one
// took it meanwhile, and the call has done nothing. Where a call fails otherwise, or is none that
// moves data, nt_sock_was_moved() says afterwards whether it has to be made again.
//
// Shared memory that the server writes is checked before use; a cursor or geometry that cannot be
// costs this socket, which from then on answers -EIO.
#ifndef NT_SHIM_SOCKET_H
#define NT_SHIM_SOCKET_H

#include "libc_shim/sockets/address.h"
#include "libc_shim/sockets/context.h"
#include "libc_shim/sockets/queue.h"
#include "newtos_py/kernel/control.h"
#include "newtos_py/kernel/listener.h"

#ifndef NT_CDEF
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#endif

// Options that are kept and reported, without an effect here: indices of nt_sock.kept.
enum { NT_SOCK_KEPT_MAX = 24 };

enum nt_sock_phase { // what the program did with it; what became of that is in the server's block
    NT_SOCK_CLOSED = 0,
    NT_SOCK_IDLE = 1,       // after socket() and bind()
    NT_SOCK_CONNECTING = 2, // TCP: connect() was called and its result not yet reported
    NT_SOCK_CONNECTED = 3,  // TCP: connected once; UDP: has a peer
    NT_SOCK_LISTENING = 4,
    NT_SOCK_SICK = 5, // shared memory held what cannot be: -EIO from now on
};

struct nt_sock {
    // line 0: all that a recv of nothing reads
    struct nt_spin lock;
    uint32_t rx_head; // as published in the slot's program block
    const struct nt_slot_server *server;
    const uint32_t *cold_starts; // in the area's server header
    uint32_t cold_starts_then;   // when the slot was taken
    uint32_t generation;
    uint8_t phase;    // enum nt_sock_phase
    uint8_t type;     // SOCK_STREAM, SOCK_DGRAM
    uint8_t family;   // AF_INET, AF_INET6
    uint8_t shutdown; // 1: SHUT_RD was called, 2: SHUT_WR
    uint32_t slot;
    struct nt_slot_program *program;
    struct nt_sock_area *area;
    // line 1: sending
    uint32_t tx_tail;       // as published
    uint32_t tx_offset;     // datagrams: where the next one's bytes go
    uint32_t rx_noted;      // rx_head when the server was last told
    uint32_t error_taken;   // the server block's `error` word that was last reported
    uint32_t tx_limit_log2; // SO_SNDBUF: the largest ring; 0: as the server allows
    uint32_t sndbuf;        // as asked for; 0: never asked
    uint32_t rcvbuf;
    uint32_t request; // last mailbox request
    struct nt_listener *listener;
    uint64_t rcvtimeo_ns; // 0: none; kept for the caller, which is who waits
    uint64_t sndtimeo_ns;
    int32_t linger_s; // -1: off
    uint32_t flags;   // private, inner.h
    // line 2
    uint32_t bound;       // bind() was called
    uint8_t phase_before; // in a child of fork(): what the phase was, NT_SOCK_CLOSED: its own
    uint8_t pad[3];
    uint32_t left_error;         // TCP, not connected: what an end of the program's own left behind
    uint32_t tx_full;            // moves on when a stream's send() finds no room
    struct nt_endpoint bound_to; // with this name
    struct nt_endpoint peer;     // that connect() or accept() named
    void *user;                  // the caller's
    struct nt_sock *beside;      // listening: what it is in the next lane (lanes.c)
    uint32_t accept_turn;        // with which of them accept() begins
    uint32_t pad2;
    uint64_t kept_bits;
    uint32_t urgent_read; // mark of the urgent byte that MSG_OOB read last, if NT_SOCKF_OOB_READ
    int32_t kept[24];     // NT_SOCK_KEPT_MAX
};

// -- Making and ending -----------------------------------------------------------------------

// socket(): takes a granted slot. `type` without SOCK_NONBLOCK and SOCK_CLOEXEC.
// -EAFNOSUPPORT, -ESOCKTNOSUPPORT, -EPROTONOSUPPORT; -ENOTCONN: no area of that protocol is
// attached yet; -EAGAIN: no slot is granted just now. The server has been told (flush) and sets the
// ready bit of a slot of queue 0 with the next grant; -ENOBUFS: all the area's slots are in use.
int nt_sock_create(struct nt_sock_context *context, struct nt_sock *sock, int domain, int type,
                   int protocol, struct nt_sock_wake *wake);

// True if the socket's slot says that the newest area of its lane begins to run out: attach
// another.
bool nt_sock_wants_area(const struct nt_sock *sock);

// close(): tells the server and forgets the slot; the object may be used again at once. Unread or,
// with SO_LINGER time 0, unsent data make the server reset the connection, as Linux does.
// A lingering close is the caller's: while nt_sock_linger_ms() > 0, call nt_sock_shutdown(SHUT_WR),
// wait until nt_sock_drained() or for so long, then close. A listening socket's caller sends
// NT_CTL_UNLISTEN before.
int nt_sock_close(struct nt_sock *sock, struct nt_sock_wake *wake);
uint32_t nt_sock_linger_ms(const struct nt_sock *sock);
bool nt_sock_drained(struct nt_sock *sock); // all sent bytes and our FIN are acknowledged

// -- Sockets that several processes hold (state.c) ---------------------------------------------

// In a child of fork(), which doesn't have the parent's areas: forgets the slot without a word, and
// keeps everything else for nt_sock_resume().
void nt_sock_child(struct nt_sock *sock);

// Other processes may hold the socket from now on, and move it away in the middle of any call.
void nt_sock_share(struct nt_sock *sock);

// True if the socket's slot is not its own any more, because it was moved to another area.
// False after a fence: what was stored in the slot before the fence has moved, or will move, along.
bool nt_sock_was_moved(const struct nt_sock *sock);

// Forgets the slot, which stays as it is: another process holds the socket, too.
void nt_sock_forget(struct nt_sock *sock);
// Lets the server have the slot back that the socket was moved out of.
void nt_sock_abandon(struct nt_sock *sock, struct nt_sock_wake *wake);

// A socket whose slot was forgotten, or that was made with nt_sock_restore(), goes on in a slot of
// an attached area, to which it was moved: 0, -EBADF (no such area or slot).
int nt_sock_resume(struct nt_sock_context *context, struct nt_sock *sock, uint32_t protocol,
                   uint32_t area, uint32_t slot, uint32_t generation);

// The same for a listening socket, in a slot of the program's own that it was given by NT_CTL_JOIN.
int nt_sock_resume_listening(struct nt_sock_context *context, struct nt_sock *sock, uint32_t area,
                             uint32_t slot, uint32_t generation, struct nt_listener *listener);

// The socket is somebody else's business from now on, only its names are asked for here: `local`
// (port 0: unknown), and who the peer is.
void nt_sock_name(struct nt_sock *sock, const struct nt_endpoint *local);

// What a socket is beside its slot, for a program that does not have it in its memory: after exec,
// and by SCM_RIGHTS.
enum { NT_SOCK_IMAGE_MAGIC = 0x4e545354 };
struct nt_sock_image {
    uint32_t magic;
    uint32_t bytes; // of the struct, as its version
    uint8_t phase;
    uint8_t type;
    uint8_t family;
    uint8_t shutdown;
    uint8_t nonblocking; // the caller's
    uint8_t pad[3];
    uint32_t flags;
    uint32_t urgent_read;
    uint32_t tx_limit_log2;
    uint32_t sndbuf;
    uint32_t rcvbuf;
    int32_t linger_s;
    uint32_t bound;
    uint64_t rcvtimeo_ns;
    uint64_t sndtimeo_ns;
    struct nt_endpoint bound_to;
    struct nt_endpoint peer;
    int32_t kept[24];     // NT_SOCK_KEPT_MAX
    uint32_t error_taken; // datagrams: the last error that was reported
    uint32_t pad2;
};
void nt_sock_save(const struct nt_sock *sock, struct nt_sock_image *state);
// `bytes` are what came; false: not of this version.
bool nt_sock_restore(struct nt_sock *sock, const struct nt_sock_image *state, uint32_t bytes);

// -- Names and connections -------------------------------------------------------------------

// bind() and listen() go over the control connection. Their first half, nt_sock_bind_check(), makes
// the checks that need no server and fills in `local`; nt_sock_bound() is told what came out.
//   bind:    -EINVAL (bound already, or too short), -EAFNOSUPPORT, -EIO
//   listen:  -EOPNOTSUPP (datagrams), -EINVAL (connected), -EIO; 1: it listens already, and only
//            the backlog may change
// After nt_sock_listening(), `listener` must stay mapped until nt_sock_close().
int nt_sock_bind_check(struct nt_sock *sock, const struct sockaddr *address, socklen_t length,
                       struct nt_endpoint *local);
void nt_sock_bound(struct nt_sock *sock, const struct nt_endpoint *local);
int nt_sock_listen_check(struct nt_sock *sock);
void nt_sock_listening(struct nt_sock *sock, struct nt_listener *listener);
// What a listening socket is in a further lane, as the answers to LISTEN and JOIN say: `part`
// (zeroed, or closed; its `user` the same) becomes a part of it; `listener` as above. To be done
// before nt_sock_listening() of the socket itself. -EBADF: no such area or slot.
int nt_sock_add_part(struct nt_sock_context *context, struct nt_sock *sock, struct nt_sock *part,
                     const struct nt_beside *where, struct nt_listener *listener);
// Closes one of its parts, which is the caller's again; NULL: there is none.
struct nt_sock *nt_sock_take_part(struct nt_sock *sock, struct nt_sock_wake *wake);
// Makes `sock` (zeroed, or closed) of the slot that NT_CTL_JOIN answered: a socket that another
// process made listen. -EBADF: no such area or slot. nt_sock_listening() follows.
int nt_sock_joined(struct nt_sock_context *context, struct nt_sock *sock, int family, uint32_t area,
                   uint32_t slot, uint32_t generation);

// connect().
//   TCP: posts the request and returns -EINPROGRESS; called again: -EALREADY while it lasts, then
//        once 0 or what it failed with (unless SO_ERROR took that: -ECONNABORTED), then -EISCONN.
//        A blocking connect waits for POLLOUT and calls again; it makes no difference to Linux.
//        AF_UNSPEC disconnects. After a failure the socket takes a fresh slot, so it may be -EAGAIN
//        (no grant, see nt_sock_create()), or -EDESTADDRREQ: the socket had been bound, so send
//        NT_CTL_BIND with nt_sock_bound_name() for its new slot, and call again.
//   UDP: posts the request and returns -EAGAIN while the server has not answered (within one of its
//        turns): wait for an event and call again with the same address, blocking or not; then 0,
//        or -ENETUNREACH and the like. AF_UNSPEC takes the peer away.
int nt_sock_connect(struct nt_sock_context *context, struct nt_sock *sock,
                    const struct sockaddr *address, socklen_t length, struct nt_sock_wake *wake);

// The name that bind() gave it, for binding a fresh slot; false if it was never bound.
bool nt_sock_bound_name(const struct nt_sock *sock, struct nt_endpoint *local);

// True if its slot has had a connection: bind() and listen() first disconnect (AF_UNSPEC).
bool nt_sock_is_used_up(const struct nt_sock *sock);

// accept(): claims a pending connection, the oldest but for those that wait for this program, and
// makes `accepted` (zeroed, or closed) of it; `address` and `length` as accept(2), or NULL. Options
// are inherited as on Linux. -EAGAIN: none pending; -EINVAL: not listening; -EOPNOTSUPP: datagrams.
int nt_sock_accept(struct nt_sock_context *context, struct nt_sock *sock, struct nt_sock *accepted,
                   struct sockaddr *address, socklen_t *length, struct nt_sock_wake *wake);

// shutdown(): -EINVAL, -ENOTCONN; 1: a listening socket's SHUT_RD, which ends listening: the caller
// sends NT_CTL_UNLISTEN.
int nt_sock_shutdown(struct nt_sock *sock, int how, struct nt_sock_wake *wake);

// getsockname(): -EAGAIN: the server is choosing the port of a first datagram; wait for an event.
int nt_sock_getsockname(struct nt_sock *sock, struct sockaddr *address, socklen_t *length);
int nt_sock_getpeername(struct nt_sock *sock, struct sockaddr *address, socklen_t *length);

// -- Data ------------------------------------------------------------------------------------

// Bytes taken, perhaps fewer than offered (a blocking caller goes on). `address` may be NULL;
// control messages are the caller's to refuse (IP_PKTINFO and IP_TTL to send: not supported).
ssize_t nt_sock_send(struct nt_sock *sock, const struct iovec *iov, int count, int flags,
                     const struct sockaddr *address, socklen_t length, struct nt_sock_wake *wake);

struct nt_sock_received { // what recvmsg() tells beside the bytes
    int flags;            // MSG_TRUNC, MSG_OOB
    struct nt_endpoint peer;
    uint8_t local_addr[16]; // the address that the datagram was sent to
    uint8_t ttl;
    uint8_t tos;
};

// Bytes given; with MSG_TRUNC a datagram's full length, or a stream's bytes thrown away. `received`
// may be NULL; for streams only its flags are set. MSG_PEEK; MSG_OOB: never waits, whatever it
// answers; MSG_ERRQUEUE: -EAGAIN.
ssize_t nt_sock_recv(struct nt_sock *sock, const struct iovec *iov, int count, int flags,
                     struct nt_sock_received *received, struct nt_sock_wake *wake);

// The same for the msghdr calls: name, flags and (IP_PKTINFO and friends) control data.
ssize_t nt_sock_sendmsg(struct nt_sock *sock, const struct msghdr *message, int flags,
                        struct nt_sock_wake *wake);
ssize_t nt_sock_recvmsg(struct nt_sock *sock, struct msghdr *message, int flags,
                        struct nt_sock_wake *wake);

// sendfile() and splice(): a piece of the TX ring to read into, at most `wanted` bytes, streams
// only; the same errors as send. If > 0 the socket is locked until nt_sock_commit(), which
// publishes that many bytes (0: none): 0, or -ERESTART.
ssize_t nt_sock_reserve(struct nt_sock *sock, size_t wanted, void **piece);
int nt_sock_commit(struct nt_sock *sock, size_t bytes, int flags, struct nt_sock_wake *wake);

// -- Events ----------------------------------------------------------------------------------

// Level mask, all that holds now, as Linux computes it: POLLIN|POLLRDNORM, POLLOUT|POLLWRNORM
// (datagrams also POLLWRBAND), POLLPRI, POLLRDHUP, POLLHUP, POLLERR. A caller that watches for
// fewer masks it (Linux always reports POLLHUP and POLLERR).
uint32_t nt_sock_poll(struct nt_sock *sock);

// Changes with everything worth a wake-up that happened to the socket: for edges.
uint32_t nt_sock_events(const struct nt_sock *sock);

// Edges. What somebody saw who looked at a socket: nt_sock_see(), and then the level.
struct nt_sock_seen {
    uint32_t events;
    uint32_t rx_tail;
    uint32_t tx_full;
    uint32_t level; // the caller's
};
void nt_sock_see(const struct nt_sock *sock, struct nt_sock_seen *seen);
// Whether what happened between two looks is an edge for whoever waits for `events`: of a
// connection Linux wakes those who wait to read for what arrives, and those who wait to write for
// room that a send() missed.
bool nt_sock_is_edge(const struct nt_sock *sock, const struct nt_sock_seen *before,
                     const struct nt_sock_seen *now, uint32_t events);

// Names the queue that hears of the socket from now on, and fences; look at the level afterwards.
void nt_sock_set_queue(struct nt_sock *sock, uint32_t number);
uint32_t nt_sock_queue(const struct nt_sock *sock);

// SIOCATMARK: 1 if the next byte to read is the urgent one, else 0; -ENOTTY for datagrams.
int nt_sock_at_mark(const struct nt_sock *sock);

// -- Options and the like --------------------------------------------------------------------

// Levels SOL_SOCKET, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_IP, IPPROTO_IPV6; values and errors as
// Linux. -ENOPROTOOPT for what is unknown: the caller logs it. SO_RCVTIMEO and SO_SNDTIMEO are kept
// in the object for the caller.
int nt_sock_getsockopt(struct nt_sock *sock, int level, int name, void *value, socklen_t *length);
int nt_sock_setsockopt(struct nt_sock *sock, int level, int name, const void *value,
                       socklen_t length, struct nt_sock_wake *wake);

enum { NT_SO_BINDTOIFINDEX = 62 }; // not in every libc; SO_BINDTODEVICE with a name is the caller's

int nt_sock_rx_bytes(struct nt_sock *sock); // FIONREAD: bytes, or the next datagram's; -EINVAL
int nt_sock_tx_bytes(struct nt_sock *sock); // SIOCOUTQ

// What the control connection's messages want: area number, slot, generation, protocol, options.
struct nt_sock_identity {
    uint32_t protocol;
    uint32_t area; // its number, as the server knows it
    uint32_t slot;
    uint32_t generation;
    uint32_t options;
};
void nt_sock_identify(const struct nt_sock *sock, struct nt_sock_identity *identity);

#endif
