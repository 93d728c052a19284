// exec.c: see exec.h.

#include "libc_shim/preload/exec.h"

#include "libc_shim/preload/control.h"
#include "libc_shim/preload/share.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

static const char name[] = "NEWTOS_TOKEN=";
static const char host_name[] = "NEWTOS_CONTROL=";

enum { ENTRY_BYTES = 48 };

static bool is_entry(const char *entry, const char *wanted, size_t length)
{
    return strncmp(entry, wanted, length) == 0;
}

static bool is_on_host(char *const environment[])
{
    for (; environment != NULL && *environment != NULL; environment++)
        if (is_entry(*environment, host_name, sizeof host_name - 1))
            return true;
    return false;
}

// Memory of our own: exec may run in a child of vfork() or in a signal handler.
static void add_entry(struct nt_exec *exec, char *const environment[])
{
    size_t count = 0;
    while (environment[count] != NULL)
        count++;
    exec->bytes = (count + 2) * sizeof(char *) + ENTRY_BYTES;
    exec->mapped =
        mmap(NULL, exec->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (exec->mapped == MAP_FAILED) {
        exec->mapped = NULL;
        return;
    }
    char **entries = exec->mapped;
    char *own = (char *)(entries + count + 2);
    size_t used = 0;
    for (size_t i = 0; i < count; i++)
        if (!is_entry(environment[i], name, sizeof name - 1))
            entries[used++] = environment[i];
    (void)snprintf(own, ENTRY_BYTES, "%s%s:%d", name, exec->is_token ? "token" : "door", exec->fd);
    entries[used++] = own;
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
    memset(exec, 0, sizeof *exec);
    memcpy(&exec->environment, &environment, sizeof(char *const *));
    exec->fd = -1;
    if (nt_fd_limit == 0)
        return;
    set_placeholders(false);
    if (!is_on_host(environment)) {
        errno = saved;
        return;
    }
    if (nt_share_holds_any()) {
        exec->fd = nt_share_token_for_exec(all);
        exec->is_token = exec->fd >= 0;
    } else {
        exec->fd = nt_control_door();
    }
    if (exec->fd >= 0) {
        add_entry(exec, environment);
        (void)nt_real.fcntl(exec->fd, F_SETFD, NULL);
    }
    errno = saved;
}

void nt_exec_undo(struct nt_exec *exec)
{
    int saved = errno;
    if (nt_fd_limit != 0)
        set_placeholders(true);
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
    struct nt_file *file = nt_file_hold(fd);
    if (file == NULL)
        return;
    file->goes_along = 1;
    nt_file_drop(file);
}
