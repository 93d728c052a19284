// view.c: what an observer reads from the arena, without its engine and without changing anything.
//
// The server goes on meanwhile: a row is copied field by field and may mix two moments, never more
// than that; sizes come from the arena's header and are checked against the mapping.
#include "servers/tcp/context.h"

int nt_tcp_view_open(struct nt_tcp_view *view, const void *arena, uint64_t bytes)
{
    const struct nt_arena_header *header = arena;
    if (bytes < sizeof(*header) || header->magic != NT_ARENA_MAGIC ||
        header->kind != NT_TCP_ARENA_KIND || header->layout != NT_TCP_ARENA_LAYOUT ||
        header->formatted != 1 || header->body_offset > bytes ||
        bytes - header->body_offset < sizeof(struct nt_tcp_globals))
        return -1;
    const struct nt_tcp_globals *globals =
        (const void *)((const uint8_t *)arena + header->body_offset);
    struct nt_tcp_shape shape = {globals->tcbs, globals->time_waits, globals->listeners,
                                 globals->binding_pages};
    if (globals->magic != NT_TCP_ARENA_KIND || nt_tcp_arena_bytes(&shape) > bytes)
        return -1;
    nt_tcp_view_tables(view, globals, &shape);
    return 0;
}

uint32_t nt_tcp_view_rows(const struct nt_tcp_view *view)
{
    return view->globals->listeners + view->globals->tcbs + view->globals->time_waits;
}

static uint32_t pid_of(const struct nt_tcp_view *view, uint32_t area)
{
    return area < view->globals->areas && area < NT_TCP_AREAS ? view->area[area].pid : 0;
}

static bool listener_row(const struct nt_tcp_view *view, const struct nt_tcp_listener *listener,
                         struct nt_tcp_row *row)
{
    if (listener->state == NT_TCP_LISTENER_FREE)
        return false;
    row->state = NT_TCP_LISTEN;
    row->local_port = listener->port;
    nt_addr_copy(row->local_addr, listener->addr);
    row->recv_q = listener->accept_tail - listener->accept_head;
    row->send_q = listener->backlog;
    row->pid = pid_of(view, listener->area);
    return true;
}

static bool tcb_row(const struct nt_tcp_view *view, const struct nt_tcb *t, struct nt_tcp_row *row)
{
    if (t->state == NT_TCP_FREE)
        return false;
    row->state = t->state;
    row->local_port = t->local_port;
    row->remote_port = t->remote_port;
    nt_addr_copy(row->local_addr, t->local_addr);
    nt_addr_copy(row->remote_addr, t->remote_addr);
    row->recv_q = nt_tcb_rx_tail(t) - t->rx_head;
    row->send_q = t->tx_end - 1 - t->iss - nt_tcb_tx_head(t);
    row->pid = pid_of(view, t->area);
    row->snd_wscale = t->snd_wscale;
    row->rcv_wscale = t->rcv_wscale;
    row->flight_bytes = t->snd_max - t->snd_una;
    row->mss = t->mss;
    row->cwnd_bytes = t->cwnd;
    row->ssthresh_bytes = t->ssthresh;
    row->srtt_us = t->srtt_us;
    row->rttvar_us = t->rttvar_us;
    row->rto_ms = t->rto_ms;
    row->retransmits = t->retransmits;
    row->rcv_wnd_bytes = t->rcv_adv - t->rcv_nxt;
    row->snd_wnd_bytes = t->snd_wnd;
    row->timer_ms = t->rtx_deadline_ms;
    return true;
}

static bool time_wait_row(const struct nt_time_wait *tw, struct nt_tcp_row *row)
{
    if (tw->state == NT_TCP_FREE)
        return false;
    row->state = NT_TCP_TIME_WAIT;
    row->local_port = tw->local_port;
    row->remote_port = tw->remote_port;
    nt_addr_copy(row->local_addr, tw->local_addr);
    nt_addr_copy(row->remote_addr, tw->remote_addr);
    row->timer_ms = tw->expires_ms;
    return true;
}

bool nt_tcp_view_row(const struct nt_tcp_view *view, uint32_t index, struct nt_tcp_row *row)
{
    const struct nt_tcp_globals *globals = view->globals;
    *row = (struct nt_tcp_row){0};
    if (index < globals->listeners)
        return listener_row(view, &view->listener[index], row);
    index -= globals->listeners;
    if (index < globals->tcbs)
        return tcb_row(view, &view->tcb[index], row);
    index -= globals->tcbs;
    return index < globals->time_waits && time_wait_row(&view->time_wait[index], row);
}
