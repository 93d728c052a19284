// face.h: what Python sees of net's C code, as the module newtos_py.net._net: for tests and
// observers; Python never runs per packet. The wire formats' inline functions get a name to be
// called by here.
#ifndef NT_NET_FACE_H
#define NT_NET_FACE_H

#include "newtos_py/net/addr.h"
#include "newtos_py/net/arp.h"
#include "newtos_py/net/checksum.h"
#include "newtos_py/net/ethernet.h"
#include "newtos_py/net/icmp.h"
#include "newtos_py/net/ipv4.h"
#include "newtos_py/net/ipv6.h"
#include "newtos_py/net/netconf.h"
#include "newtos_py/net/nic.h"
#include "newtos_py/net/steering.h"
#include "newtos_py/net/steering_twenty.h"
#include "newtos_py/net/udp.h"

bool nt_face_ethernet_parse(struct nt_ethernet *repr, const uint8_t *p, uint64_t len);
void nt_face_ethernet_emit(const struct nt_ethernet *repr, uint8_t *p);
bool nt_face_arp_parse(struct nt_arp *repr, const uint8_t *p, uint64_t len);
void nt_face_arp_emit(const struct nt_arp *repr, uint8_t *p);
int nt_face_ipv4_parse(struct nt_ipv4 *repr, const uint8_t *p, uint64_t len);
void nt_face_ipv4_emit(const struct nt_ipv4 *repr, uint8_t *p);
bool nt_face_ipv6_parse(struct nt_ipv6 *repr, const uint8_t *p, uint64_t len);
void nt_face_ipv6_emit(const struct nt_ipv6 *repr, uint8_t *p);
bool nt_face_icmp_parse(struct nt_icmp *repr, const uint8_t *p, uint64_t len);
bool nt_face_icmp_checksum_ok(const uint8_t *p, uint64_t len);
void nt_face_icmp_emit(const struct nt_icmp *repr, uint8_t *p, uint64_t len);
bool nt_face_udp_parse(struct nt_udp_header *repr, const uint8_t *p, uint64_t len);
bool nt_face_udp_checksum_ok(const uint8_t *p, uint16_t length, const uint8_t src[16],
                             const uint8_t dst[16]);
void nt_face_udp_emit(const struct nt_udp_header *repr, uint8_t *p);
void nt_face_udp_set_checksum(uint8_t *p, uint16_t checksum);
uint16_t nt_face_csum_finish(uint32_t sum);
uint32_t nt_face_csum_add_at(uint32_t sum, uint32_t piece, uint64_t offset);
uint16_t nt_face_csum_update(uint16_t checksum, uint16_t old_word, uint16_t new_word);
uint32_t nt_face_flow_hash(const uint8_t a_addr[16], uint16_t a_port, const uint8_t b_addr[16],
                           uint16_t b_port);

#endif
