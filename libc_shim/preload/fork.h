// fork.h: a child of fork() starts over.
//
// Socket areas are not inherited (MADV_DONTFORK), neither is the control connection used: both are
// the parent's. The child attaches when it first needs to. Newtos sockets it inherited are marked
// so, and answer EOPNOTSUPP but to close: sharing them between processes is not supported yet. A
// child that only goes on to exec costs a few closes.
#ifndef NT_PRELOAD_FORK_H
#define NT_PRELOAD_FORK_H

void nt_fork_open(void);

#endif
