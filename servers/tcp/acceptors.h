// acceptors.h: what acceptors.c, offer.c and claims.c know of each other.
#ifndef NT_TCP_ACCEPTORS_H
#define NT_TCP_ACCEPTORS_H

#include "servers/tcp/choose.h"
#include "servers/tcp/context.h"

enum {
    // What only some may take waits for them so long, once it is at the head: far longer than a
    // busy process takes to come back to accept().
    NT_TCP_STUCK_NS = 32000000,
};

// acceptors.c
// The member whose options connections inherit, and who gets them while nobody accepts.
uint32_t nt_tcp_speaker(const struct nt_tcp_engine *tcp, const struct nt_tcp_listener *listener);
// All are told of what one was told of and has not taken by then.
void nt_tcp_tell_soon(struct nt_tcp_engine *tcp, struct nt_tcp_listener_private *own);

// offer.c
void nt_tcp_accept_head_to(struct nt_tcp_engine *tcp, struct nt_tcp_listener *listener,
                           uint32_t head);
// Enters it once more, for anybody; false: no room just now.
bool nt_tcp_enter_again(struct nt_tcp_engine *tcp, struct nt_tcp_listener *listener,
                        struct nt_tcb *t);

// claims.c
uint32_t nt_tcp_settle_all(struct nt_tcp_engine *tcp, struct nt_tcp_listener *listener);

#endif
