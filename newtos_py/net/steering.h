// steering.h: which lane an arriving segment goes to, by its four-tuple alone.
//
// One interface, one small file a design, so that they can be read side by side:
//
//   rss          steering_rss.c          Toeplitz over addresses and ports, 128-entry indirection
//   flow-groups  steering_flow_groups.c  low 12 bits of the client's port, a table of 4096
//                                        (Affinity-Accept §3.1)
//   rfd          steering_rfd.c          active connections carry their lane in the port that they
//                                        chose; passive ones go by rss (Fastsocket §3.3)
//   twenty-policy  the same; but the card (nic.h) learns where segments belong from what is sent
//                  (Affinity-Accept §7.1), and where it does not know IP puts it right
//
// Pure: IP asks for every segment that arrives, TCP when it chooses the source port of an active
// connection, so that what comes back arrives where the connection is. Both make their tables from
// the same configuration (netconf.h), so they agree. Ports in host byte order.
#ifndef NT_NET_STEERING_H
#define NT_NET_STEERING_H

#include "newtos_py/kernel/base.h"

enum {
    NT_STEERING_LANES_MAX = 8,
    NT_STEERING_KEY_BYTES = 40, // of RSS, for 36 bytes of input
    NT_STEERING_INDIRECTION = 128,
    NT_STEERING_GROUPS = 4096,
    NT_STEERING_WELL_KNOWN = 1024, // ports below it are servers'
    // Where active connections choose: Linux's net.ipv4.ip_local_port_range (tcb.h).
    NT_STEERING_EPHEMERAL_FIRST = 32768,
    NT_STEERING_EPHEMERAL_LAST = 60999,
    NT_STEERING_PORT_BITS = 10, // rfd: of a port, the bits that are uniform over the range
};

enum nt_steering_kind {
    NT_STEERING_RSS = 0,
    NT_STEERING_FLOW_GROUPS = 1,
    NT_STEERING_RFD = 2,
    NT_STEERING_TWENTY = 3,
};

struct nt_steering_config { // part of struct nt_netconf
    uint32_t kind;          // enum nt_steering_kind
    uint32_t lanes;         // 0: as 1
    uint8_t key[40];        // NT_STEERING_KEY_BYTES; random a boot: who doesn't know it can't aim
};

struct nt_flow { // of an arriving segment
    const uint8_t *src;
    const uint8_t *dst;
    uint16_t src_port;
    uint16_t dst_port;
};

struct nt_steering {
    struct nt_steering_config config;
    uint8_t indirection[128];
    uint8_t group[4096];
    uint32_t rfd_bits;      // how many bits of a port name a lane
    uint8_t rfd_bit[3];     // which
    const uint8_t *listens; // rfd's third rule: a bitmap of ports; NULL: goes by the port's range
};

void nt_steering_init(struct nt_steering *steering, const struct nt_steering_config *config);
// The lane of an arriving segment; 0 where there is one lane.
uint32_t nt_steering_lane(const struct nt_steering *steering, const struct nt_flow *arriving);
// The same, where the card has said its hash (nt_steering_rss_flow_hash).
uint32_t nt_steering_lane_hashed(const struct nt_steering *steering, const struct nt_flow *arriving,
                                 uint32_t hash);

#ifndef NT_CDEF
// True if an active connection is to be in the lane of its program's core (Fastsocket §3.3); where
// not, it is wherever socket() came to, as the card knows nothing of programs.
static inline bool nt_steering_follows_core(const struct nt_steering *steering)
{
    return steering->config.lanes > 1 && (steering->config.kind == NT_STEERING_RFD ||
                                          steering->config.kind == NT_STEERING_TWENTY);
}
#endif

// -- The designs ---------------------------------------------------------------------------------

void nt_steering_rss_init(struct nt_steering *steering);
uint32_t nt_steering_rss_hash(const uint8_t key[40], const uint8_t *input, uint32_t bytes);
uint32_t nt_steering_rss_flow_hash(const struct nt_steering *steering,
                                   const struct nt_flow *arriving);
uint32_t nt_steering_rss(const struct nt_steering *steering, uint32_t hash);

void nt_steering_flow_groups_init(struct nt_steering *steering);
uint32_t nt_steering_flow_group(const struct nt_flow *arriving);
uint32_t nt_steering_flow_groups(const struct nt_steering *steering,
                                 const struct nt_flow *arriving);

void nt_steering_rfd_init(struct nt_steering *steering);
bool nt_steering_rfd_is_active(const struct nt_steering *steering, const struct nt_flow *arriving);
// `hash`: of a passive segment, as rss has it.
uint32_t nt_steering_rfd(const struct nt_steering *steering, const struct nt_flow *arriving,
                         uint32_t hash);

#endif
