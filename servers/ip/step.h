// step.h: one turn of the engine (kernel/engine.h), in this order:
//
//     deferred fences    behind nothing but what is in the channel already
//     returns            buffers of the IP pool come back
//     drivers            received frames; these never wait
//     upper servers      only while every driver's channel has room for what one input may become,
//                        so that a fence or a fragment never finds its channel full
//     timers             neighbours, reassembly, gathered buffers
//
// Each source's batch is a transaction of its own, published at once. A driver whose channel stays
// full for STUCK_MS is no longer waited for: its packets are dropped, until there is room again.
#ifndef NT_IP_STEP_H
#define NT_IP_STEP_H

#include "servers/ip/state.h"

uint32_t nt_ip_step(void *context, uint64_t now_ns, uint32_t budget);
bool nt_ip_has_work(void *context);
uint64_t nt_ip_next_deadline(void *context);
int nt_ip_audit(void *context, char *why, uint64_t why_bytes);

#endif
