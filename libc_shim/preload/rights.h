// rights.h: newtos sockets among the descriptors that messages carry (SCM_RIGHTS).
//
// What goes over a kernel's socket is the placeholder; share.h has what makes of it a socket again.
#ifndef NT_PRELOAD_RIGHTS_H
#define NT_PRELOAD_RIGHTS_H

#include "libc_shim/preload/file.h"

#include <sys/socket.h>

// Around sendmsg() and recvmsg() on a kernel socket. 0 or -EBADF.
int nt_rights_send(const struct msghdr *message);
void nt_rights_receive(const struct msghdr *message, int flags);

#endif
