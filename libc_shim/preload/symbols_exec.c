// symbols_exec.c: the interposed symbols that start another program. See symbols.h.

#include "libc_shim/preload/exec.h"
#include "libc_shim/preload/shell.h"
#include "libc_shim/preload/symbols.h"

#include <alloca.h>
#include <pthread.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

static int exec_path(const char *path, char *const argv[], char *const env[])
{
    struct nt_exec exec;
    nt_exec_prepare(&exec, env, false);
    int failed = nt_real.execve(path, argv, exec.environment);
    nt_exec_undo(&exec);
    return failed;
}

static int exec_file(const char *file, char *const argv[], char *const env[])
{
    struct nt_exec exec;
    nt_exec_prepare(&exec, env, false);
    int failed = nt_real.execvpe(file, argv, exec.environment);
    nt_exec_undo(&exec);
    return failed;
}

NT_SYMBOL(int, execve, (const char *path, char *const argv[], char *const env[]))
{
    return exec_path(path, argv, env);
}
NT_SYMBOL(int, execv, (const char *path, char *const argv[]))
{
    return exec_path(path, argv, environ);
}
NT_SYMBOL(int, execvpe, (const char *file, char *const argv[], char *const env[]))
{
    return exec_file(file, argv, env);
}
NT_SYMBOL(int, execvp, (const char *file, char *const argv[]))
{
    return exec_file(file, argv, environ);
}
NT_SYMBOL(int, fexecve, (int fd, char *const argv[], char *const env[]))
{
    struct nt_exec exec;
    nt_exec_prepare(&exec, env, false);
    int failed = nt_real.fexecve(fd, argv, exec.environment);
    nt_exec_undo(&exec);
    return failed;
}

// The arguments up to NULL, as an array; `args` stands behind it.
// NOLINTBEGIN(clang-analyzer-valist.Uninitialized): clang 14
#define NT_ARGUMENTS(array, args, first)                                \
    va_list args;                                                       \
    size_t array##_count = 1;                                           \
    va_start(args, first);                                              \
    while (va_arg(args, char *) != NULL)                                \
        array##_count++;                                                \
    va_end(args);                                                       \
    char **(array) = alloca((array##_count + 1) * sizeof(char *));      \
    memcpy(&(array)[0], &(first), sizeof(char *));                      \
    va_start(args, first);                                              \
    for (size_t array##_i = 1; array##_i <= array##_count; array##_i++) \
        (array)[array##_i] = va_arg(args, char *);

NT_SYMBOL(int, execl, (const char *path, const char *first, ...))
{
    NT_ARGUMENTS(argv, args, first)
    va_end(args);
    return exec_path(path, argv, environ);
}
NT_SYMBOL(int, execlp, (const char *file, const char *first, ...))
{
    NT_ARGUMENTS(argv, args, first)
    va_end(args);
    return exec_file(file, argv, environ);
}
NT_SYMBOL(int, execle, (const char *path, const char *first, ...))
{
    NT_ARGUMENTS(argv, args, first)
    char *const *env = va_arg(args, char *const *);
    va_end(args);
    return exec_path(path, argv, env);
}
// NOLINTEND(clang-analyzer-valist.Uninitialized)

// -- Children that libc makes -----------------------------------------------------------------

NT_SYMBOL(int, posix_spawn,
          (pid_t * pid, const char *path, const posix_spawn_file_actions_t *actions,
           const posix_spawnattr_t *attr, char *const argv[], char *const env[]))
{
    struct nt_exec exec;
    nt_exec_prepare(&exec, env, true);
    int error = nt_real.posix_spawn(pid, path, actions, attr, argv, exec.environment);
    nt_exec_undo(&exec);
    return error;
}
NT_SYMBOL(int, posix_spawnp,
          (pid_t * pid, const char *file, const posix_spawn_file_actions_t *actions,
           const posix_spawnattr_t *attr, char *const argv[], char *const env[]))
{
    struct nt_exec exec;
    nt_exec_prepare(&exec, env, true);
    int error = nt_real.posix_spawnp(pid, file, actions, attr, argv, exec.environment);
    nt_exec_undo(&exec);
    return error;
}
NT_SYMBOL(int, posix_spawn_file_actions_adddup2,
          (posix_spawn_file_actions_t * actions, int fd, int to))
{
    if (!nt_fd_is_kernel(fd))
        nt_exec_mark(fd);
    return nt_real.posix_spawn_file_actions_adddup2(actions, fd, to);
}

NT_SYMBOL(int, system, (const char *command))
{
    struct nt_exec exec;
    if (command == NULL || nt_fd_limit == 0)
        return nt_real.system(command);
    nt_exec_prepare(&exec, environ, false);
    int status = nt_shell_run(command, exec.environment);
    nt_exec_undo(&exec);
    return status;
}
// It takes the environment that there is. Other threads may see it meanwhile, and keep parts of it
// (setenv()): then it stays mapped.
NT_SYMBOL(FILE *, popen, (const char *command, const char *mode))
{
    static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
    struct nt_exec exec;
    if (nt_fd_limit == 0)
        return nt_real.popen(command, mode);
    (void)pthread_mutex_lock(&one_at_a_time);
    char **before = environ;
    nt_exec_prepare(&exec, before, false);
    environ = exec.environment;
    FILE *file = nt_real.popen(command, mode);
    bool is_seen = !__libc_single_threaded || environ != exec.environment;
    if (environ == exec.environment)
        environ = before;
    if (is_seen)
        exec.mapped = NULL;
    nt_exec_undo(&exec);
    (void)pthread_mutex_unlock(&one_at_a_time);
    return file;
}
