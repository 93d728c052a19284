// groups.h: flow groups move to the lanes that steal from others (Affinity-Accept §3.3.2).
//
// A lane says whose processes took how many of its connections (NT_DESC_STOLEN). Every 100 ms each
// lane that nobody stole from looks for the one that it has stolen the most from, and one flow
// group of that lane's becomes its own (net/steering_flow_groups.c): new connections of the group
// go there.
//
// A connection never changes lane. So the lane that gives makes those it has, TIME-WAIT included,
// known by exact match (exact.h) before the table changes:
//
//     IP                          lane A (gives)                       lane B
//     GROUP_GIVE ────────────────▶ steers its connections of the group, and new ones
//                ◀──── STEER ... , GROUP_GIVEN
//     table[group] = B ──────────────────────────────── GROUP_TAKE ──▶ may choose such ports
//     GROUP_SETTLE ──────────────▶ behind all segments of before
//                ◀──── STEER ... , GROUP_SETTLED
//
// Between the last two A may have a connection that IP does not know of, made by a SYN that was
// under way: segments of the group without a match are asked of A first (NT_PACKET_IF_YOURS), and
// its ring keeps them behind that SYN. So each segment finds its connection at any time.
//
// All of it is in the arena, and messages are passed on exactly once, so a kill of IP or of either
// lane changes nothing. A lane that has lost its arena asks whose the groups are, and gets them
// whole; so does every lane when IP has lost its own, and each then steers anew what it has.
//
// Bounds: one group a lane and 100 ms; none while a quarter of the exact matches are not free.
// Where a lane's ring is full, what it is to be told waits.
#ifndef NT_IP_GROUPS_H
#define NT_IP_GROUPS_H

#include "servers/ip/state.h"

// What lanes say.
void nt_ip_groups_stolen(struct nt_ip *ip, uint32_t victim, const struct nt_stolen *stolen);
void nt_ip_groups_word(struct nt_ip *ip, uint32_t lane, uint32_t group, uint32_t word);
// Tells lanes what they are to be told: how much was done. To be called while ip->moves != 0.
uint32_t nt_ip_groups_step(struct nt_ip *ip);
// Chooses what moves, when it is time; arms nt_ip_timer.
void nt_ip_groups_timers(struct nt_ip *ip);
// The lane that is asked for a segment without an exact match before `home`; NT_IP_LANES: none.
uint32_t nt_ip_groups_ask(const struct nt_ip *ip, const struct nt_flow *arriving, uint32_t home);
// Takes over what the arena holds, or, if that is new, makes it; shows it to the drivers' cards.
void nt_ip_groups_recover(struct nt_ip *ip, bool recovered);

#endif
