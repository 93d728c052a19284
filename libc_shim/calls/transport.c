// transport.c: see transport.h.
#include "libc_shim/calls/transport.h"

#include "newtos_py/kernel/clock.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

long (*nt_transport_syscall)(long number, ...) = syscall;

enum {
    CHANNEL_SLOT = 8192, // the fragment's length, then the fragment
    YIELDS = 20,         // architecture §6
    POLLS = 2000,        // some 20 us: longer than any call, but for one that copies 64 kB
    FULL_YIELDS = 1024,
};

struct fragment { // msgbuf(2)
    long type;
    uint8_t bytes[NT_FRAGMENT_BYTES];
};

uint64_t nt_transport_bytes(void)
{
    return NT_PAGE + 2 * nt_channel_bytes(NT_CHANNEL_FRAGMENTS, CHANNEL_SLOT);
}

static uint8_t *channel_of(void *base, enum nt_transport_end producer)
{
    uint64_t bytes = nt_channel_bytes(NT_CHANNEL_FRAGMENTS, CHANNEL_SLOT);
    return (uint8_t *)base + NT_PAGE + (producer == NT_END_SERVER ? bytes : 0);
}

void nt_transport_format(void *base)
{
    nt_channel_format(channel_of(base, NT_END_PROGRAM), NT_CHANNEL_FRAGMENTS, CHANNEL_SLOT);
    nt_channel_format(channel_of(base, NT_END_SERVER), NT_CHANNEL_FRAGMENTS, CHANNEL_SLOT);
}

int nt_transport_open(struct nt_transport *transport, void *base)
{
    const uint64_t bytes = nt_channel_bytes(NT_CHANNEL_FRAGMENTS, CHANNEL_SLOT);
    const bool serves = transport->end == NT_END_SERVER;
    enum nt_transport_end peer = serves ? NT_END_PROGRAM : NT_END_SERVER;
    struct nt_transport_line *line = base;
    transport->own = &line[transport->end];
    transport->peer = &line[peer];
    int result =
        nt_producer_open(&transport->out, channel_of(base, transport->end), bytes, CHANNEL_SLOT);
    return result != 0
               ? result
               : nt_consumer_open(&transport->in, channel_of(base, peer), bytes, CHANNEL_SLOT);
}

// -- System V queues -------------------------------------------------------------------------

static int queue_put(const struct nt_transport *transport, const void *from, uint32_t bytes)
{
    struct fragment fragment;
    fragment.type = 1;
    memcpy(fragment.bytes, from, bytes);
    for (;;) {
        long sent = nt_transport_syscall(SYS_msgsnd, (long)transport->out_queue, &fragment,
                                         (size_t)bytes, 0L);
        if (sent == 0)
            return 0;
        if (errno != EINTR)
            return -ENETDOWN; // EIDRM, EINVAL: it was removed
    }
}

static long queue_get(const struct nt_transport *transport, void *to)
{
    struct fragment fragment;
    for (;;) {
        long got = nt_transport_syscall(SYS_msgrcv, (long)transport->in_queue, &fragment,
                                        (size_t)NT_FRAGMENT_BYTES, 0L, 0L);
        if (got >= 0) {
            memcpy(to, fragment.bytes, (size_t)got);
            return got;
        }
        if (errno != EINTR)
            return -ENETDOWN;
    }
}

// -- Channels --------------------------------------------------------------------------------

static bool hung_up(const struct nt_transport *transport)
{
    struct pollfd fd = {.fd = transport->hang_up, .events = POLLRDHUP};
    const struct timespec now = {.tv_sec = 0};
    return nt_transport_syscall(SYS_ppoll, &fd, 1L, &now, NULL, 0L) > 0;
}

static int channel_put(struct nt_transport *transport, const void *from, uint32_t bytes)
{
    for (uint32_t tries = 1; nt_producer_room(&transport->out, 1) == 0; tries++) {
        (void)nt_transport_syscall(SYS_sched_yield);
        if (tries % FULL_YIELDS == 0 && hung_up(transport))
            return -ENETDOWN;
    }
    uint8_t *slot = nt_producer_slot(&transport->out);
    memcpy(slot, &bytes, sizeof bytes);
    memcpy(slot + sizeof bytes, from, bytes);
    nt_producer_advance(&transport->out);
    nt_producer_publish(&transport->out);
    nt_fence(); // before the look at the flag (doorbell.h)
    if (nt_load_relaxed(&transport->peer->sleeping) != 0) {
        const uint64_t one = 1;
        (void)nt_transport_syscall(SYS_write, (long)transport->peer_bell, &one, sizeof one);
    }
    return 0;
}

static bool arrives(struct nt_transport *transport)
{
    const uint32_t core = (uint32_t)sched_getcpu();
    nt_store_relaxed(&transport->own->core, core);
    const bool apart = nt_load_relaxed(&transport->peer->core) != core;
    for (uint32_t tries = apart ? POLLS : YIELDS; tries > 0; tries--) {
        if (nt_consumer_pending(&transport->in) != 0)
            return true;
        if (apart)
            nt_cpu_relax();
        else
            (void)nt_transport_syscall(SYS_sched_yield);
    }
    return false;
}

// Until a fragment is there: 0, or -ENETDOWN.
static int channel_wait(struct nt_transport *transport)
{
    if (arrives(transport))
        return 0;
    int result = 0;
    nt_store_relaxed(&transport->own->sleeping, 1u);
    nt_fence();
    while (nt_consumer_pending(&transport->in) == 0 && result == 0) {
        uint64_t rings;
        struct pollfd fds[2] = {{.fd = transport->bell, .events = POLLIN},
                                {.fd = transport->hang_up, .events = POLLRDHUP}};
        (void)nt_transport_syscall(SYS_ppoll, fds, 2L, NULL, NULL, 0L);
        if (fds[0].revents != 0)
            (void)nt_transport_syscall(SYS_read, (long)transport->bell, &rings, sizeof rings);
        if (fds[1].revents != 0 && nt_consumer_pending(&transport->in) == 0)
            result = -ENETDOWN;
    }
    nt_store_relaxed(&transport->own->sleeping, 0u);
    return result;
}

static long channel_get(struct nt_transport *transport, void *to)
{
    int result = channel_wait(transport);
    if (result != 0)
        return result;
    const uint8_t *slot = nt_consumer_slot(&transport->in);
    uint32_t bytes;
    memcpy(&bytes, slot, sizeof bytes);
    if (bytes > NT_FRAGMENT_BYTES)
        return -ENETDOWN; // no end of ours writes that
    memcpy(to, slot + sizeof bytes, bytes);
    nt_consumer_advance(&transport->in);
    nt_consumer_publish(&transport->in);
    return bytes;
}

// -- Messages --------------------------------------------------------------------------------

int nt_transport_send(struct nt_transport *transport, const struct nt_call_message *message)
{
    const uint8_t *from = (const uint8_t *)message;
    uint32_t left = message->call.bytes;
    int result = 0;
    while (left > 0 && result == 0) {
        uint32_t bytes = nt_min_u32(left, NT_FRAGMENT_BYTES);
        result = transport->out_queue >= 0 ? queue_put(transport, from, bytes)
                                           : channel_put(transport, from, bytes);
        from += bytes;
        left -= bytes;
    }
    return result;
}

int nt_transport_receive(struct nt_transport *transport, struct nt_call_message *message)
{
    uint8_t *to = (uint8_t *)message;
    uint8_t fragment[NT_FRAGMENT_BYTES];
    uint32_t have = 0, wanted = sizeof message->call;
    while (have < wanted) {
        long got = transport->out_queue >= 0 ? queue_get(transport, fragment)
                                             : channel_get(transport, fragment);
        if (got < 0)
            return (int)got;
        if ((uint64_t)got > sizeof *message - have || (have == 0 && got < (long)wanted))
            return -ENETDOWN;
        memcpy(to + have, fragment, (size_t)got);
        have += (uint32_t)got;
        wanted = message->call.bytes;
        if (wanted > sizeof *message)
            return -ENETDOWN;
    }
    return 0;
}

// -- The socket ------------------------------------------------------------------------------

union rights {
    struct cmsghdr header;
    char room[CMSG_SPACE(NT_SETUP_FDS_MAX * sizeof(int))];
};

int nt_setup_send(int socket, const struct nt_call_setup *setup, const int *fds, int count)
{
    struct nt_call_setup copy = *setup;
    struct iovec iov = {.iov_base = &copy, .iov_len = sizeof copy};
    union rights rights = {.room = {0}};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    if (count > 0) {
        message.msg_control = rights.room;
        message.msg_controllen = CMSG_SPACE((size_t)count * sizeof(int));
        rights.header.cmsg_level = SOL_SOCKET;
        rights.header.cmsg_type = SCM_RIGHTS;
        rights.header.cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
        memcpy(CMSG_DATA(&rights.header), fds, (size_t)count * sizeof(int));
    }
    long sent = nt_transport_syscall(SYS_sendmsg, (long)socket, &message, (long)MSG_NOSIGNAL);
    return sent == (long)sizeof copy ? 0 : -ENETDOWN;
}

int nt_setup_receive(int socket, struct nt_call_setup *setup, int *fds, int *count)
{
    struct iovec iov = {.iov_base = setup, .iov_len = sizeof *setup};
    union rights rights;
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = rights.room,
                             .msg_controllen = sizeof rights.room};
    long got;
    do
        got = nt_transport_syscall(SYS_recvmsg, (long)socket, &message, (long)MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    *count = 0;
    if (got != (long)sizeof *setup)
        return -ENETDOWN;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header != NULL && header->cmsg_type == SCM_RIGHTS) {
        *count = (int)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(fds, CMSG_DATA(header), (size_t)*count * sizeof(int));
    }
    return 0;
}
