// exec.c: see exec.h.

#include "libc_shim/preload/exec.h"

#include "libc_shim/preload/control.h"
#include "libc_shim/preload/share.h"
#include "libc_shim/preload/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

// What every program on a host finds in its environment; as it was when this one started.
enum { PRELOAD, CONTROL, HOST, SOCKETS, KEPT };
static const char *const kept_name[KEPT] = {
    "LD_PRELOAD=", "NEWTOS_CONTROL=", "NEWTOS_HOST=", "NEWTOS_SOCKETS="};
static const char token_name[] = "NEWTOS_TOKEN=";
static const char library[] = "libnewtos.so";

enum { KEPT_BYTES = 1024, TOKEN_BYTES = 48 };

static char kept[KEPT][KEPT_BYTES]; // "NAME=value", or empty

void nt_exec_open(void)
{
    for (int i = 0; i < KEPT; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "%.*s", (int)strlen(kept_name[i]) - 1, kept_name[i]);
        const char *value = getenv(name);
        if (value != NULL)
            (void)snprintf(kept[i], KEPT_BYTES, "%s%s", kept_name[i], value);
    }
}

static bool has_name(const char *entry, const char *name)
{
    return strncmp(entry, name, strlen(name)) == 0;
}

// The program's own entries, but for those that have to be others.
static size_t copy_entries(char **entries, char *const *environment, bool *is_there)
{
    size_t used = 0;
    for (; environment != NULL && *environment != NULL; environment++) {
        bool is_whole = has_name(*environment, kept_name[PRELOAD])
                            ? strstr(*environment, library) != NULL
                            : true;
        for (int i = 0; i < KEPT; i++)
            is_there[i] = is_there[i] || (has_name(*environment, kept_name[i]) && is_whole);
        if (is_whole && !has_name(*environment, token_name))
            entries[used++] = *environment;
    }
    return used;
}

// Memory of our own: exec may run in a child of vfork() or in a signal handler.
static void make_environment(struct nt_exec *exec, char *const *environment)
{
    size_t count = 0;
    bool is_there[KEPT] = {false};
    while (environment != NULL && environment[count] != NULL)
        count++;
    exec->bytes = (count + KEPT + 2) * sizeof(char *) + TOKEN_BYTES;
    exec->mapped =
        mmap(NULL, exec->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (exec->mapped == MAP_FAILED) {
        exec->mapped = NULL;
        return;
    }
    char **entries = exec->mapped;
    char *token = (char *)(entries + count + KEPT + 2);
    size_t used = copy_entries(entries, environment, is_there);
    for (int i = 0; i < KEPT; i++)
        if (!is_there[i] && kept[i][0] != '\0')
            entries[used++] = kept[i];
    if (exec->fd >= 0) {
        const char *kind = exec->is_token ? "token" : "door";
        (void)snprintf(token, TOKEN_BYTES, "%s%s:%d", token_name, kind, exec->fd);
        entries[used++] = token;
    }
    entries[used] = NULL;
    exec->environment = entries;
}

static void set_placeholders(bool cloexec)
{
    int highest = nt_load_relaxed(&nt_fd_highest);
    for (int fd = 0; fd <= highest; fd++) {
        const struct nt_file *file = nt_fd_get(fd);
        if (file >= NT_FD_FIRST && !nt_fd_cloexec[fd] &&
            (nt_file_may_be_shared(file) || file->kind == NT_FILE_PUMPED))
            (void)nt_real.fcntl(fd, F_SETFD, cloexec ? (void *)FD_CLOEXEC : NULL);
    }
}

void nt_exec_prepare(struct nt_exec *exec, char *const *environment, bool all)
{
    int saved = errno;
    struct nt_thread *self;
    memset(exec, 0, sizeof *exec);
    memcpy(&exec->environment, &environment, sizeof(char *const *));
    exec->fd = -1;
    if (nt_fd_limit == 0)
        return;
    self = nt_enter();
    set_placeholders(false);
    if (nt_share_holds_any()) {
        exec->fd = nt_share_token_for_exec(all);
        exec->is_token = exec->fd >= 0;
    } else {
        exec->fd = nt_control_door();
    }
    make_environment(exec, environment);
    if (exec->fd >= 0)
        (void)nt_real.fcntl(exec->fd, F_SETFD, NULL);
    errno = saved;
    nt_leave(self);
}

void nt_exec_undo(struct nt_exec *exec)
{
    int saved = errno;
    if (nt_fd_limit != 0) {
        struct nt_thread *self = nt_enter();
        set_placeholders(true);
        nt_leave(self);
    }
    if (exec->fd >= 0) {
        if (exec->is_token)
            nt_real.close(exec->fd);
        else
            (void)nt_real.fcntl(exec->fd, F_SETFD, (void *)FD_CLOEXEC);
    }
    if (exec->mapped != NULL)
        (void)munmap(exec->mapped, exec->bytes);
    errno = saved;
}

void nt_exec_mark(int fd)
{
    struct nt_thread *self = nt_enter();
    struct nt_file *file = nt_file_hold(fd);
    if (file != NULL) {
        file->goes_along = 1;
        nt_file_drop(file);
    }
    nt_leave(self);
}
