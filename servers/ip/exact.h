// exact.h: connections that their four-tuple does not lead to, by exact match.
//
// Steering (net/steering.h) finds the lane of an arriving segment by its four-tuple alone, and an
// active connection's source port is chosen to fit. Where the program itself named the port, with
// bind(), it may not fit: then the TCP server that has the connection says so (NT_DESC_STEER)
// before its SYN, and once more when the connection is gone. What is said goes into a
// set-associative table in the arena, so that it survives a kill of this server.
//
// A set that is full takes no more: that an entry of it is missing is counted there, until the
// connection is gone. A segment that finds no match in such a set may be one of those: the lanes
// are asked, one after the other, whether a connection of theirs has it (NT_PACKET_IF_YOURS), the
// one that steering names last, which takes it anyhow. So no connection loses its way; the
// 4,096 that fit are found at once.
#ifndef NT_IP_EXACT_H
#define NT_IP_EXACT_H

#include "servers/ip/state.h"

// Takes down what a TCP server says of a connection.
void nt_ip_exact_set(struct nt_ip *ip, uint32_t lane, const struct nt_steer *steer);
// The lane of an arriving segment if it is in the table, else NT_IP_LANES.
uint32_t nt_ip_exact_find(struct nt_ip *ip, const struct nt_flow *arriving);
// The next lane to be asked for a segment without a match, after lane `after` (NT_IP_LANES: the
// first one); NT_IP_LANES: none but `home`, the lane that steering names.
uint32_t nt_ip_exact_ask(const struct nt_ip *ip, const struct nt_flow *arriving, uint32_t home,
                         uint32_t after);
// Counts what the arena holds: look-ups are made only where there is something.
void nt_ip_exact_recover(struct nt_ip *ip);

#endif
