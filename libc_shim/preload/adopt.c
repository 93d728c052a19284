// adopt.c: see share.h. Numbers that came from another process, by exec or in a message: those that
// are placeholders become newtos sockets, if the syscall server knows them.

#include "libc_shim/preload/share.h"

#include "libc_shim/preload/control.h"
#include "libc_shim/preload/numbers.h"
#include "libc_shim/preload/token.h"

#include <errno.h>
#include <fcntl.h>

enum { ADOPT_AT_ONCE = 1024 }; // numbers at which sockets that came along are looked for

static struct nt_file *find_inode(uint64_t inode)
{
    int highest = nt_load_relaxed(&nt_fd_highest);
    for (int fd = 0; fd <= highest; fd++) {
        struct nt_file *file = nt_fd_get(fd);
        if (file >= NT_FD_FIRST && nt_file_may_be_shared(file) && file->inode == inode)
            return nt_file_hold(fd);
    }
    return NULL;
}

// Asks what socket the placeholder at `fd` is; NULL: none.
static struct nt_file *look(int fd, uint64_t inode, uint32_t how)
{
    struct nt_control_call call;
    struct nt_sock_image image;
    nt_control_prepare(&call, NT_CTL_TAKE);
    call.message.arg = how;
    call.send_fd = fd;
    if (nt_control_do(&call) != 0 || call.message.text_bytes < sizeof image)
        return NULL;
    memcpy(&image, call.message.text, sizeof image);
    struct nt_file *file = nt_file_new(NT_FILE_INHERITED);
    if (file == NULL)
        return NULL;
    file->inode = inode;
    file->nonblocking = image.nonblocking;
    if (!nt_sock_restore(&file->sock, &image, call.message.text_bytes)) {
        file->kind = NT_FILE_FREE;
        nt_file_drop(file);
        return NULL;
    }
    return file;
}

// Placeholders are unconnected AF_UNIX sockets.
static bool may_be_placeholder(int fd)
{
    int type = 0, domain = 0, listens = 0;
    struct sockaddr_storage peer;
    socklen_t bytes = sizeof type, peer_bytes = sizeof peer;
    int saved = errno;
    bool may =
        nt_real.getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &bytes) == 0 && domain == AF_UNIX &&
        nt_real.getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &bytes) == 0 && type == SOCK_STREAM &&
        nt_real.getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &bytes) == 0 && !listens &&
        nt_real.getpeername(fd, (struct sockaddr *)&peer, &peer_bytes) != 0;
    errno = saved;
    return may;
}

static void adopt(int fd, bool cloexec, uint32_t how)
{
    uint64_t inode = nt_share_inode_of(fd);
    if ((unsigned)fd >= nt_fd_limit || inode == 0)
        return;
    struct nt_file *file = find_inode(inode);
    if (file == NULL) {
        file = look(fd, inode, how);
    } else {
        file->several_placeholders = 1;
        if (how == NT_TAKE_RECEIVED) { // it came back to whom it came from
            struct nt_control_call call;
            nt_control_prepare(&call, NT_CTL_TAKE);
            call.message.arg = how;
            call.send_fd = fd;
            (void)nt_control_tell(&call);
        }
    }
    if (file == NULL)
        return;
    (void)nt_real.fcntl(fd, F_SETFD, (void *)FD_CLOEXEC);
    nt_fd_install(fd, file, cloexec);
}

void nt_share_received(int fd, bool cloexec)
{
    if (may_be_placeholder(fd))
        adopt(fd, cloexec, NT_TAKE_RECEIVED);
}

void nt_share_adopt(void)
{
    struct pollfd wanted[ADOPT_AT_ONCE];
    for (unsigned first = 0; first < nt_fd_limit; first += ADOPT_AT_ONCE) {
        unsigned count = nt_min_u32(ADOPT_AT_ONCE, nt_fd_limit - first);
        for (unsigned i = 0; i < count; i++)
            wanted[i] = (struct pollfd){.fd = (int)(first + i)};
        if (nt_real.poll(wanted, count, 0) < 0)
            return;
        for (unsigned i = 0; i < count; i++)
            if ((wanted[i].revents & POLLNVAL) == 0 && may_be_placeholder(wanted[i].fd))
                adopt(wanted[i].fd, false, NT_TAKE_LOOK);
    }
}
