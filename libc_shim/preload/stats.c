// stats.c: see stats.h.

#include "libc_shim/preload/stats.h"

#include "libc_shim/preload/log.h"
#include "libc_shim/preload/real.h"
#include "libc_shim/preload/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char stats_path[512]; // empty: not wanted
static bool written;

void nt_stats_open(void)
{
    const char *path = getenv("NEWTOS_STATS");
    if (path != NULL && strlen(path) < sizeof stats_path)
        memcpy(stats_path, path, strlen(path) + 1);
}

void nt_stats_child(void) { written = false; }

static uint64_t total(enum nt_count what) { return nt_thread_total(what); }

void nt_stats_write(void)
{
    if (stats_path[0] == '\0' || written)
        return;
    written = true;
    uint64_t user = total(NT_COUNT_USER);
    uint64_t others = total(NT_COUNT_SERVER) + total(NT_COUNT_KERNEL);
    char line[1024];
    int used = snprintf(
        line, sizeof line,
        "{\"program\": \"%s\", \"pid\": %d, \"user_space_calls\": %" PRIu64
        ", \"server_calls\": %" PRIu64 ", \"kernel_calls\": %" PRIu64 ", \"blocks\": %" PRIu64
        ", \"rings\": %" PRIu64 ", \"yields\": %" PRIu64 ", \"accepts\": %" PRIu64
        ", \"connects\": %" PRIu64 ", \"empty_accepts\": %" PRIu64 ", \"reads\": %" PRIu64
        ", \"empty_reads\": %" PRIu64 ", \"waits\": %" PRIu64 ", \"user_space_share\": %.6f}\n",
        program_invocation_short_name, (int)getpid(), user, total(NT_COUNT_SERVER),
        total(NT_COUNT_KERNEL), total(NT_COUNT_BLOCK), total(NT_COUNT_RING), total(NT_COUNT_YIELD),
        total(NT_COUNT_ACCEPT), total(NT_COUNT_CONNECT), total(NT_COUNT_ACCEPT_EMPTY),
        total(NT_COUNT_READ), total(NT_COUNT_READ_EMPTY), total(NT_COUNT_WAIT),
        user + others == 0 ? 0.0 : (double)user / (double)(user + others));
    int fd = nt_real.open(stats_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);
    if (fd < 0) {
        nt_log(NT_LOG_WARN, "NEWTOS_STATS: cannot open %s: %s", stats_path, strerror(errno));
        return;
    }
    if (used > 0)
        (void)!nt_real.write(fd, line, (size_t)used);
    nt_real.close(fd);
}
