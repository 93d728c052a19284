// shell.c: see shell.h.

#include "libc_shim/preload/shell.h"

#include "libc_shim/preload/real.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>

// SIGINT and SIGQUIT are ignored while any thread waits for a shell.
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned waiting;
static struct sigaction interrupt_before, quit_before;

struct shell {
    pid_t pid; // 0: none
    sigset_t mask_before;
};

// Which of both a shell gets back their default action.
static void ignore_signals(sigset_t *defaults)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigemptyset(defaults);
    (void)pthread_mutex_lock(&lock);
    if (waiting++ == 0) {
        (void)nt_real.sigaction(SIGINT, &ignore, &interrupt_before);
        (void)nt_real.sigaction(SIGQUIT, &ignore, &quit_before);
    }
    if (interrupt_before.sa_handler != SIG_IGN)
        sigaddset(defaults, SIGINT);
    if (quit_before.sa_handler != SIG_IGN)
        sigaddset(defaults, SIGQUIT);
    (void)pthread_mutex_unlock(&lock);
}

static void restore_signals(const struct shell *shell)
{
    (void)pthread_mutex_lock(&lock);
    if (--waiting == 0) {
        (void)nt_real.sigaction(SIGINT, &interrupt_before, NULL);
        (void)nt_real.sigaction(SIGQUIT, &quit_before, NULL);
    }
    (void)pthread_mutex_unlock(&lock);
    (void)pthread_sigmask(SIG_SETMASK, &shell->mask_before, NULL);
}

static int wait_for_end(pid_t pid)
{
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -1;
    return status;
}

static void cancelled(void *arg)
{
    const struct shell *shell = arg;
    (void)kill(shell->pid, SIGKILL);
    (void)wait_for_end(shell->pid);
    restore_signals(shell);
}

static int start(struct shell *shell, const char *command, char *const environment[],
                 const sigset_t *defaults)
{
    char name[] = "sh", option[] = "-c";
    char *argv[] = {name, option, NULL, NULL};
    posix_spawnattr_t attr;
    memcpy(&argv[2], &command, sizeof command);
    int error = posix_spawnattr_init(&attr);
    if (error != 0)
        return error;
    (void)posix_spawnattr_setsigmask(&attr, &shell->mask_before);
    (void)posix_spawnattr_setsigdefault(&attr, defaults);
    (void)posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    error = nt_real.posix_spawn(&shell->pid, "/bin/sh", NULL, &attr, argv, environment);
    (void)posix_spawnattr_destroy(&attr);
    return error;
}

int nt_shell_run(const char *command, char *const environment[])
{
    enum { NO_SHELL = 127 << 8 }; // what a shell that cannot be executed ends with
    struct shell shell = {.pid = 0};
    sigset_t child, defaults;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    (void)pthread_sigmask(SIG_BLOCK, &child, &shell.mask_before);
    ignore_signals(&defaults);
    int status = NO_SHELL;
    if (start(&shell, command, environment, &defaults) == 0) {
        pthread_cleanup_push(cancelled, &shell);
        status = wait_for_end(shell.pid);
        pthread_cleanup_pop(0);
    }
    int saved = errno;
    restore_signals(&shell);
    errno = saved;
    return status;
}
