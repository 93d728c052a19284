// numbers.c: see numbers.h.

#include "libc_shim/preload/numbers.h"

#include "libc_shim/preload/file.h"
#include "libc_shim/preload/real.h"
#include "libc_shim/preload/slab.h"
#include "libc_shim/preload/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>

enum {
    CACHE_NUMBERS = 4096, // numbers below are kept; a program with more open pays for each
    CACHE_WORDS = CACHE_NUMBERS / 64,
    LIMIT_BELOW = 16384, // the kernel copies tables up to the highest number at each fork
};

_Static_assert(CACHE_WORDS == 64, "one summary word");

static struct nt_spin lock;
static uint64_t summary; // bit: the word has a bit
static uint64_t cached[CACHE_WORDS];
static bool kernel_may_be_lower;

unsigned nt_numbers_cached;
int nt_numbers_lowest = CACHE_NUMBERS;

static void find_lowest(void)
{
    int lowest = CACHE_NUMBERS;
    if (summary != 0) {
        int word = __builtin_ctzll(summary);
        lowest = word * 64 + __builtin_ctzll(cached[word]);
    }
    nt_store_relaxed(&nt_numbers_lowest, lowest);
}

static void put(int fd)
{
    unsigned number = (unsigned)fd;
    cached[number / 64] |= UINT64_C(1) << (number % 64);
    summary |= UINT64_C(1) << (number / 64);
    nt_store_relaxed(&nt_numbers_cached, nt_numbers_cached + 1);
    if (fd < nt_numbers_lowest)
        nt_store_relaxed(&nt_numbers_lowest, fd);
}

static bool remove_number(int fd)
{
    unsigned number = (unsigned)fd;
    uint64_t bit = UINT64_C(1) << (number % 64);
    if (number >= CACHE_NUMBERS || (cached[number / 64] & bit) == 0)
        return false;
    cached[number / 64] &= ~bit;
    if (cached[number / 64] == 0)
        summary &= ~(UINT64_C(1) << (number / 64));
    nt_store_relaxed(&nt_numbers_cached, nt_numbers_cached - 1);
    if (fd == nt_numbers_lowest)
        find_lowest();
    return true;
}

static int take_lowest(void)
{
    if (summary == 0)
        return -1;
    int fd = nt_numbers_lowest;
    remove_number(fd);
    return fd;
}

// The lock is not held across system calls: a number is out of the cache before it is closed.
static int new_placeholder(void)
{
    nt_thread_self()->count[NT_COUNT_KERNEL]++;
    int fd = nt_real.socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return fd >= 0 ? fd : -errno;
}

static int lowest_of_cache_or_kernel(void)
{
    int fd = new_placeholder();
    if (fd < 0 && fd != -EMFILE)
        return fd;
    nt_lock(&lock);
    if (fd >= 0 && (summary == 0 || fd < nt_numbers_lowest)) {
        nt_unlock(&lock);
        return fd;
    }
    nt_store_relaxed(&kernel_may_be_lower, false);
    int lower = take_lowest();
    if (fd >= 0 && lower >= 0 && fd < CACHE_NUMBERS) {
        nt_fd_set(fd, NT_FD_CLOSED);
        put(fd);
    } else if (lower < 0) {
        lower = fd;
    } else if (fd >= 0) {
        nt_unlock(&lock);
        nt_quiet_close(fd);
        return lower;
    }
    nt_unlock(&lock);
    return lower;
}

int nt_number_take(void)
{
    nt_lock(&lock);
    int fd = nt_load_relaxed(&kernel_may_be_lower) ? -1 : take_lowest();
    nt_unlock(&lock);
    return fd >= 0 ? fd : lowest_of_cache_or_kernel();
}

static void close_placeholder(int fd)
{
    nt_thread_self()->count[NT_COUNT_KERNEL]++;
    // First the table: once the kernel has closed it, another thread may get the number.
    nt_fd_set(fd, NULL);
    nt_quiet_close(fd);
}

void nt_number_give(int fd)
{
    if (fd <= 2 || fd >= CACHE_NUMBERS) {
        close_placeholder(fd);
        return;
    }
    nt_lock(&lock);
    put(fd);
    nt_unlock(&lock);
}

void nt_number_forget(int fd)
{
    nt_lock(&lock);
    (void)remove_number(fd);
    nt_unlock(&lock);
}

void nt_numbers_yield_some(unsigned count)
{
    while (count-- > 0) {
        nt_lock(&lock);
        int fd = take_lowest();
        nt_unlock(&lock);
        if (fd < 0)
            return;
        close_placeholder(fd);
    }
}

bool nt_numbers_flush(void)
{
    unsigned had = nt_load_relaxed(&nt_numbers_cached);
    nt_numbers_yield_some(had);
    return had != 0;
}

void nt_numbers_kernel_closed(int fd)
{
    if (fd < nt_load_relaxed(&nt_numbers_lowest))
        nt_store_relaxed(&kernel_may_be_lower, true);
}

static int own_lowest = NT_FD_MAX; // the shim's own descriptors lie in between
static int own_highest;

static int mark_own(int fd)
{
    nt_lock(&lock);
    own_lowest = fd < own_lowest ? fd : own_lowest;
    own_highest = fd > own_highest ? fd : own_highest;
    nt_unlock(&lock);
    nt_fd_set(fd, NT_FD_OURS);
    return fd;
}

int nt_number_reserve(int fd)
{
    struct rlimit limit = {.rlim_cur = 1024};
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    int below = limit.rlim_cur > LIMIT_BELOW ? LIMIT_BELOW : (int)limit.rlim_cur;
    int top = nt_real.fcntl(fd, F_DUPFD_CLOEXEC, below - below / 4);
    if (top < 0)
        return mark_own(fd);
    nt_quiet_close(fd);
    return mark_own(top);
}

void nt_number_release(int fd)
{
    nt_fd_set(fd, NULL);
    nt_quiet_close(fd);
}

void nt_numbers_before_fork(void) { nt_lock(&lock); }

void nt_numbers_after_fork(void) { nt_unlock(&lock); }

void nt_numbers_child(bool (*is_kept)(int fd))
{
    nt_spin_reset(&lock);
    nt_numbers_flush();
    for (int fd = own_lowest; fd <= own_highest; fd++)
        if (nt_fd_get(fd) == NT_FD_OURS && !is_kept(fd))
            nt_number_release(fd);
}
