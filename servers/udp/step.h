// step.h: one turn of the engine (kernel/engine.h), in this order: gathered datagrams, requests of
// the syscall server, packets from IP, socket areas. Each batch is a transaction of its own,
// published at once.
#ifndef NT_UDP_STEP_H
#define NT_UDP_STEP_H

#include "servers/udp/state.h"

uint32_t nt_udp_step(void *context, uint64_t now_ns, uint32_t budget);
bool nt_udp_has_work(void *context);
uint64_t nt_udp_next_deadline(void *context);
int nt_udp_audit(void *context, char *why, uint64_t why_bytes);
void nt_udp_commit(struct nt_udp *udp);

#endif
