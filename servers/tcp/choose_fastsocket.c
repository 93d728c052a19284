// choose_fastsocket.c: design fastsocket: the local listen table, else the global one.
//
// Fast path (Fastsocket §3.2.1, steps 3 to 6): a process that accepts on the lane's core is in the
// lane's local listen table, the connection is its, and nobody else takes it. Slow path (steps 7,
// 11 and 12): the table is empty, because no process ever came or because they died: the connection
// goes to the global table, that is, its entry is shared, and any process serves it.
#include "servers/tcp/choose.h"

struct nt_tcp_choice nt_tcp_choose_fastsocket(struct nt_tcp_engine *tcp,
                                              const struct nt_tcp_listener *listener)
{
    bool waits;
    uint32_t local = nt_tcp_local_member(tcp, listener, &waits);
    if (local != NT_NO_INDEX)
        return (struct nt_tcp_choice){.member = local, .shared = false};
    nt_tcp_count(tcp, NT_TCP_ACCEPT_GLOBAL);
    return nt_tcp_choose_in_turn(tcp, listener);
}
