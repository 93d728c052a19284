// share.h: newtos sockets that several processes hold: by fork, exec and SCM_RIGHTS.
//
// The syscall server knows such a socket by the inode of its placeholder, and counts which programs
// hold it (newtos_py/kernel/control.h). A process that forks registers the sockets it has opened
// since it last did, and makes a *token*, the child's control connection. Parent and child go on
// with a copy of all that is private to a socket:
//
//   parent  NT_FILE_LENT       as fast as before, one look more a call: is the slot still ours?
//   child   NT_FILE_INHERITED  until it uses the socket: then it takes it (TAKE)
//
// A socket that is taken moves to the taker's area and is fast there; it is NT_FILE_LENT, too. Who
// had it finds its slot moved, and takes it back if it goes on using it. Where two go on, the
// syscall server pumps it: then its numbers become those of a kernel socket, and calls on them are
// the kernel's.
#ifndef NT_PRELOAD_SHARE_H
#define NT_PRELOAD_SHARE_H

#include "libc_shim/preload/file.h"

#include <errno.h>

// What a call of ours answers when its descriptor turned out to be the kernel's: the symbol calls
// libc's function then. No errno.
#define NT_IS_KERNELS (-4000L)

// fork(): before, then in the parent. nt_share_token(): in between and in the child, its control
// connection; -1: none, because there are no sockets, or no descriptor was left.
void nt_share_before_fork(void);
void nt_share_in_parent(void);
int nt_share_token(void);
void nt_share_in_child(void);

// exec: whether this process holds any socket; a connection for the next image, which holds those
// that go along (exec.h), -1: none; and in the next image, what came along.
bool nt_share_holds_any(void);
int nt_share_token_for_exec(bool all);
void nt_share_adopt(void);

// SCM_RIGHTS: a number of ours is about to be sent: 0 or -EBADF; and a descriptor came: if it is a
// newtos socket's placeholder, its number becomes that socket's.
int nt_share_send(int fd);
void nt_share_received(int fd, bool cloexec);

// After a call on `file` that failed, or found an end: another process has taken the socket since;
// hold it again, which takes it back, and call again. Of calls that move no data nobody knows
// whether they came in time, but doing them twice changes nothing: nt_share_is_elsewhere().
static inline bool nt_share_is_elsewhere(const struct nt_file *file)
{
    if (NT_LIKELY(file->kind != NT_FILE_LENT))
        return false;
    nt_fence();
    return file->sock.phase != NT_SOCK_LISTENING && nt_sock_was_moved(&file->sock);
}
static inline bool nt_share_was_taken(const struct nt_file *file, ssize_t result)
{
    return NT_UNLIKELY(result <= 0 && file->kind == NT_FILE_LENT) &&
           (result == -ERESTART || nt_share_is_elsewhere(file));
}

// The end of a call that moves no data: lets go of `file`. True: it is to be made again.
static inline bool nt_share_end_call(struct nt_file *file, ssize_t result)
{
    bool elsewhere = result == -ERESTART || nt_share_is_elsewhere(file);
    nt_file_drop(file);
    return elsewhere;
}

// A socket that is pumped: names and options of the socket that the kernel's stands for. False: it
// is none.
bool nt_share_is_pumped(int fd);

// `file` is held and not simply a socket: makes it one. 0; NT_IS_KERNELS; -errno.
int nt_share_use(int fd, struct nt_file *file);
// In the middle of a call that moves data, after a piece of it: 1: another process had taken the
// socket, and now it is back; 0: nobody has; NT_IS_KERNELS; -errno.
static inline int nt_share_take_back(int fd, struct nt_file *file, ssize_t result)
{
    if (NT_LIKELY(!nt_share_was_taken(file, result)))
        return 0;
    int taken = nt_share_use(fd, file);
    return taken == 0 ? 1 : taken;
}

// The same for a datagram socket, to read from it: it is left to others for up to `patience_ms` as
// long as there is nothing to read.
int nt_share_use_to_read(int fd, struct nt_file *file, uint32_t patience_ms);
// The same for any socket that a call waits for while it was taken away.
int nt_share_use_to_wait(int fd, struct nt_file *file);

// This process is about to forbid itself what the shim needs to make sockets fast (new descriptors,
// shared memory, some system calls): its connections become the kernel's, which it may go on to
// read and write. As sshd does for its child before authentication.
void nt_share_before_sandbox(void);

// nt_file_hold() of what may be a socket or an epoll instance, for waiting: a socket that was not
// used here so far is, from now on. 0; -EBADF; NT_IS_KERNELS (nothing is held then).
int nt_file_hold_any(int fd, struct nt_file **file);

// A socket is closed here. True: nobody else holds it (or ever did), end it as usual.
bool nt_share_leave(const struct nt_file *file);
// The same for one that was never used here.
void nt_share_drop(const struct nt_file *file);

#endif
