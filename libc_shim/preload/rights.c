// rights.c: see rights.h.

#include "libc_shim/preload/rights.h"

#include "libc_shim/preload/share.h"
#include "libc_shim/preload/signals.h"

#include <errno.h>

// Calls `handle` for each descriptor that goes or came beside a message; stops at an error.
static int each_right(const struct msghdr *message, int (*handle)(int fd, int flags), int flags)
{
    if (nt_fd_limit == 0 || message == NULL || message->msg_control == NULL ||
        message->msg_controllen == 0)
        return 0;
    struct msghdr copy = *message; // CMSG_NXTHDR wants one that is not const
    struct nt_thread *self = nt_enter();
    int error = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&copy); c != NULL; c = CMSG_NXTHDR(&copy, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t i = 0; error == 0 && CMSG_LEN((i + 1) * sizeof(int)) <= c->cmsg_len; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            error = handle(fd, flags);
        }
    }
    nt_leave(self);
    return error;
}

static int send_right(int fd, int flags)
{
    (void)flags;
    if (nt_fd_is_kernel(fd))
        return 0;
    return nt_fd_get(fd) < NT_FD_FIRST ? -EBADF : nt_share_send(fd);
}

int nt_rights_send(const struct msghdr *message) { return each_right(message, send_right, 0); }

static int receive_right(int fd, int flags)
{
    if (fd >= 0 && !nt_fd_is_kernel(fd))
        nt_file_replace(fd, NULL, false); // closed behind the shim
    nt_share_received(fd, (flags & MSG_CMSG_CLOEXEC) != 0);
    return 0;
}

void nt_rights_receive(const struct msghdr *message, int flags)
{
    (void)each_right(message, receive_right, flags);
}
