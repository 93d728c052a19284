// local_table.c: a lane's local listen table (Fastsocket §3.2.1): members that accept on its core.
//
// So that whoever is local is found without a look at all members, however many there are. Members
// say where they accept in their own memory, so the table is made anew when one has come or gone,
// when one in it turns out to be elsewhere, when it is empty, and every millisecond.
#include "servers/tcp/choose.h"

enum { MADE_ANEW_NS = 1000000 };

bool nt_tcp_is_local(const struct nt_tcp_engine *tcp, uint32_t accepting)
{
    uint32_t core_plus_1 = accepting >> NT_ACCEPTING_CORE_SHIFT;
    return core_plus_1 != 0 && core_plus_1 == tcp->status->core + 1;
}

void nt_tcp_local_forget(struct nt_tcp_listener_private *own) { own->local.count = 0; }

static void make(struct nt_tcp_engine *tcp, struct nt_tcp_listener_private *own)
{
    struct nt_tcp_local_table *table = &own->local;
    uint32_t looks = 0;
    table->count = 0;
    table->made_ns = tcp->now_ns;
    for (uint32_t at = own->members; at != NT_NO_INDEX && table->count < NT_TCP_LOCALS;
         at = tcp->binding_next[at], looks++)
        if (nt_tcp_is_local(tcp, nt_tcp_accepting(tcp, at)))
            table->member[table->count++] = at;
    nt_tcp_count_n(tcp, NT_TCP_ACCEPT_LOOKS, looks);
}

// The next in turn, who waits if there is one; NT_NO_INDEX: none, or one is elsewhere now.
static uint32_t next(struct nt_tcp_engine *tcp, struct nt_tcp_local_table *table, bool *waits)
{
    uint32_t best = NT_NO_INDEX;
    *waits = false;
    for (uint32_t i = 0; i < table->count && !*waits; i++) {
        uint32_t place = (table->turn + i) % table->count, at = table->member[place];
        if (!nt_tcp_is_local(tcp, nt_tcp_accepting(tcp, at)))
            return NT_NO_INDEX;
        nt_tcp_count(tcp, NT_TCP_ACCEPT_LOOKS);
        *waits = nt_tcp_is_idle(tcp, at);
        if (best == NT_NO_INDEX || *waits)
            best = place;
    }
    if (best == NT_NO_INDEX)
        return NT_NO_INDEX;
    table->turn = best + 1;
    return table->member[best];
}

uint32_t nt_tcp_local_member(struct nt_tcp_engine *tcp, const struct nt_tcp_listener *listener,
                             bool *waits)
{
    struct nt_tcp_listener_private *own = &tcp->listeners[listener - tcp->listener];
    if (own->local.count != 0 && tcp->now_ns - own->local.made_ns < MADE_ANEW_NS) {
        uint32_t found = next(tcp, &own->local, waits);
        if (found != NT_NO_INDEX)
            return found;
    }
    make(tcp, own);
    return next(tcp, &own->local, waits);
}
