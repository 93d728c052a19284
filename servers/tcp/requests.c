// requests.c: requests of the syscall server (request.h).
//
// A request is answered once and its answer kept in the arena; a number that comes again, after the
// syscall server was restarted, gets the same answer. Two kinds are answered later: AREA_DEAD when
// the area has drained, UNLISTEN when the last unaccepted connection is gone.
#include <errno.h>

#include "servers/tcp/context.h"

bool nt_tcp_reply(struct nt_tcp_engine *tcp, const struct nt_request *reply)
{
    struct nt_producer *out = &tcp->to_syscall;
    tcp->reply_waiting = nt_producer_room(out, 1) == 0;
    if (tcp->reply_waiting)
        return false;
    struct nt_desc *desc = nt_producer_slot(out);
    memset(desc, 0, offsetof(struct nt_desc, data));
    desc->kind = NT_DESC_REPLY;
    desc->inline_len = sizeof(*reply);
    desc->check = nt_desc_check(out->tail);
    memcpy(desc->data, reply, sizeof(*reply));
    nt_producer_advance(out);
    tcp->to_syscall_used = true;
    struct nt_request *kept = &tcp->globals->reply[reply->number % NT_TCP_REPLIES];
    nt_txn_touch(&tcp->txn, kept, sizeof(*kept));
    *kept = *reply;
    nt_txn_crash_point(&tcp->txn);
    return true;
}

// The slot's binding if it is handed out in that generation, else NT_NO_INDEX.
static uint32_t named_slot(const struct nt_tcp_engine *tcp, const struct nt_request *request)
{
    if (request->area >= NT_TCP_AREAS || tcp->area[request->area].state != NT_TCP_AREA_LIVE ||
        request->slot >= tcp->area[request->area].slots)
        return NT_NO_INDEX;
    uint32_t binding = nt_tcp_binding_index(tcp, request->area, request->slot);
    if (binding == NT_NO_INDEX || tcp->binding[binding].generation != request->generation ||
        tcp->binding[binding].kind == NT_TCP_BINDING_FREE ||
        tcp->binding[binding].kind == NT_TCP_BINDING_FENCED)
        return NT_NO_INDEX;
    return binding;
}

static uint32_t bind_socket(struct nt_tcp_engine *tcp, struct nt_request *request)
{
    uint32_t binding = named_slot(tcp, request);
    if (binding == NT_NO_INDEX)
        return EBADF;
    if (tcp->binding[binding].kind != NT_TCP_BINDING_GRANTED)
        return EINVAL;
    struct nt_endpoint *local = &request->endpoint;
    if (!nt_addr_is_unspecified(local->addr) && !nt_addr_is_loopback(local->addr) &&
        !nt_netconf_is_local(&tcp->netconf, local->addr))
        return EADDRNOTAVAIL;
    if (local->port == 0)
        local->port = nt_tcp_choose_bind_port(tcp, local->addr);
    else if (nt_tcp_check_bind(tcp, local->addr, local->port, request->options, NULL) != 0)
        return EADDRINUSE;
    if (local->port == 0)
        return EADDRINUSE;
    struct nt_tcb *t = nt_tcb_new(tcp);
    if (t == NULL)
        return ENOBUFS;
    nt_addr_copy(t->local_addr, local->addr);
    t->local_port = local->port;
    t->options = (uint8_t)request->options;
    t->flags = NT_TCB_BOUND;
    nt_tcp_slot_bind(tcp, binding, t);
    return 0;
}

// What a bind in another lane asks this one.
static uint32_t may_bind(struct nt_tcp_engine *tcp, struct nt_request *request)
{
    struct nt_endpoint *local = &request->endpoint;
    if (local->port == 0)
        local->port = nt_tcp_choose_bind_port(tcp, local->addr);
    else
        return nt_tcp_check_bind(tcp, local->addr, local->port, request->options, NULL);
    return local->port == 0 ? EADDRINUSE : 0;
}

static uint32_t start_listening(struct nt_tcp_engine *tcp, const struct nt_request *request)
{
    uint32_t binding = named_slot(tcp, request);
    if (binding == NT_NO_INDEX)
        return EBADF;
    return nt_tcp_listen(tcp, binding, request->arg, request->options);
}

// True: answered later.
static bool stop_listening(struct nt_tcp_engine *tcp, struct nt_request *request)
{
    uint32_t binding = named_slot(tcp, request);
    if (binding == NT_NO_INDEX || tcp->binding[binding].kind != NT_TCP_BINDING_LISTENER) {
        request->arg = 0; // closed already, which is as good
        return false;
    }
    return nt_tcp_unlisten(tcp, binding, request);
}

static uint32_t join(struct nt_tcp_engine *tcp, struct nt_request *request)
{
    uint32_t binding;
    bool beside = request->endpoint.port != 0 && !nt_tcp_listener_is_here(tcp, request->arg);
    uint32_t error = beside ? nt_tcp_listen_beside(tcp, request->arg, request->area,
                                                   &request->endpoint, request->options, &binding)
                            : nt_tcp_join(tcp, request->arg, request->area, &binding);
    if (error != 0)
        return error;
    request->area = (uint16_t)nt_tcp_binding_area(tcp, binding);
    request->slot = nt_tcp_binding_slot(tcp, binding);
    request->generation = tcp->binding[binding].generation;
    return 0;
}

static uint32_t area_new(struct nt_tcp_engine *tcp, const struct nt_request *request)
{
    if (request->area >= NT_TCP_AREAS || !tcp->areas[request->area].attached)
        return ENXIO;
    struct nt_tcp_area *area = &tcp->area[request->area];
    if (area->state == NT_TCP_AREA_DYING)
        return EBUSY;
    if (area->state == NT_TCP_AREA_NONE) {
        nt_tcp_area_touch(tcp, area);
        area->state = NT_TCP_AREA_LIVE;
        area->slots = tcp->areas[request->area].view.slots;
        area->pid = request->arg;
        area->owner = request->slot;
        // The grant ring goes on where a server before us, if any, left it.
        area->grant_tail = tcp->areas[request->area].view.server->grant_tail;
        tcp->areas[request->area].granted_published = area->grant_tail;
        nt_txn_crash_point(&tcp->txn);
    }
    nt_tcp_grant(tcp, request->area);
    return 0;
}

// True: answered later.
static bool area_dead(struct nt_tcp_engine *tcp, const struct nt_request *request)
{
    if (request->area >= NT_TCP_AREAS || tcp->area[request->area].state == NT_TCP_AREA_NONE)
        return false; // drained already
    struct nt_tcp_area *area = &tcp->area[request->area];
    nt_tcp_area_touch(tcp, area);
    area->dead_request = request->number;
    if (area->state == NT_TCP_AREA_LIVE) {
        area->state = NT_TCP_AREA_DYING;
        tcp->dying_areas++;
        tcp->unsettled = true; // what it has claimed, but not got
    }
    nt_tcp_sweep_all(tcp, request->area);
    return true;
}

// True: answered later.
static bool handle(struct nt_tcp_engine *tcp, struct nt_request *request)
{
    request->error = 0;
    switch ((enum nt_server_request_kind)request->kind) {
    case NT_REQ_BIND:
        request->error = bind_socket(tcp, request);
        return false;
    case NT_REQ_LISTEN:
        request->error = start_listening(tcp, request);
        return false;
    case NT_REQ_UNLISTEN:
        return stop_listening(tcp, request);
    case NT_REQ_AREA_DEAD:
        return area_dead(tcp, request);
    case NT_REQ_AREA_NEW:
        request->error = area_new(tcp, request);
        return false;
    case NT_REQ_MOVE:
        request->error = nt_tcp_move(tcp, request);
        return false;
    case NT_REQ_MOVED:
        request->error = nt_tcp_moved(tcp, request);
        return false;
    case NT_REQ_JOIN:
        request->error = join(tcp, request);
        return false;
    case NT_REQ_HOLD:
        return nt_tcp_hold(tcp, request);
    case NT_REQ_MAY_BIND:
        request->error = may_bind(tcp, request);
        return false;
    }
    request->error = ENOSYS;
    return false;
}

// A port that is taken may be that of a socket which its program closed before it asked: close() is
// a flag in the area, and the request came another way. True: the request is to wait until the
// areas have been swept (nt_tcp_requests_swept).
static bool bind_waits(struct nt_tcp_engine *tcp, const struct nt_request *request)
{
    enum { STEPS_MAX = 64 }; // of a server that never comes to the end of a sweep
    bool binds = request->kind == NT_REQ_BIND || request->kind == NT_REQ_MAY_BIND;
    bool taken = binds && request->error == EADDRINUSE;
    if (!taken || tcp->swept_for_bind || tcp->bind_waits == STEPS_MAX) {
        tcp->swept_for_bind = false;
        tcp->bind_waits = 0;
        return false;
    }
    tcp->bind_waits++;
    return true;
}

void nt_tcp_requests_swept(struct nt_tcp_engine *tcp)
{
    tcp->swept_for_bind = tcp->bind_waits != 0 && nt_tcp_areas_swept(tcp);
}

uint32_t nt_tcp_handle_requests(struct nt_tcp_engine *tcp, uint32_t budget)
{
    struct nt_consumer *in = &tcp->from_syscall;
    uint32_t done = 0;
    for (; done < budget && nt_consumer_pending(in) != 0; done++) {
        if (nt_producer_room(&tcp->to_syscall, 1) == 0)
            break;
        const struct nt_desc *desc = nt_consumer_slot(in);
        struct nt_request request;
        bool good = desc->kind == NT_DESC_REQUEST && desc->inline_len >= sizeof(request) &&
                    desc->check == nt_desc_check(in->head);
        memcpy(&request, desc->data, sizeof(request));
        if (!good) {
            nt_consumer_advance(in);
            nt_tcp_count(tcp, NT_TCP_BAD_DESCRIPTORS);
            continue;
        }
        const struct nt_request *kept = &tcp->globals->reply[request.number % NT_TCP_REPLIES];
        bool later = false;
        if (kept->kind == request.kind && kept->number == request.number)
            request = *kept;
        else
            later = handle(tcp, &request);
        if (NT_UNLIKELY(bind_waits(tcp, &request)))
            break; // it has changed nothing yet
        nt_consumer_advance(in);
        if (later)
            continue;
        (void)nt_tcp_reply(tcp, &request);
        nt_tcp_commit_if_full(tcp);
    }
    return done;
}
