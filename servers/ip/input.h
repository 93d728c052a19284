// input.h: received IPv4 packets, from header checks to the server above.
#ifndef NT_IP_INPUT_H
#define NT_IP_INPUT_H

#include "servers/ip/state.h"

// A packet in a driver's buffer; bytes, ref, interface, gso_size, flags and link_group are filled.
// True if the buffer was handed on; otherwise it is the caller's to return.
bool nt_ip_input(struct nt_ip *ip, struct nt_ip_in *in);
// A packet that IP made or put together in a held buffer of its own, `at` bytes into it. Takes care
// of the buffer. Filled are interface, gso_size and flags.
void nt_ip_input_own(struct nt_ip *ip, struct nt_ip_in *in, uint32_t buffer, uint32_t at,
                     uint32_t len);
// A packet that a lane was asked for and has not: to the next one.
void nt_ip_not_mine(struct nt_ip *ip, uint32_t lane, const struct nt_desc *desc);
// Hands a packet (or an ICMP error, NT_DESC_ICMP) up. False, and counted, if there is no room.
bool nt_ip_hand_up(struct nt_ip *ip, uint32_t upper, enum nt_desc_kind kind,
                   const struct nt_ip_in *in);
// The TCP server that has the flow. `nic_hash`: what the card said of it, or 0.
uint32_t nt_ip_lane(struct nt_ip *ip, const struct nt_flow *arriving, uint32_t nic_hash);

#endif
