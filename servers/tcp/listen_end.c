// listen_end.c: the end of a listening socket.
//
// It ends with its last member (acceptors.c), unless it is held, or by shutdown(2) for all of them.
// New segments find it no more at once; what nobody accepted is dealt with bit by bit: another
// listener of the same name (SO_REUSEPORT) takes it over, or it is reset. An entry is withdrawn
// with a claim word of the server's own, so that a restarted server tells those it withdrew from
// those a program took.
#include <errno.h>

#include "servers/tcp/context.h"

void nt_tcp_listener_close(struct nt_tcp_engine *tcp, struct nt_tcp_listener *listener)
{
    if (listener->state != NT_TCP_LISTENER_OPEN)
        return;
    uint32_t index = (uint32_t)(listener - tcp->listener);
    nt_tcp_listener_touch(tcp, listener);
    listener->state = NT_TCP_LISTENER_CLOSING;
    nt_tcp_listener_unlink(tcp, index);
    tcp->listeners[index].scan = 0;
    tcp->closing_listeners++;
    struct nt_listener *region = nt_tcp_listener_region(tcp, listener);
    if (region != NULL) // what asked for it asks again after a crash
        nt_store_release(&region->header->closed, 1u);
    nt_tcp_listener_publish_later(tcp, listener);
    nt_txn_crash_point(&tcp->txn);
}

// Its program closes the listening socket, or is dead. The last slot stays until all is done.
void nt_tcp_member_leave(struct nt_tcp_engine *tcp, uint32_t binding)
{
    struct nt_tcp_listener *listener = &tcp->listener[tcp->binding[binding].object];
    if (tcp->listeners[listener - tcp->listener].member_count > 1 ||
        (listener->held && listener->state == NT_TCP_LISTENER_OPEN)) {
        nt_tcp_member_leaves(tcp, binding);
        nt_tcp_member_remove(tcp, binding);
        nt_tcp_slot_free(tcp, binding, false);
        return;
    }
    nt_tcp_listener_touch(tcp, listener);
    listener->slot_closed = 1;
    nt_tcp_listener_close(tcp, listener);
}

// UNLISTEN: true: answered when nothing is left. `others` says whether somebody else holds it.
bool nt_tcp_unlisten(struct nt_tcp_engine *tcp, uint32_t binding, struct nt_request *request)
{
    struct nt_tcp_listener *listener = &tcp->listener[tcp->binding[binding].object];
    bool for_all = request->arg != 0;
    bool last = tcp->listeners[listener - tcp->listener].member_count == 1 && !listener->held;
    request->arg = 0;
    if (!for_all && !last && listener->state == NT_TCP_LISTENER_OPEN) {
        request->arg = 1;
        nt_tcp_member_leaves(tcp, binding);
        nt_tcp_member_remove(tcp, binding);
        nt_tcp_binding_touch(tcp, binding)->kind = NT_TCP_BINDING_GRANTED;
        return false;
    }
    if (listener->answer_unlisten)
        return false; // somebody waits for its end already
    nt_tcp_listener_touch(tcp, listener);
    listener->unlisten = request->number;
    listener->answer_unlisten = NT_REQ_UNLISTEN;
    nt_tcp_listener_close(tcp, listener);
    return true;
}

// Whoever inherited the socket keeps it open without a slot. True: it ends now that it is held no
// longer, and the answer comes when nothing is left.
bool nt_tcp_hold(struct nt_tcp_engine *tcp, struct nt_request *request)
{
    struct nt_tcp_listener *listener = nt_tcp_listener_numbered(tcp, request->arg);
    if (listener == NULL) {
        request->error = EBADF;
        return false;
    }
    nt_tcp_listener_touch(tcp, listener);
    listener->held = request->options != 0;
    if (listener->held || tcp->listeners[listener - tcp->listener].member_count != 0)
        return false;
    listener->unlisten = request->number;
    listener->answer_unlisten = NT_REQ_HOLD;
    nt_tcp_listener_close(tcp, listener);
    return true;
}

// A request that is not finished goes on with another listener of that name, as long as that has
// room.
static bool request_elsewhere(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    struct nt_tcp_listener *heir =
        nt_tcp_listener_find(tcp, t->local_addr, t->local_port, t->remote_addr, t->remote_port);
    if (heir == NULL)
        return false;
    nt_tcb_touch(tcp, t);
    nt_tcp_listener_forget_syn(tcp, t);
    t->listener = (uint32_t)(heir - tcp->listener);
    tcp->listeners[t->listener].syn_count++;
    return true;
}

// Looks at every TCB once: requests, and what was accepted without a word since.
static uint32_t end_requests(struct nt_tcp_engine *tcp, uint32_t index, uint32_t budget)
{
    enum { LOOKS_AN_INPUT = 256 }; // a look at a TCB costs far less than an input
    struct nt_tcp_listener_private *own = &tcp->listeners[index];
    const struct nt_tcp_listener *listener = &tcp->listener[index];
    uint32_t done = 0, looks = budget * LOOKS_AN_INPUT;
    for (; own->scan < tcp->config.shape.tcbs && done < budget && looks != 0; looks--) {
        struct nt_tcb *t = &tcp->tcb[own->scan++];
        if (t->state == NT_TCP_FREE || t->listener != index)
            continue;
        if (t->state == NT_TCP_SYN_RCVD) {
            if (!request_elsewhere(tcp, t))
                nt_tcb_reset(tcp, t, 0);
        } else if (nt_seq_lt(t->accept_index, listener->accept_head)) {
            nt_tcb_touch(tcp, t);
            t->listener = NT_NO_INDEX;
        }
        done++;
        nt_tcp_commit_if_full(tcp);
    }
    return done + (looks == 0);
}

static void end_offered(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    if (nt_tcp_offer_elsewhere(tcp, t))
        return;
    nt_tcb_touch(tcp, t);
    t->flags |= NT_TCB_PROGRAM_CLOSED;
    nt_tcb_reset(tcp, t, 0);
}

static uint32_t end_unaccepted(struct nt_tcp_engine *tcp, struct nt_tcp_listener *listener,
                               uint32_t budget)
{
    struct nt_listener *region = nt_tcp_listener_region(tcp, listener);
    uint32_t done = 0;
    if (region == NULL) { // unmapped by its owner: none is left
        nt_tcp_listener_touch(tcp, listener);
        listener->accept_head = listener->accept_tail;
        return 0;
    }
    for (; listener->accept_head != listener->accept_tail && done < budget; done++) {
        uint32_t index = listener->accept_head, area, slot;
        bool ours = nt_listener_withdraw(region, index);
        struct nt_tcb *t = nt_tcp_settle_last(tcp, listener, region, index);
        if (t != NULL && (ours || !nt_listener_taken_by(region, index, &area, &slot))) {
            end_offered(tcp, t);
        } else if (t != NULL) {
            nt_tcb_touch(tcp, t);
            t->listener = NT_NO_INDEX; // its acceptor's, who has not said a word yet
        }
        nt_txn_crash_point(&tcp->txn);
        nt_tcp_listener_touch(tcp, listener);
        listener->accept_head++;
        nt_tcp_commit_if_full(tcp);
    }
    return done;
}

// shutdown() ended the listening: the socket is as good as new to each program; a slot that was
// closed is free.
static void dismiss_members(struct nt_tcp_engine *tcp, struct nt_tcp_listener *listener)
{
    struct nt_tcp_listener_private *own = &tcp->listeners[listener - tcp->listener];
    while (own->members != NT_NO_INDEX) {
        uint32_t binding = own->members;
        nt_tcp_member_remove(tcp, binding);
        if (listener->slot_closed)
            nt_tcp_slot_free(tcp, binding, false);
        else
            nt_tcp_binding_touch(tcp, binding)->kind = NT_TCP_BINDING_GRANTED;
    }
}

// False: no room for the answer.
static bool finish_closing(struct nt_tcp_engine *tcp, struct nt_tcp_listener *listener)
{
    struct nt_request reply = {
        .number = listener->unlisten,
        .kind = listener->answer_unlisten,
        .area = listener->area,
        .slot = listener->slot,
        .generation = listener->generation,
    };
    if (listener->answer_unlisten && !nt_tcp_reply(tcp, &reply))
        return false;
    nt_tcp_listener_touch(tcp, listener);
    nt_txn_crash_point(&tcp->txn);
    dismiss_members(tcp, listener);
    listener->state = NT_TCP_LISTENER_FREE;
    tcp->closing_listeners--;
    return true;
}

uint32_t nt_tcp_listeners_close_some(struct nt_tcp_engine *tcp, uint32_t budget)
{
    uint32_t done = 0;
    for (uint32_t i = 0; tcp->closing_listeners != 0 && i < tcp->config.shape.listeners; i++) {
        struct nt_tcp_listener *listener = &tcp->listener[i];
        if (listener->state != NT_TCP_LISTENER_CLOSING)
            continue;
        done += end_unaccepted(tcp, listener, budget);
        if (listener->accept_head == listener->accept_tail)
            done += end_requests(tcp, i, budget);
        if (tcp->listeners[i].scan == tcp->config.shape.tcbs &&
            listener->accept_head == listener->accept_tail)
            done += finish_closing(tcp, listener);
    }
    return done;
}
