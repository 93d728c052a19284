// server.c: the program `newtos-calls`: does the socket calls of one program (call.h).
//
//     newtos-calls syscall|channel SOCKET LIFE
//
// It is two processes. The first makes the queues or channels and tells the program of them on
// SOCKET, then waits: until SOCKET hangs up (the program has ended), LIFE does (the syscall server
// has), or the second ends. It then ends the second and removes the queues, which nobody else
// would: a program that waits on one wakes up. The second serves, one call after the other. No call
// blocks here: what would answers EAGAIN, and the program waits by itself.
//
// It is C because it does a socket call per message; it is a process of its own, because it trusts
// the program no further than the program trusts itself: it has the program's rights to the areas.
#include "libc_shim/calls/transport.h"
#include "newtos_py/kernel/map.h"
#include "newtos_py/kernel/status.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LISTENERS_MAX = 256 }; // open at once; one more is refused

struct listening {
    struct nt_sock_area *area; // NULL: free
    uint32_t slot;
    struct nt_listener listener;
};

static struct nt_sock_context context;
static struct listening listening[LISTENERS_MAX];
static struct nt_call_message message;
static uint8_t answer[NT_CALL_DATA_MAX];

static void yield(void) { (void)sched_yield(); }

static uint64_t realtime_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

// -- What the program is given ---------------------------------------------------------------

static int add_area(const struct nt_call_setup *setup, const int *fds)
{
    struct nt_area area;
    if (setup->count == 0 || setup->count > NT_AREA_SLOTS_MAX)
        return -EPROTO;
    void *program = nt_map(fds[0], nt_area_program_bytes(setup->count), true);
    void *server = nt_map(fds[1], nt_area_server_bytes(setup->count), false);
    void *hint = nt_map(fds[2], nt_area_hint_bytes(), true);
    const struct nt_status *status = nt_map(fds[4], NT_PAGE, false);
    if (program == NULL || server == NULL || hint == NULL || status == NULL ||
        nt_area_open(&area, program, server, hint, setup->count) != 0)
        return -ENOMEM;
    area.number = (uint16_t)setup->area;
    area.lane = (uint16_t)setup->lane;
    int doorbell = fcntl(fds[3], F_DUPFD_CLOEXEC, 0);
    int index = nt_sock_attach(&context, &area, setup->protocol, &status->sleeping, doorbell);
    return index < 0 ? index : 0;
}

static struct listening *find_listener(const struct nt_sock_area *area, uint32_t slot)
{
    for (uint32_t i = 0; i < LISTENERS_MAX; i++)
        if (listening[i].area == area && (area == NULL || listening[i].slot == slot))
            return &listening[i];
    return NULL;
}

static void drop_listener(struct listening *each)
{
    (void)nt_unmap(each->listener.header, nt_listener_ring_bytes(each->listener.entries));
    (void)nt_unmap(each->listener.claims, nt_listener_claims_bytes());
    memset(each, 0, sizeof *each);
}

static int add_listener(const struct nt_call_setup *setup, const int *fds)
{
    struct nt_sock_area *area = NULL;
    for (uint32_t i = 0; i < context.area_count; i++)
        if (context.area[i].protocol == IPPROTO_TCP && context.area[i].view.number == setup->area)
            area = &context.area[i];
    if (area == NULL || setup->count == 0 || setup->count > NT_LISTENER_ENTRIES_MAX)
        return -EPROTO;
    struct listening *each = find_listener(area, setup->slot);
    if (each != NULL)
        drop_listener(each);
    each = find_listener(NULL, 0);
    if (each == NULL)
        return -ENOMEM;
    void *ring = nt_map(fds[0], nt_listener_ring_bytes(setup->count), false);
    void *claims = nt_map(fds[1], nt_listener_claims_bytes(), true);
    if (ring == NULL || claims == NULL ||
        nt_listener_open(&each->listener, ring, claims, setup->count) != 0)
        return -ENOMEM;
    each->area = area;
    each->slot = setup->slot;
    return 0;
}

static int follow_setup(int socket)
{
    struct nt_call_setup setup;
    int fds[NT_SETUP_FDS_MAX];
    int count;
    int result = nt_setup_receive(socket, &setup, fds, &count);
    if (result == 0 && setup.kind == NT_SETUP_AREA && count == 5)
        result = add_area(&setup, fds);
    else if (result == 0 && setup.kind == NT_SETUP_LISTENER && count == 2)
        result = add_listener(&setup, fds);
    else
        result = -EPROTO;
    while (count > 0)
        (void)close(fds[--count]);
    return result;
}

// -- One call --------------------------------------------------------------------------------

// Where what was sent along, and what goes back, begins.
struct parts {
    struct sockaddr *name;
    uint8_t *control;
    uint8_t *data;
};

static bool find_parts(struct nt_call *call, struct parts *parts)
{
    if (call->name_bytes > NT_CALL_NAME_MAX || call->control_bytes > NT_CALL_CONTROL_MAX ||
        call->data_bytes > NT_CALL_DATA_MAX || call->name_room > NT_CALL_NAME_MAX ||
        call->control_room > NT_CALL_CONTROL_MAX || call->data_room > NT_CALL_DATA_MAX ||
        call->bytes != sizeof *call + call->name_bytes + call->control_bytes + call->data_bytes)
        return false;
    parts->name = (struct sockaddr *)(void *)message.payload;
    parts->control = message.payload + call->name_bytes;
    parts->data = parts->control + call->control_bytes;
    return true;
}

// Makes the program's socket one of this process.
static bool adopt(const struct nt_call *call, struct nt_sock *sock)
{
    *sock = call->sock;
    memset(&sock->lock, 0, sizeof sock->lock);
    sock->listener = NULL;
    sock->beside = NULL; // the program asks each lane's by itself
    sock->area = NULL;
    if (call->kind == NT_CALL_CREATE)
        return true;
    if (call->area >= context.area_count || sock->slot >= context.area[call->area].view.slots)
        return false;
    struct nt_sock_area *area = &context.area[call->area];
    sock->area = area;
    sock->program = &area->view.slot_program[sock->slot];
    sock->server = &area->view.slot_server[sock->slot];
    sock->cold_starts = &area->view.server->cold_starts;
    struct listening *each = find_listener(area, sock->slot);
    sock->listener = each != NULL ? &each->listener : NULL;
    area->by_slot[sock->slot] = sock;
    return call->kind != NT_CALL_ACCEPT || sock->type != SOCK_STREAM ||
           sock->phase != NT_SOCK_LISTENING || sock->listener != NULL;
}

// The program keeps which socket is in which slot.
static void disown(const struct nt_sock *sock)
{
    if (sock->area != NULL && sock->area->by_slot[sock->slot] == sock)
        sock->area->by_slot[sock->slot] = NULL;
}

static uint32_t index_of(const struct nt_sock *sock)
{
    return sock->area != NULL ? sock->area->index : NT_CALL_NO_AREA;
}

// What goes back: set by each call, then copied behind the struct.
struct reply {
    uint8_t name[NT_CALL_NAME_MAX];
    uint8_t control[NT_CALL_CONTROL_MAX];
    uint32_t name_bytes, control_bytes, data_bytes;
};

static int64_t do_accept(struct nt_call *call, struct nt_sock *sock, struct reply *reply,
                         struct nt_sock_wake *wake)
{
    static struct nt_sock accepted;
    socklen_t length = call->name_room;
    memset(&accepted, 0, sizeof accepted);
    int result = nt_sock_accept(&context, sock, &accepted,
                                call->has_name ? (struct sockaddr *)(void *)reply->name : NULL,
                                call->has_name ? &length : NULL, wake);
    disown(&accepted);
    call->accepted_area = index_of(&accepted);
    reply->name_bytes = call->has_name ? length : 0;
    memcpy(answer, &accepted, sizeof accepted);
    reply->data_bytes = sizeof accepted;
    return result;
}

// Of what a receiving call says it gave, what lies in the buffer.
static uint32_t received_bytes(const struct nt_call *call, const struct nt_sock *sock, ssize_t got)
{
    if (got <= 0 || (sock->type == SOCK_STREAM && (call->flags & MSG_TRUNC) != 0))
        return 0;
    return (uint32_t)nt_min_u64((uint64_t)got, call->data_room);
}

static int64_t do_receive(struct nt_call *call, struct nt_sock *sock, struct reply *reply,
                          struct nt_sock_wake *wake)
{
    const struct iovec iov = {.iov_base = answer, .iov_len = call->data_room};
    ssize_t got = nt_sock_recv(sock, &iov, 1, call->flags, &call->received, wake);
    reply->data_bytes = received_bytes(call, sock, got);
    return got;
}

static int64_t do_receive_message(struct nt_call *call, struct nt_sock *sock, struct reply *reply,
                                  struct nt_sock_wake *wake)
{
    struct iovec iov = {.iov_base = answer, .iov_len = call->data_room};
    struct msghdr header = {.msg_name = call->has_name ? reply->name : NULL,
                            .msg_namelen = call->name_room,
                            .msg_iov = &iov,
                            .msg_iovlen = 1,
                            .msg_control = call->has_control ? reply->control : NULL,
                            .msg_controllen = call->control_room};
    ssize_t got = nt_sock_recvmsg(sock, &header, call->flags, wake);
    reply->data_bytes = received_bytes(call, sock, got);
    if (got >= 0) {
        reply->name_bytes = header.msg_namelen;
        reply->control_bytes = (uint32_t)header.msg_controllen;
        call->received.flags = header.msg_flags;
    }
    return got;
}

static int64_t do_send(struct nt_call *call, struct nt_sock *sock, const struct parts *parts,
                       struct nt_sock_wake *wake)
{
    struct iovec iov = {.iov_base = parts->data, .iov_len = call->data_bytes};
    if (call->kind == NT_CALL_SEND)
        return nt_sock_send(sock, &iov, 1, call->flags, call->has_name ? parts->name : NULL,
                            call->name_bytes, wake);
    const struct msghdr header = {.msg_name = call->has_name ? parts->name : NULL,
                                  .msg_namelen = call->name_bytes,
                                  .msg_iov = &iov,
                                  .msg_iovlen = 1,
                                  .msg_control = call->has_control ? parts->control : NULL,
                                  .msg_controllen = call->control_bytes};
    return nt_sock_sendmsg(sock, &header, call->flags, wake);
}

static int64_t do_call(struct nt_call *call, struct nt_sock *sock, const struct parts *parts,
                       struct reply *reply, struct nt_sock_wake *wake)
{
    struct sockaddr *name = (struct sockaddr *)(void *)reply->name;
    socklen_t length = call->name_room;
    int64_t result;
    switch ((enum nt_call_kind)call->kind) {
    case NT_CALL_CREATE:
        return nt_sock_create(&context, sock, call->arg[0], call->arg[1], call->arg[2], wake);
    case NT_CALL_CLOSE:
        if (sock->listener != NULL)
            drop_listener(find_listener(sock->area, sock->slot));
        return nt_sock_close(sock, wake);
    case NT_CALL_CONNECT:
        return nt_sock_connect(&context, sock, parts->name, call->name_bytes, wake);
    case NT_CALL_ACCEPT:
        return do_accept(call, sock, reply, wake);
    case NT_CALL_SHUTDOWN:
        return nt_sock_shutdown(sock, call->arg[0], wake);
    case NT_CALL_GETSOCKNAME:
    case NT_CALL_GETPEERNAME:
        result = call->kind == NT_CALL_GETSOCKNAME ? nt_sock_getsockname(sock, name, &length)
                                                   : nt_sock_getpeername(sock, name, &length);
        reply->name_bytes = length;
        return result;
    case NT_CALL_GETSOCKOPT:
        length = call->data_room;
        result = nt_sock_getsockopt(sock, call->arg[0], call->arg[1], answer, &length);
        reply->data_bytes = nt_min_u32(length, call->data_room);
        return result;
    case NT_CALL_SETSOCKOPT:
        return nt_sock_setsockopt(sock, call->arg[0], call->arg[1], parts->data, call->data_bytes,
                                  wake);
    case NT_CALL_RECV:
        return do_receive(call, sock, reply, wake);
    case NT_CALL_RECVMSG:
        return do_receive_message(call, sock, reply, wake);
    case NT_CALL_SEND:
    case NT_CALL_SENDMSG:
        return do_send(call, sock, parts, wake);
    case NT_CALL_SETUP:
        break;
    }
    return -ENOSYS;
}

static void finish(struct nt_call *call, const struct reply *reply)
{
    uint32_t name = nt_min_u32(reply->name_bytes, call->name_room);
    uint8_t *to = message.payload;
    memcpy(to, reply->name, name);
    memcpy(to + name, reply->control, reply->control_bytes);
    memcpy(to + name + reply->control_bytes, answer, reply->data_bytes);
    call->name_bytes = reply->name_bytes;
    call->control_bytes = reply->control_bytes;
    call->data_bytes = reply->data_bytes;
    call->bytes = (uint32_t)sizeof *call + name + reply->control_bytes + reply->data_bytes;
}

static void ring(struct nt_sock_wake *wake)
{
    int fds[NT_SOCK_AREAS_MAX];
    const uint64_t one = 1;
    uint32_t count = nt_sock_flush(&context, wake, fds);
    for (uint32_t i = 0; i < count; i++) {
        ssize_t written = write(fds[i], &one, sizeof one);
        (void)written; // full: it is rung already
    }
}

static void serve_one(int socket)
{
    static struct nt_sock sock;
    static struct reply reply;
    struct nt_call *call = &message.call;
    struct nt_sock_wake wake = {0};
    struct parts parts;
    reply.name_bytes = reply.control_bytes = reply.data_bytes = 0;
    if (call->kind == NT_CALL_SETUP) {
        call->result = follow_setup(socket);
    } else if (!find_parts(call, &parts) || !adopt(call, &sock)) {
        call->result = -EBADF;
    } else {
        call->result = do_call(call, &sock, &parts, &reply, &wake);
        disown(&sock);
        call->sock = sock;
        call->area = index_of(&sock);
    }
    finish(call, &reply);
    ring(&wake);
}

static int serve(struct nt_transport *transport)
{
    nt_sock_context_init(&context, yield);
    context.realtime_ns = realtime_ns;
    while (nt_transport_receive(transport, &message) == 0) {
        serve_one(transport->hang_up);
        if (nt_transport_send(transport, &message) != 0)
            break;
    }
    return 0;
}

// -- Start and end ---------------------------------------------------------------------------

static int make_queues(struct nt_transport *transport)
{
    transport->in_queue = msgget(IPC_PRIVATE, 0600);
    transport->out_queue = msgget(IPC_PRIVATE, 0600);
    if (transport->in_queue < 0 || transport->out_queue < 0)
        return -1;
    const struct nt_call_setup setup = {
        .kind = NT_SETUP_QUEUES, .requests = transport->in_queue, .replies = transport->out_queue};
    return nt_setup_send(transport->hang_up, &setup, NULL, 0);
}

static int make_channels(struct nt_transport *transport)
{
    const uint64_t bytes = nt_transport_bytes();
    int fds[3] = {memfd_create("newtos-calls", MFD_CLOEXEC), eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                  eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    if (fds[0] < 0 || fds[1] < 0 || fds[2] < 0 || ftruncate(fds[0], (off_t)bytes) != 0)
        return -1;
    void *base = nt_map(fds[0], bytes, true);
    if (base == NULL)
        return -1;
    nt_transport_format(base);
    transport->bell = fds[1];
    transport->peer_bell = fds[2];
    const struct nt_call_setup setup = {.kind = NT_SETUP_CHANNELS};
    if (nt_transport_open(transport, base) != 0)
        return -1;
    return nt_setup_send(transport->hang_up, &setup, fds, 3);
}

static void remove_queues(const struct nt_transport *transport)
{
    if (transport->in_queue >= 0)
        (void)msgctl(transport->in_queue, IPC_RMID, NULL);
    if (transport->out_queue >= 0)
        (void)msgctl(transport->out_queue, IPC_RMID, NULL);
}

// Until the program, the syscall server or the one that serves is gone.
static void guard(const struct nt_transport *transport, int life, pid_t server)
{
    int process = (int)syscall(SYS_pidfd_open, server, 0);
    struct pollfd fds[3] = {{.fd = transport->hang_up, .events = POLLRDHUP},
                            {.fd = life, .events = POLLRDHUP},
                            {.fd = process, .events = POLLIN}};
    while (poll(fds, 3, -1) < 0 && errno == EINTR) {
    }
    (void)kill(server, SIGKILL);
    (void)waitpid(server, NULL, 0);
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        (void)fprintf(stderr, "newtos-calls is started by a host's syscall server\n");
        return 2;
    }
    struct nt_transport transport = {.end = NT_END_SERVER,
                                     .hang_up = (int)strtol(argv[2], NULL, 10),
                                     .in_queue = -1,
                                     .out_queue = -1};
    int life = (int)strtol(argv[3], NULL, 10);
    (void)signal(SIGPIPE, SIG_IGN);
    bool by_kernel = strcmp(argv[1], "syscall") == 0;
    int made = by_kernel ? make_queues(&transport) : make_channels(&transport);
    pid_t server = made == 0 ? fork() : -1;
    if (server == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(serve(&transport));
    }
    if (server > 0)
        guard(&transport, life, server);
    remove_queues(&transport);
    return server > 0 ? 0 : 1;
}
