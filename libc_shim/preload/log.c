// log.c: see log.h.

#include "libc_shim/preload/log.h"

#include "libc_shim/preload/numbers.h"
#include "libc_shim/preload/real.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int nt_log_level = NT_LOG_WARN;

static int log_fd = -1; // of a file of our own; -1: standard error
static dev_t stderr_device;
static ino_t stderr_inode;
static bool is_full;

static void parse_level(char *place)
{
    static const char *const names[] = {"error", "warn", "debug"};
    char *comma = strrchr(place, ',');
    if (comma == NULL)
        return;
    for (int level = NT_LOG_ERROR; level <= NT_LOG_DEBUG; level++) {
        if (strcmp(comma + 1, names[level]) == 0) {
            nt_log_level = level;
            *comma = '\0';
            return;
        }
    }
}

void nt_log_open(void)
{
    struct stat st;
    if (nt_real.fstat(2, &st) == 0) {
        stderr_device = st.st_dev;
        stderr_inode = st.st_ino;
    }
    const char *wanted = getenv("NEWTOS_LOG");
    if (wanted == NULL || *wanted == '\0')
        return;
    char place[512];
    if (strlen(wanted) >= sizeof place)
        return;
    memcpy(place, wanted, strlen(wanted) + 1);
    nt_log_level = NT_LOG_DEBUG;
    parse_level(place);
    if (strcmp(place, "stderr") == 0)
        return;
    int fd = nt_real.open(place, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);
    if (fd < 0) {
        nt_log(NT_LOG_WARN, "NEWTOS_LOG: cannot open %s: %s", place, strerror(errno));
        return;
    }
    log_fd = nt_number_reserve(fd);
}

int nt_log_descriptor(void) { return log_fd; }

static int where(void)
{
    struct stat st;
    if (log_fd >= 0)
        return log_fd;
    bool same =
        nt_real.fstat(2, &st) == 0 && st.st_dev == stderr_device && st.st_ino == stderr_inode;
    return same ? 2 : -1;
}

// A program may have limited the size of its files, to 0 even: a line too many must not end it.
// Then there are no more.
static void write_line(int fd, const char *line, size_t bytes)
{
    sigset_t only, before;
    sigemptyset(&only);
    sigaddset(&only, SIGXFSZ);
    (void)pthread_sigmask(SIG_BLOCK, &only, &before);
    if (nt_real.write(fd, line, bytes) < 0 && errno == EFBIG) {
        is_full = true;
        if (!sigismember(&before, SIGXFSZ))
            (void)sigtimedwait(&only, NULL, &(struct timespec){0});
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void nt_log_write(enum nt_log_level level, const char *format, ...)
{
    static const char *const names[] = {"error", "warning", "debug"};
    int saved = errno;
    int fd = where();
    char line[512];
    int used = snprintf(line, sizeof line, "newtos: %s[%d]: %s: ", program_invocation_short_name,
                        (int)getpid(), names[level]);
    va_list args;
    va_start(args, format);
    if (used > 0 && used < (int)sizeof line - 1)
        // NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): clang 14 is wrong about va_start
        used += vsnprintf(line + used, sizeof line - 1 - (size_t)used, format, args);
    va_end(args);
    if (used > (int)sizeof line - 2)
        used = (int)sizeof line - 2;
    line[used] = '\n';
    if (fd >= 0 && !is_full)
        write_line(fd, line, (size_t)used + 1);
    errno = saved;
}
