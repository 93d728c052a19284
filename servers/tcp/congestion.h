// congestion.h: what TCP asks of a congestion control.
//
// It owns cwnd and ssthresh; loss recovery (which segments to send again) is input_ack.c's. All are
// called with the TCB touched. NewReno is the one there is (newreno.c).
#ifndef NT_TCP_CONGESTION_H
#define NT_TCP_CONGESTION_H

#include "servers/tcp/tcb.h"

void nt_cc_init(struct nt_tcb *t);
// `acked` new bytes were acknowledged outside of recovery; `limited`: cwnd was what held us.
void nt_cc_acked(struct nt_tcb *t, uint32_t acked, bool limited);
// A loss was detected by duplicate acknowledgements, with `flight` bytes outstanding.
void nt_cc_enter_recovery(struct nt_tcb *t, uint32_t flight);
void nt_cc_duplicate(struct nt_tcb *t);               // one more of them
void nt_cc_partial(struct nt_tcb *t, uint32_t acked); // snd_una moved, not past `recover`
void nt_cc_leave_recovery(struct nt_tcb *t, uint32_t flight);
void nt_cc_timeout(struct nt_tcb *t, uint32_t flight, bool first);
void nt_cc_idle(struct nt_tcb *t); // about to send after more than an RTO of silence

#endif
