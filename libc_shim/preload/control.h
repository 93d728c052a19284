// control.h: the connection to the host's syscall server (newtos_py/kernel/control.h).
//
// Made when the shim is loaded and kept, so that it works after setuid, chroot and seccomp. A child
// of fork() finds a connection of its own, the token (share.h), or, of a parent without sockets,
// the parent's: through that *door* it hands in its own when it first needs one. So admission, once
// given, is inherited. One request at a time: a mutex stands around it.
// The reincarnation server keeps the other end open over a restart of the syscall server; what that
// had read but not answered is sent again after a while, with the same number, which it knows.
#ifndef NT_PRELOAD_CONTROL_H
#define NT_PRELOAD_CONTROL_H

#include "newtos_py/kernel/control.h"

enum {
    NT_CONTROL_RETRY_MS = 300, // longer than a restart of the syscall server
    NT_CONTROL_TRIES = 30,
};

struct nt_control_call {
    struct nt_control_message message; // request, then reply
    int shown_count;                   // beside the request, first; the caller's
    int shown[NT_TOKEN_NEW_MAX];
    int send_fd;             // after them; -1: none
    int list_fd;             // the same, after it
    int fd_count;            // beside the reply
    int fds[NT_CTL_FDS_MAX]; // close-on-exec; the caller's
};

// True if NEWTOS_CONTROL is set: only then is any of this used.
bool nt_control_configured(void);
// Connects and says hello; 0 or -ENETDOWN.
int nt_control_open(void);
void nt_control_prepare(struct nt_control_call *call, enum nt_control_kind kind);
// Sends the request and waits for the reply: 0, the error that the server named (negative),
// -ENETDOWN if the host is gone, which is logged once, -EMFILE or -ENFILE where it takes no more
// processes, or -ETIMEDOUT.
int nt_control_do(struct nt_control_call *call);

// The descriptor through which another process of this program's may hand in a connection of its
// own; -1: none. It stays ours.
int nt_control_door(void);
// True if this process came by exec with a connection of its own that may hold sockets.
bool nt_control_has_token(void);

// A connection to be handed in with a TOKEN: pair[1] is for the syscall server, which is told by
// the kernel who speaks through pair[0]. As socketpair(2).
int nt_control_token_pair(int pair[2]);

// Sends a message that has no reply (its number is 0): 0, -ENETDOWN, or -EBADF: a descriptor beside
// it was closed meanwhile, and nothing was sent.
int nt_control_tell(struct nt_control_call *call);

// The host's end was closed, and what used it was told: every newtos socket is broken from now on.
extern bool nt_host_gone;
// What to watch for that, with POLLRDHUP; -1: nothing any more.
int nt_control_descriptor(void);
// It was so: sets nt_host_gone, and says so.
void nt_control_hung_up(void);

// Around fork(): nobody else's request is under way; the child starts over, with its token (-1:
// none). nt_control_is_kept(): a descriptor that the child needs.
void nt_control_before_fork(void);
void nt_control_after_fork(void);
void nt_control_child(int token);
bool nt_control_is_kept(int fd);

#endif
