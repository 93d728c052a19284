// start.c: a program gets its call server, and hands on to it what the host gives the program.
//
// The call server is started with the program's first socket area. It maps each area and listener
// region from the very descriptors that the program was given, before the program uses it.
#include "libc_shim/calls/client.h"
#include "libc_shim/preload/control.h"
#include "libc_shim/preload/log.h"
#include "libc_shim/preload/numbers.h"
#include "libc_shim/preload/process.h"

#include <errno.h>
#include <stdlib.h>

static int open_channels(int *fds, int count)
{
    if (count != 3)
        return -EPROTO;
    void *base = nt_process_map(fds[0], nt_transport_bytes(), true);
    if (base == NULL)
        return -ENOMEM;
    nt_client.transport.out_queue = nt_client.transport.in_queue = -1;
    nt_client.transport.peer_bell = nt_number_reserve(fds[1]);
    nt_client.transport.bell = nt_number_reserve(fds[2]);
    fds[1] = fds[2] = -1;
    return nt_transport_open(&nt_client.transport, base) == 0 ? 0 : -EPROTO;
}

// Of a call server that has just been started.
static int open_transport(int socket)
{
    struct nt_call_setup setup;
    int fds[NT_SETUP_FDS_MAX];
    int count;
    int result = nt_setup_receive(socket, &setup, fds, &count);
    nt_client.transport.end = NT_END_PROGRAM;
    nt_client.transport.hang_up = socket;
    if (result == 0 && setup.kind == NT_SETUP_QUEUES) {
        nt_client.transport.out_queue = setup.requests;
        nt_client.transport.in_queue = setup.replies;
    } else if (result == 0 && setup.kind == NT_SETUP_CHANNELS) {
        result = open_channels(fds, count);
    } else {
        result = -ENETDOWN;
    }
    for (int i = 0; i < count; i++)
        if (fds[i] >= 0)
            (void)nt_quiet_close(fds[i]);
    return result;
}

int __real_nt_control_do(struct nt_control_call *call);

static int start_server(void)
{
    const char *mode = getenv("NEWTOS_SOCKETS");
    struct nt_control_call call;
    nt_transport_syscall = nt_real.syscall;
    nt_numbers_yield(1 + NT_SETUP_FDS_MAX);
    nt_control_prepare(&call, NT_CTL_CALLS);
    call.message.arg =
        mode != NULL && strcmp(mode, "channel") == 0 ? NT_CALLS_CHANNEL : NT_CALLS_SYSCALL;
    int result = __real_nt_control_do(&call);
    if (result != 0 || call.fd_count != 1)
        return result != 0 ? result : -EPROTO;
    result = open_transport(nt_number_reserve(call.fds[0]));
    nt_client.is_open = result == 0;
    return result;
}

// Hands on what the host has given the program, before the program uses it.
static int hand_on(const struct nt_call_setup *setup, const int *fds, int count)
{
    (void)nt_call_begin(NT_CALL_SETUP);
    int result = nt_client.is_open ? 0 : start_server();
    if (result == 0)
        result = nt_setup_send(nt_client.transport.hang_up, setup, fds, count);
    if (result == 0)
        result = nt_call_exchange();
    if (result == 0)
        result = (int)nt_client.message.call.result;
    nt_call_end();
    return result;
}

static int hand_on_area(const struct nt_control_call *call)
{
    const struct nt_call_setup setup = {.kind = NT_SETUP_AREA,
                                        .protocol = call->message.protocol,
                                        .lane = call->message.lane,
                                        .area = call->message.area,
                                        .count = call->message.arg};
    return hand_on(&setup, call->fds, call->fd_count);
}

// Of each lane that the socket listens in.
static int hand_on_listeners(const struct nt_control_call *call)
{
    struct nt_beside where = {
        .area = call->message.area, .slot = call->message.slot, .entries = call->message.arg};
    int result = 0;
    for (int i = 0; 2 * i + 1 < call->fd_count && result == 0; i++) {
        if (i > 0)
            memcpy(&where, call->message.text + (size_t)(i - 1) * sizeof where, sizeof where);
        const struct nt_call_setup setup = {.kind = NT_SETUP_LISTENER,
                                            .area = where.area,
                                            .slot = where.slot,
                                            .count = where.entries};
        result = hand_on(&setup, &call->fds[(ptrdiff_t)2 * i], 2);
    }
    return result;
}

WRAP(int, nt_control_do, struct nt_control_call *call)
{
    const uint32_t kind = call->message.kind;
    int result = __real_nt_control_do(call);
    if (result == 0 && kind == NT_CTL_ATTACH)
        result = hand_on_area(call);
    else if (result == 0 && (kind == NT_CTL_LISTEN || kind == NT_CTL_JOIN))
        result = hand_on_listeners(call);
    while (result != 0 && call->fd_count > 0)
        (void)nt_quiet_close(call->fds[--call->fd_count]);
    return result;
}

// In a child of fork(), which has closed all that was the shim's own.
WRAP(void, nt_sock_context_child, struct nt_sock_context *context)
{
    __real_nt_sock_context_child(context);
    nt_call_child();
    nt_client.is_open = nt_client.is_gone = false;
}
