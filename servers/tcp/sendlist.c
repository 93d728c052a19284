// sendlist.c: who has something to send: control, ACK and data lists, served in that order (mTCP
// §4.1).
//
// A TCB is on each list at most once. An entry means "look": whoever is served finds in the TCB
// what there is to send, if anything, so an entry may outlive its reason.
#include "servers/tcp/context.h"

static void push(struct nt_tcp_engine *tcp, struct nt_tcp_fifo *fifo, const struct nt_tcb *t,
                 enum nt_tcp_queued which)
{
    uint32_t index = nt_tcb_index(tcp, t);
    struct nt_tcp_private *own = &tcp->private[index];
    if (own->queued & which)
        return;
    own->queued |= (uint8_t)which;
    fifo->entry[fifo->tail++ & fifo->mask] = index;
}

static struct nt_tcb *pop(struct nt_tcp_engine *tcp, struct nt_tcp_fifo *fifo,
                          enum nt_tcp_queued which)
{
    uint32_t index = fifo->entry[fifo->head++ & fifo->mask];
    tcp->private[index].queued &= (uint8_t) ~(uint32_t)which;
    return &tcp->tcb[index];
}

void nt_tcp_send_control(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    push(tcp, &tcp->control, t, NT_TCP_ON_CONTROL);
}

void nt_tcp_send_ack(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    push(tcp, &tcp->ack, t, NT_TCP_ON_ACK);
}

void nt_tcp_send_data(struct nt_tcp_engine *tcp, struct nt_tcb *t)
{
    push(tcp, &tcp->data, t, NT_TCP_ON_DATA);
}

static uint32_t serve_control(struct nt_tcp_engine *tcp)
{
    uint32_t served = 0;
    for (uint32_t n = tcp->control.tail - tcp->control.head; n != 0; n--, served++) {
        struct nt_tcb *t = pop(tcp, &tcp->control, NT_TCP_ON_CONTROL);
        if (t->state != NT_TCP_FREE && !nt_tcp_output_control(tcp, t)) {
            nt_tcp_send_control(tcp, t);
            break;
        }
        nt_tcp_commit_if_full(tcp);
    }
    return served;
}

// A connection that owes an acknowledgement and has data to send sends both in one.
static uint32_t serve_acks(struct nt_tcp_engine *tcp)
{
    uint32_t served = 0;
    for (uint32_t n = tcp->ack.tail - tcp->ack.head; n != 0; n--, served++) {
        // Inputs go on, and give IP its buffers back, while acknowledgements wait.
        if (nt_producer_room(&tcp->to_ip, NT_TCP_ACK_ROOM) < NT_TCP_ACK_ROOM)
            break;
        struct nt_tcb *t = pop(tcp, &tcp->ack, NT_TCP_ON_ACK);
        if (t->state == NT_TCP_FREE || !(t->flags & NT_TCB_ACK_NOW))
            continue;
        bool more = false;
        if (tcp->private[nt_tcb_index(tcp, t)].queued & NT_TCP_ON_DATA)
            (void)nt_tcp_output(tcp, t, &more);
        if ((t->flags & NT_TCB_ACK_NOW) && !nt_tcp_output_ack(tcp, t)) {
            nt_tcp_send_ack(tcp, t);
            break;
        }
        nt_tcp_commit_if_full(tcp);
    }
    return served;
}

static uint32_t serve_data(struct nt_tcp_engine *tcp)
{
    uint32_t served = 0;
    for (uint32_t n = tcp->data.tail - tcp->data.head; n != 0; n--, served++) {
        struct nt_tcb *t = pop(tcp, &tcp->data, NT_TCP_ON_DATA);
        if (t->state == NT_TCP_FREE)
            continue;
        bool more = false;
        bool room = nt_tcp_output(tcp, t, &more);
        if (!room || more)
            nt_tcp_send_data(tcp, t);
        if (!room)
            break;
        nt_tcp_commit_if_full(tcp);
    }
    return served;
}

uint32_t nt_tcp_serve_lists(struct nt_tcp_engine *tcp)
{
    return serve_control(tcp) + serve_acks(tcp) + serve_data(tcp);
}

bool nt_tcp_lists_waiting(const struct nt_tcp_engine *tcp)
{
    return tcp->control.head != tcp->control.tail || tcp->ack.head != tcp->ack.tail ||
           tcp->data.head != tcp->data.tail;
}
