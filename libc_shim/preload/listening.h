// listening.h: what a listening socket has mapped: its accept rings, one a lane.
#ifndef NT_PRELOAD_LISTENING_H
#define NT_PRELOAD_LISTENING_H

#include "libc_shim/preload/control.h"
#include "libc_shim/preload/file.h"

// Maps what the answer to LISTEN or JOIN brought for the lane that the socket's own slot is in: 0
// or -errno.
int nt_listening_map(struct nt_file *file, const struct nt_control_call *call);
// The same for all others: makes the socket's parts there.
int nt_listening_add_parts(struct nt_file *file, const struct nt_control_call *call);
// Ends the parts and unmaps everything. The servers know that it listens no longer.
void nt_listening_close_parts(struct nt_file *file);
void nt_listening_close(struct nt_file *file);
// Tells the servers: this process accepts there no more, or nobody does.
void nt_listening_unlisten(const struct nt_file *file, bool for_everybody);
// In a child of fork(), where nothing of it is mapped.
void nt_listening_child_all(void);
void nt_listening_child(struct nt_file *file);

#endif
