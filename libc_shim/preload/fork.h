// fork.h: a child of fork() starts over.
//
// Socket areas are not inherited (MADV_DONTFORK): they are the parent's. The child attaches areas
// of its own when it first needs to. What becomes of sockets is in share.h, of the control
// connection in control.h. A child that only goes on to exec costs a few closes, and one message to
// the syscall server if the parent had sockets.
//
// fork() and vfork() are noticed by pthread_atfork(3); _Fork(), clone(2) and the system calls by
// the functions of libc that make them. A child that was made behind all of these (in assembler)
// finds a page wiped that was not empty, at its first call (MADV_WIPEONFORK), and starts over
// likewise, but without a token: its parent's sockets fail there, its own work.
#ifndef NT_PRELOAD_FORK_H
#define NT_PRELOAD_FORK_H

#include "newtos_py/kernel/base.h"

#include <stdint.h>
#include <sys/types.h>

union nt_fork_page {
    uint8_t is_ours; // 0: this is a child, and does not know it; or the shim has not started
    uint8_t page[NT_PAGE];
};
extern union nt_fork_page nt_fork_page __attribute__((visibility("hidden")));

void nt_fork_open(void);

// Around a fork that libc's handlers are not told of: before; then, by its result, after.
void nt_fork_before(void);
void nt_fork_after(pid_t child);

// A child that nobody was told of.
void nt_fork_unseen(void);

#endif
