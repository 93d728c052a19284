// fork.h: a child of fork() starts over.
//
// Socket areas are not inherited (MADV_DONTFORK): they are the parent's. The child attaches areas
// of its own when it first needs to. What becomes of sockets is in share.h, of the control
// connection in control.h. A child that only goes on to exec costs a few closes, and one message to
// the syscall server if the parent had sockets.
#ifndef NT_PRELOAD_FORK_H
#define NT_PRELOAD_FORK_H

void nt_fork_open(void);

#endif
