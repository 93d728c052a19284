// exec.h: what goes along to the next program: exec, posix_spawn, system, popen.
//
// Sockets that are not close-on-exec keep their placeholders; the next image's shim learns from the
// syscall server which sockets these are (share.h). It finds its control connection by
// NEWTOS_TOKEN in its environment:
//
//     NEWTOS_TOKEN=token:N   its own, which holds the sockets that came along
//     NEWTOS_TOKEN=door:N    one through which it may hand in its own (control.h): nothing came
//
// So it is admitted whatever user it has become. A program's children are on its host, as they
// would be in its network namespace: what a program takes out of their environment (inetd and sshd
// clean it) is put back: LD_PRELOAD, NEWTOS_CONTROL, NEWTOS_HOST.
#ifndef NT_PRELOAD_EXEC_H
#define NT_PRELOAD_EXEC_H

#include <stdbool.h>

struct nt_exec {
    int fd;              // that stays open; -1: none
    bool is_token;       // ours to close
    char **environment;  // to hand over
    void *mapped;        // it, if it is not the program's own
    unsigned long bytes; // of `mapped`
};

// Remembers the environment that this program found.
void nt_exec_open(void);

// Before: opens what goes along. `all`: any socket may, as posix_spawn's actions say; else those
// that are not close-on-exec.
void nt_exec_prepare(struct nt_exec *exec, char *const *environment, bool all);
// Afterwards, where this program goes on.
void nt_exec_undo(struct nt_exec *exec);

// posix_spawn will duplicate this number.
void nt_exec_mark(int fd);

#endif
