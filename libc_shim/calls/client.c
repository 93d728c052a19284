// client.c: the program's side of the baselines (call.h): each socket call becomes a message.
//
// This file makes of the objects of libnewtos.so another library of that name. The linker's --wrap
// (meson.build) leads every call of a function X of libc_shim/sockets to __wrap_X here, and what
// __real_X names is X itself: so the library that programs use by default pays nothing for this.
//
// What asks the call server: socket, close, connect, accept, shutdown, names, options, all that
// sends and receives. What does not: the waiting calls. poll, epoll_wait and a call that blocks
// look at the areas as always, sleep in the program, and then ask again.
//
// One call at a time: a program has one call server. A mutex stands around each; signals are kept
// out of the shim meanwhile (signals.h), so nobody comes back to it from a handler. Once the call
// server is gone (its syscall server was killed) every call says ENETDOWN, except close.
#include "libc_shim/calls/client.h"
#include "libc_shim/preload/log.h"
#include "libc_shim/preload/process.h"
#include "libc_shim/sockets/accept_order.h"
#include "libc_shim/sockets/iov.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>

struct nt_client nt_client;

static pthread_mutex_t one_call = PTHREAD_MUTEX_INITIALIZER;
static uint8_t file_piece[NT_CALL_DATA_MAX]; // between reserve and commit, guarded by it too

// -- The socket's state, there and back --------------------------------------------------------

// All but the lock, the pointers, and what is the preload's: between these, piece by piece, because
// other threads look at a socket without its lock.
static void take_state(struct nt_sock *sock, const struct nt_sock *from)
{
#define TAKE(first, end)                                            \
    memcpy((uint8_t *)sock + offsetof(struct nt_sock, first),       \
           (const uint8_t *)from + offsetof(struct nt_sock, first), \
           offsetof(struct nt_sock, end) - offsetof(struct nt_sock, first))
    TAKE(rx_head, server);
    TAKE(cold_starts_then, program);
    TAKE(tx_tail, listener);
    TAKE(rcvtimeo_ns, user);
    memcpy(&sock->kept_bits, &from->kept_bits, sizeof *sock - offsetof(struct nt_sock, kept_bits));
#undef TAKE
}

static void leave_slot(struct nt_sock *sock, struct nt_sock_area *area, uint32_t slot)
{
    struct nt_sock *owner = sock;
    (void)__atomic_compare_exchange_n(&area->by_slot[slot], &owner, (struct nt_sock *)NULL, false,
                                      __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

// The socket is what the call server made of it.
static void apply(struct nt_sock *sock, const struct nt_sock *made, uint32_t index)
{
    const bool had_slot = sock->phase != NT_SOCK_CLOSED && sock->area != NULL;
    struct nt_sock_area *old_area = sock->area;
    const uint32_t old_slot = sock->slot;
    struct nt_sock_area *area =
        index < nt_context.area_count && made->slot < nt_context.area[index].view.slots
            ? &nt_context.area[index]
            : NULL;
    const bool has_slot = made->phase != NT_SOCK_CLOSED && area != NULL;
    const bool same = had_slot && has_slot && area == old_area && made->slot == old_slot;
    if (had_slot && !same)
        leave_slot(sock, old_area, old_slot);
    if (has_slot && !same) {
        sock->area = area;
        sock->program = &area->view.slot_program[made->slot];
        sock->server = &area->view.slot_server[made->slot];
        sock->cold_starts = &area->view.server->cold_starts;
    }
    take_state(sock, made);
    if (has_slot && !same)
        nt_store_release(&area->by_slot[made->slot], sock);
    if (made->phase == NT_SOCK_CLOSED)
        sock->listener = NULL;
}

// -- One call ----------------------------------------------------------------------------------

static int lost(void)
{
    if (!nt_client.is_gone)
        nt_log(NT_LOG_ERROR, "the syscall server is gone: socket calls fail from now on");
    nt_client.is_gone = true;
    return -ENETDOWN;
}

struct nt_call *nt_call_begin(enum nt_call_kind kind)
{
    (void)pthread_mutex_lock(&one_call);
    memset(&nt_client.message.call, 0, sizeof nt_client.message.call);
    nt_client.message.call.kind = (uint32_t)kind;
    nt_client.message.call.bytes = sizeof nt_client.message.call;
    nt_client.message.call.area = NT_CALL_NO_AREA;
    return &nt_client.message.call;
}

void nt_call_end(void) { (void)pthread_mutex_unlock(&one_call); }

void nt_call_child(void) { (void)pthread_mutex_init(&one_call, NULL); }

static struct nt_call *begin_on(enum nt_call_kind kind, const struct nt_sock *sock)
{
    struct nt_call *call = nt_call_begin(kind);
    call->sock = *sock;
    call->area = sock->area != NULL ? sock->area->index : NT_CALL_NO_AREA;
    return call;
}

static uint8_t *append(struct nt_call *call, const void *from, uint32_t bytes)
{
    uint8_t *to = (uint8_t *)&nt_client.message + call->bytes;
    if (from != NULL && bytes > 0)
        memcpy(to, from, bytes);
    call->bytes += bytes;
    return to;
}

static void put_name(struct nt_call *call, const void *name, socklen_t length)
{
    call->has_name = name != NULL;
    call->name_bytes = name != NULL ? nt_min_u32(length, NT_CALL_NAME_MAX) : 0;
    (void)append(call, name, call->name_bytes);
}

int nt_call_exchange(void)
{
    if (nt_client.is_gone || !nt_client.is_open)
        return -ENETDOWN;
    int saved = errno;
    nt_thread_self()->count[NT_COUNT_SERVER]++;
    int result = nt_transport_send(&nt_client.transport, &nt_client.message);
    if (result == 0)
        result = nt_transport_receive(&nt_client.transport, &nt_client.message);
    errno = saved;
    return result == 0 ? 0 : lost();
}

// The call's result; -ENETDOWN where nobody did it.
static int64_t ask(struct nt_sock *sock)
{
    int result = nt_call_exchange();
    if (result != 0)
        return result;
    apply(sock, &nt_client.message.call.sock, nt_client.message.call.area);
    return nt_client.message.call.result;
}

// Where what came back begins.
static const uint8_t *came_name(void) { return nt_client.message.payload; }
static const uint8_t *came_control(void)
{
    return nt_client.message.payload +
           nt_min_u32(nt_client.message.call.name_bytes, nt_client.message.call.name_room);
}
static const uint8_t *came_data(void)
{
    return came_control() + nt_client.message.call.control_bytes;
}

static void take_name(const struct nt_call *call, struct sockaddr *address, socklen_t *length)
{
    memcpy(address, came_name(), nt_min_u32(call->name_bytes, call->name_room));
    *length = call->name_bytes;
}

static void take_data(const struct nt_call *call, const struct iovec *iov, int count)
{
    struct nt_iov walk = {.iov = iov, .left = count};
    nt_iov_scatter(&walk, came_data(), call->data_bytes);
}

// -- The calls ---------------------------------------------------------------------------------

WRAP(int, nt_sock_create, struct nt_sock_context *context, struct nt_sock *sock, int domain,
     int type, int protocol, struct nt_sock_wake *wake)
{
    if (nt_load_acquire(&context->area_count) == 0) // says what is wrong, or that it must attach
        return __real_nt_sock_create(context, sock, domain, type, protocol, wake);
    struct nt_call *call = nt_call_begin(NT_CALL_CREATE);
    call->arg[0] = domain;
    call->arg[1] = type;
    call->arg[2] = protocol;
    call->sock.user = sock->user;
    int result = nt_call_exchange();
    if (result == 0)
        result = (int)nt_client.message.call.result;
    if (result == 0)
        apply(sock, &nt_client.message.call.sock, nt_client.message.call.area);
    nt_call_end();
    return result;
}

WRAP(int, nt_sock_close, struct nt_sock *sock, struct nt_sock_wake *wake)
{
    if (sock->area == NULL || sock->phase == NT_SOCK_CLOSED)
        return __real_nt_sock_close(sock, wake);
    (void)begin_on(NT_CALL_CLOSE, sock);
    int64_t result = ask(sock);
    nt_call_end();
    return result == -ENETDOWN ? __real_nt_sock_close(sock, wake) : (int)result;
}

WRAP(int, nt_sock_connect, struct nt_sock_context *context, struct nt_sock *sock,
     const struct sockaddr *address, socklen_t length, struct nt_sock_wake *wake)
{
    if (address == NULL || length > NT_CALL_NAME_MAX)
        return __real_nt_sock_connect(context, sock, address, length, wake);
    put_name(begin_on(NT_CALL_CONNECT, sock), address, length);
    int result = (int)ask(sock);
    nt_call_end();
    return result;
}

// In one lane.
static int accept_here(struct nt_sock *sock, struct nt_sock *accepted, struct sockaddr *address,
                       socklen_t *length)
{
    struct nt_call *call = begin_on(NT_CALL_ACCEPT, sock);
    const bool wants_name = address != NULL && length != NULL; // whatever comes back
    call->has_name = wants_name;
    call->name_room = wants_name ? nt_min_u32(*length, NT_CALL_NAME_MAX) : 0;
    int result = (int)ask(sock);
    if (result == 0) {
        struct nt_sock made;
        memcpy(&made, came_data(), sizeof made);
        apply(accepted, &made, call->accepted_area);
        accepted->listener = NULL;
        accepted->beside = NULL;
        if (wants_name)
            take_name(call, address, length);
    }
    nt_call_end();
    return result;
}

WRAP(int, nt_sock_accept, struct nt_sock_context *context, struct nt_sock *sock,
     struct nt_sock *accepted, struct sockaddr *address, socklen_t *length,
     struct nt_sock_wake *wake)
{
    if (sock->type != SOCK_STREAM || sock->phase != NT_SOCK_LISTENING)
        return __real_nt_sock_accept(context, sock, accepted, address, length, wake);
    struct nt_sock *lane[NT_SOCK_LANES_MAX];
    struct nt_accept_lanes lanes;
    struct nt_accept_order order = {.count = 0};
    nt_sock_accept_lanes(sock, &lanes, lane);
    lanes.turn = __atomic_fetch_add(&sock->accept_turn, 1u, __ATOMIC_RELAXED);
    nt_accept_order(&lanes, &order);
    int result = -EAGAIN;
    uint32_t asked = 0; // the call server looks at all of a lane at once
    for (uint32_t i = 0; i < order.count && result == -EAGAIN; i++) {
        const uint32_t at = order.look[i].lane;
        if ((asked & 1u << at) == 0)
            result = accept_here(lane[at], accepted, address, length);
        asked |= 1u << at;
    }
    return result;
}

WRAP(int, nt_sock_shutdown, struct nt_sock *sock, int how, struct nt_sock_wake *wake)
{
    (void)wake;
    begin_on(NT_CALL_SHUTDOWN, sock)->arg[0] = how;
    int result = (int)ask(sock);
    nt_call_end();
    return result;
}

static int get_name(enum nt_call_kind kind, struct nt_sock *sock, struct sockaddr *address,
                    socklen_t *length)
{
    struct nt_call *call = begin_on(kind, sock);
    call->name_room = nt_min_u32(*length, NT_CALL_NAME_MAX);
    int result = (int)ask(sock);
    if (result == 0)
        take_name(call, address, length);
    nt_call_end();
    return result;
}

WRAP(int, nt_sock_getsockname, struct nt_sock *sock, struct sockaddr *address, socklen_t *length)
{
    if (*length > INT32_MAX)
        return __real_nt_sock_getsockname(sock, address, length);
    return get_name(NT_CALL_GETSOCKNAME, sock, address, length);
}

WRAP(int, nt_sock_getpeername, struct nt_sock *sock, struct sockaddr *address, socklen_t *length)
{
    if (*length > INT32_MAX)
        return __real_nt_sock_getpeername(sock, address, length);
    return get_name(NT_CALL_GETPEERNAME, sock, address, length);
}

WRAP(int, nt_sock_getsockopt, struct nt_sock *sock, int level, int name, void *value,
     socklen_t *length)
{
    if (*length > INT_MAX)
        return __real_nt_sock_getsockopt(sock, level, name, value, length);
    struct nt_call *call = begin_on(NT_CALL_GETSOCKOPT, sock);
    call->arg[0] = level;
    call->arg[1] = name;
    call->data_room = nt_min_u32(*length, NT_CALL_DATA_MAX);
    int result = (int)ask(sock);
    if (result == 0) {
        memcpy(value, came_data(), call->data_bytes);
        *length = call->data_bytes;
    }
    nt_call_end();
    return result;
}

static int set_option(struct nt_sock *sock, int level, int name, const void *value,
                      socklen_t length)
{
    struct nt_call *call = begin_on(NT_CALL_SETSOCKOPT, sock);
    call->arg[0] = level;
    call->arg[1] = name;
    call->data_bytes = nt_min_u32(length, NT_CALL_DATA_MAX);
    (void)append(call, value, call->data_bytes);
    int result = (int)ask(sock);
    nt_call_end();
    return result;
}

WRAP(int, nt_sock_setsockopt, struct nt_sock *sock, int level, int name, const void *value,
     socklen_t length, struct nt_sock_wake *wake)
{
    if (length > INT_MAX || (value == NULL && length != 0))
        return __real_nt_sock_setsockopt(sock, level, name, value, length, wake);
    int result = set_option(sock, level, name, value, length);
    for (struct nt_sock *part = sock->beside; part != NULL && result == 0; part = part->beside)
        result = set_option(part, level, name, value, length);
    return result;
}

// -- Data --------------------------------------------------------------------------------------

WRAP(ssize_t, nt_sock_recv, struct nt_sock *sock, const struct iovec *iov, int count, int flags,
     struct nt_sock_received *received, struct nt_sock_wake *wake)
{
    ssize_t wanted = nt_iov_bytes(iov, count);
    if (wanted < 0)
        return __real_nt_sock_recv(sock, iov, count, flags, received, wake);
    struct nt_call *call = begin_on(NT_CALL_RECV, sock);
    call->flags = flags;
    call->data_room = nt_min_u32((uint32_t)wanted, NT_CALL_DATA_MAX);
    ssize_t result = (ssize_t)ask(sock);
    if (result >= 0) {
        take_data(call, iov, count);
        if (received != NULL)
            *received = call->received;
    }
    nt_call_end();
    return result;
}

WRAP(ssize_t, nt_sock_recvmsg, struct nt_sock *sock, struct msghdr *header, int flags,
     struct nt_sock_wake *wake)
{
    const int pieces = (int)nt_min_u64(header->msg_iovlen, INT_MAX);
    ssize_t wanted = nt_iov_bytes(header->msg_iov, pieces);
    if (wanted < 0)
        return __real_nt_sock_recvmsg(sock, header, flags, wake);
    struct nt_call *call = begin_on(NT_CALL_RECVMSG, sock);
    call->flags = flags;
    call->data_room = nt_min_u32((uint32_t)wanted, NT_CALL_DATA_MAX);
    call->has_name = header->msg_name != NULL;
    call->name_room = call->has_name ? nt_min_u32(header->msg_namelen, NT_CALL_NAME_MAX) : 0;
    call->has_control = header->msg_control != NULL;
    call->control_room =
        call->has_control ? (uint32_t)nt_min_u64(header->msg_controllen, NT_CALL_CONTROL_MAX) : 0;
    ssize_t result = (ssize_t)ask(sock);
    if (result >= 0) {
        take_data(call, header->msg_iov, pieces);
        if (header->msg_control != NULL && call->control_bytes > 0)
            memcpy(header->msg_control, came_control(), call->control_bytes);
        header->msg_controllen = call->control_bytes;
        if (header->msg_name != NULL)
            take_name(call, header->msg_name, &header->msg_namelen);
        else if (sock->type == SOCK_STREAM)
            header->msg_namelen = 0;
        header->msg_flags = call->received.flags;
    }
    nt_call_end();
    return result;
}

// What is more than a message carries is, of a stream, the next call's; of a datagram, too long.
static void put_data(struct nt_call *call, const struct iovec *iov, int count, ssize_t bytes)
{
    struct nt_iov walk = {.iov = iov, .left = count};
    call->data_bytes = nt_min_u32((uint32_t)bytes, NT_CALL_DATA_MAX);
    nt_iov_gather(&walk, append(call, NULL, call->data_bytes), call->data_bytes);
}

WRAP(ssize_t, nt_sock_send, struct nt_sock *sock, const struct iovec *iov, int count, int flags,
     const struct sockaddr *address, socklen_t length, struct nt_sock_wake *wake)
{
    ssize_t bytes = nt_iov_bytes(iov, count);
    if (bytes < 0)
        return __real_nt_sock_send(sock, iov, count, flags, address, length, wake);
    struct nt_call *call = begin_on(NT_CALL_SEND, sock);
    call->flags = flags;
    put_name(call, address, length);
    put_data(call, iov, count, bytes);
    ssize_t result = (ssize_t)ask(sock);
    nt_call_end();
    return result;
}

WRAP(ssize_t, nt_sock_sendmsg, struct nt_sock *sock, const struct msghdr *header, int flags,
     struct nt_sock_wake *wake)
{
    const int pieces = (int)nt_min_u64(header->msg_iovlen, INT_MAX);
    ssize_t bytes = nt_iov_bytes(header->msg_iov, pieces);
    if (bytes < 0 || header->msg_controllen > NT_CALL_CONTROL_MAX)
        return __real_nt_sock_sendmsg(sock, header, flags, wake);
    struct nt_call *call = begin_on(NT_CALL_SENDMSG, sock);
    call->flags = flags;
    put_name(call, header->msg_name, header->msg_namelen);
    call->has_control = header->msg_control != NULL;
    call->control_bytes = call->has_control ? (uint32_t)header->msg_controllen : 0;
    (void)append(call, header->msg_control, call->control_bytes);
    put_data(call, header->msg_iov, pieces, bytes);
    ssize_t result = (ssize_t)ask(sock);
    nt_call_end();
    return result;
}

// sendfile(): the file is read into a buffer of ours, and sent from there. From reserve to commit
// no other call is made, so the room that there was is there still.
WRAP(ssize_t, nt_sock_reserve, struct nt_sock *sock, size_t wanted, void **piece)
{
    (void)nt_call_begin(NT_CALL_SEND);
    if (wanted > NT_CALL_DATA_MAX)
        wanted = NT_CALL_DATA_MAX;
    ssize_t room = __real_nt_sock_reserve(sock, wanted, piece);
    *piece = file_piece;
    if (room <= 0)
        nt_call_end();
    return room;
}

WRAP(int, nt_sock_commit, struct nt_sock *sock, size_t bytes, int flags, struct nt_sock_wake *wake)
{
    (void)__real_nt_sock_commit(sock, 0, flags, wake);
    if (bytes > 0) {
        struct nt_call *call = &nt_client.message.call;
        call->sock = *sock;
        call->area = sock->area->index;
        call->flags = flags;
        call->data_bytes = (uint32_t)bytes;
        (void)append(call, file_piece, call->data_bytes);
        (void)ask(sock); // a connection that broke meanwhile: the next call says so
    }
    nt_call_end();
    return 0;
}
