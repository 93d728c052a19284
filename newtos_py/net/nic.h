// nic.h: the steering of a host's network card: which receive queue a frame arrives in.
//
// A card with a queue a lane hashes each frame, puts it into one of its queues, and says both in
// the receive descriptor. Each of our drivers does so for its device: the hash and the queue travel
// up with the descriptor (desc.h), and IP serves them all (docs/decisions/0014).
//
// What the card knows is less than what IP knows. IP finds the lane that a connection is in
// (steering.h, servers/ip/exact.h); the card finds a queue, by the design of the topology:
//
//   rss          by the hash; connections are opened where it leads
//   flow-groups  by a table of 4096 that IP programs (Affinity-Accept §3.1), as it now is
//   rfd          programmed with Fastsocket's port bits (§3.3: FDir in Perfect-Filtering mode)
//   twenty       by a table that the driver fills from what it transmits, else by the hash
//                (steering_twenty.c; FDir in ATR mode)
//
// Where the card is wrong, IP hands the segment to the right lane all the same, as Fastsocket's
// Receive Flow Deliver does in software; it counts as not local (servers/tcp/locality.c).
//
// All of it is private to its driver, as a card's registers are: a restarted driver has forgotten
// its table, and nothing but locality depends on it. With one lane nothing is looked at.
#ifndef NT_NET_NIC_H
#define NT_NET_NIC_H

#include "newtos_py/kernel/desc.h"
#include "newtos_py/net/steering.h"
#include "newtos_py/net/steering_twenty.h"

struct nt_nic {
    struct nt_steering steering;
    const uint8_t *groups; // nt_status.group of IP, which changes it; NULL: as at boot
    struct nt_twenty twenty;
};

struct nt_nic_choice {
    uint32_t hash;  // nt_steering_rss_flow_hash(); 0: none was computed
    uint32_t queue; // a lane, + 1; 0: no TCP segment, or there is one lane
};

void nt_nic_init(struct nt_nic *nic, const struct nt_steering_config *config,
                 const uint8_t *groups);
// For a frame that was received, `bytes` long. Others may write to it meanwhile.
struct nt_nic_choice nt_nic_receive(struct nt_nic *nic, const uint8_t *frame, uint32_t bytes);
// A frame from IP was sent.
void nt_nic_sent(struct nt_nic *nic, const struct nt_desc *frame);

#ifndef NT_CDEF
static inline bool nt_nic_has_queues(const struct nt_nic *nic)
{
    return NT_UNLIKELY(nic->steering.config.lanes > 1);
}
#endif

#endif
