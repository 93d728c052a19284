#include "servers/udp/request.h"

#include <errno.h>

#include "servers/udp/area.h"
#include "servers/udp/move.h"
#include "servers/udp/ports.h"
#include "servers/udp/socket.h"

static bool push_reply(struct nt_udp *udp, const struct nt_request *reply)
{
    if (nt_producer_room(&udp->to_syscall, 1) == 0)
        return false;
    struct nt_desc *desc = nt_producer_slot(&udp->to_syscall);
    memset(desc, 0, offsetof(struct nt_desc, data));
    desc->kind = NT_DESC_REPLY;
    desc->inline_len = sizeof *reply;
    desc->check = nt_desc_check(udp->to_syscall.tail);
    memcpy(desc->data, reply, sizeof *reply);
    nt_producer_advance(&udp->to_syscall);
    udp->syscall_pushed = true;
    nt_txn_crash_point(&udp->txn);
    return true;
}

static bool area_exists(const struct nt_udp *udp, uint32_t number)
{
    return number < NT_AREAS_MAX && udp->area[number] != NULL && udp->area[number]->attached;
}

static int bind_socket(struct nt_udp *udp, struct nt_request *request)
{
    struct nt_udp_socket *socket = nt_udp_socket_of(udp, request->area, request->slot);
    if (socket == NULL || socket->generation != request->generation ||
        (socket->state != NT_UDP_GRANTED && socket->state != NT_UDP_OPEN))
        return EBADF;
    int error = nt_udp_port_bind(udp, socket, request->endpoint.addr, request->endpoint.port,
                                 request->options);
    if (error == 0) {
        nt_addr_copy(request->endpoint.addr, socket->local_addr);
        request->endpoint.port = socket->local_port;
        nt_udp_socket_event(udp, socket);
    }
    // Linux answers EADDRINUSE when all ephemeral ports are taken.
    return error == EAGAIN ? EADDRINUSE : error;
}

static int new_area(struct nt_udp *udp, uint32_t number, uint32_t pid)
{
    if (!area_exists(udp, number))
        return ENOENT;
    struct nt_udp_area *record = &udp->state->area[number];
    if (record->state == NT_UDP_AREA_NONE) {
        NT_UDP_TOUCH(udp, record);
        record->state = NT_UDP_AREA_LIVE;
        record->pid = pid;
        record->grant_tail = nt_load_relaxed(&udp->area[number]->view.server->grant_tail);
    }
    nt_udp_area_grant(udp, number);
    return 0;
}

// True if the answer has to wait.
static bool dead_area(struct nt_udp *udp, const struct nt_request *request)
{
    if (!area_exists(udp, request->area) ||
        udp->state->area[request->area].state == NT_UDP_AREA_NONE)
        return false; // it is gone already: a request repeated
    struct nt_udp_area *record = &udp->state->area[request->area];
    NT_UDP_TOUCH(udp, record);
    record->state = NT_UDP_AREA_DEAD;
    record->dead_request = request->number;
    udp->dead_areas = true;
    return true;
}

static void answer(struct nt_udp *udp, struct nt_request *request, int error)
{
    struct nt_udp_replied *replied = &udp->state->replied;
    request->error = (uint32_t)error;
    NT_UDP_TOUCH(udp, replied);
    replied->valid = 1;
    replied->reply = *request;
    (void)push_reply(udp, request); // there is room: it was looked for
}

static void handle(struct nt_udp *udp, struct nt_request *request)
{
    const struct nt_udp_replied *replied = &udp->state->replied;
    if (replied->valid && replied->reply.number == request->number &&
        replied->reply.kind == request->kind) {
        (void)push_reply(udp, &replied->reply);
        return;
    }
    switch (request->kind) {
    case NT_REQ_BIND:
        answer(udp, request, bind_socket(udp, request));
        break;
    case NT_REQ_AREA_NEW:
        answer(udp, request, new_area(udp, request->area, request->arg));
        break;
    case NT_REQ_AREA_DEAD:
        if (!dead_area(udp, request))
            answer(udp, request, 0);
        break;
    case NT_REQ_MOVE: {
        int error = (int)nt_udp_move(udp, request);
        answer(udp, request, error);
        break;
    }
    case NT_REQ_MOVED:
        answer(udp, request, (int)nt_udp_moved(udp, request));
        break;
    default: // LISTEN, UNLISTEN: datagram sockets don't
        nt_udp_count(udp, NT_UDP_COUNT_BAD_REQUEST);
        answer(udp, request, EOPNOTSUPP);
        break;
    }
}

void nt_udp_request_input(struct nt_udp *udp)
{
    struct nt_desc desc;
    struct nt_request request;
    memcpy(&desc, nt_consumer_slot(&udp->from_syscall), sizeof desc);
    bool whole = desc.check == nt_desc_check(udp->from_syscall.head) &&
                 desc.kind == NT_DESC_REQUEST && desc.inline_len == sizeof request;
    nt_consumer_advance(&udp->from_syscall);
    if (!whole) {
        nt_udp_count(udp, NT_UDP_COUNT_BAD_DESCRIPTOR);
        return;
    }
    memcpy(&request, desc.data, sizeof request);
    handle(udp, &request);
    nt_txn_crash_point(&udp->txn);
}

static void answer_dead_area(struct nt_udp *udp, uint32_t number)
{
    struct nt_udp_area *record = &udp->state->area[number];
    struct nt_request reply = {
        .number = record->dead_request, .kind = NT_REQ_AREA_DEAD, .area = (uint16_t)number};
    if (!push_reply(udp, &reply))
        return;
    NT_UDP_TOUCH(udp, record);
    record->state = NT_UDP_AREA_NONE;
}

void nt_udp_dead_areas(struct nt_udp *udp)
{
    if (!udp->dead_areas)
        return;
    udp->dead_areas = false;
    for (uint32_t i = 0; i < NT_AREAS_MAX; i++) {
        if (udp->state->area[i].state != NT_UDP_AREA_DEAD)
            continue;
        if (area_exists(udp, i))
            nt_udp_area_die(udp, i);
        if (nt_udp_area_drained(udp, i))
            answer_dead_area(udp, i);
        else
            udp->dead_areas = true;
        if (nt_txn_room(&udp->txn) < NT_UDP_JOURNAL_AN_INPUT) {
            udp->dead_areas = true;
            nt_udp_timer(udp, udp->now_ns);
            return;
        }
    }
}
