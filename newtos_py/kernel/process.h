// process.h: what a process asks of Linux about itself.
#ifndef NT_KERNEL_PROCESS_H
#define NT_KERNEL_PROCESS_H

#include "newtos_py/kernel/base.h"

// The caller gets `signal_number` when the thread that forked it ends. 0; -ESRCH if the parent is
// not `parent` any more, so that no signal will come; or another negative errno.
int nt_process_die_with_parent(int signal_number, int parent);
// Orphans among the caller's descendants become its children, so that it can reap them. 0, or a
// negative errno.
int nt_process_adopt_orphans(void);

#endif
