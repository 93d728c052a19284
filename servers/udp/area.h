// area.h: socket areas: which slots are free, granted, in use; which want a look.
//
// Between NT_UDP_GRANTS_LOW and _HIGH slots are kept granted to each program. A grant is a record
// (GRANTED) and an entry of the grant ring, written beyond its published tail. Activity bits are
// swapped out word by word into private ones, so that a sweep that runs out of budget goes on where
// it stopped; a new generation looks at every socket instead.
#ifndef NT_UDP_AREA_H
#define NT_UDP_AREA_H

#include "servers/udp/state.h"

// Grants slots if the program has few left.
void nt_udp_area_grant(struct nt_udp *udp, uint32_t number);
void nt_udp_area_slot_free(struct nt_udp_area_private *area, uint32_t slot);
// True if a look at the area could find something.
bool nt_udp_area_active(const struct nt_udp_area_private *area);
// The next slot that wants a look, or -1.
int32_t nt_udp_area_next(struct nt_udp_area_private *area);
// The slot wants another look.
void nt_udp_area_again(struct nt_udp_area_private *area, uint32_t slot);
// Sets a ready bit and marks the queue's bell.
void nt_udp_area_tell(struct nt_udp *udp, struct nt_udp_area_private *area, uint32_t queue,
                      uint32_t slot);
void nt_udp_publish_grants(struct nt_udp *udp);
// The program is gone: closes all its sockets. Answered by nt_udp_area_drained.
void nt_udp_area_die(struct nt_udp *udp, uint32_t number);
// True if no socket of it is left.
bool nt_udp_area_drained(const struct nt_udp *udp, uint32_t number);
// After all records were read: free slots are those without one.
void nt_udp_area_recover(struct nt_udp *udp, uint32_t number);

#endif
