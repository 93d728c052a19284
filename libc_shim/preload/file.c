// file.c: see file.h.

#include "libc_shim/preload/file.h"

#include "libc_shim/preload/connection.h"
#include "libc_shim/preload/epoll.h"
#include "libc_shim/preload/listening.h"
#include "libc_shim/preload/numbers.h"
#include "libc_shim/preload/share.h"
#include "libc_shim/preload/slab.h"
#include "libc_shim/preload/stdio.h"
#include "libc_shim/preload/watch.h"

#include <errno.h>
#include <sys/mman.h>

struct nt_file **nt_fd_table;
uint8_t *nt_fd_cloexec;
unsigned nt_fd_limit;
int nt_fd_highest;

static struct nt_slab slab = NT_SLAB(struct nt_file, next_free);

static void *map_zeros(size_t bytes)
{
    void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return base == MAP_FAILED ? NULL : base;
}

bool nt_fd_open(void)
{
    nt_fd_table = map_zeros(NT_FD_MAX * sizeof(void *));
    nt_fd_cloexec = map_zeros(NT_FD_MAX);
    if (nt_fd_table == NULL || nt_fd_cloexec == NULL)
        return false;
    nt_store_release(&nt_fd_limit, (unsigned)NT_FD_MAX);
    return true;
}

static void note_highest(int fd)
{
    int highest = nt_load_relaxed(&nt_fd_highest);
    while (fd > highest && !__atomic_compare_exchange_n(&nt_fd_highest, &highest, fd, true,
                                                        __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
}

void nt_fd_install(int fd, struct nt_file *file, bool cloexec)
{
    note_highest(fd);
    nt_fd_cloexec[fd] = cloexec;
    nt_fd_set(fd, file);
    nt_stdio_follow(fd);
}

struct nt_file *nt_file_new(enum nt_file_kind kind)
{
    struct nt_file *file = nt_slab_take(&slab);
    if (file == NULL)
        return NULL;
    file->kind = (uint8_t)kind;
    file->nonblocking = 0;
    file->shared = 0;
    nt_store_relaxed(&file->watches, (struct nt_watch *)NULL);
    file->epoll = NULL;
    file->inode = 0;
    file->several_placeholders = 0;
    file->goes_along = 0;
    file->sock.user = file;
    nt_store_release(&file->refs, 1u);
    return file;
}

void nt_file_end(struct nt_file *file)
{
    nt_watch_drop_file(file);
    switch ((enum nt_file_kind)file->kind) {
    case NT_FILE_SOCKET:
    case NT_FILE_LENT:
        nt_connection_end(file);
        break;
    case NT_FILE_EPOLL:
        nt_epoll_end(file);
        break;
    case NT_FILE_INHERITED:
        nt_share_drop(file);
        break;
    case NT_FILE_PUMPED:
    case NT_FILE_FREE:
        break;
    }
    file->kind = NT_FILE_FREE;
    nt_slab_give(&slab, file);
}

int nt_file_close(int fd)
{
    struct nt_file *file = nt_fd_get(fd);
    do {
        if (file < NT_FD_FIRST)
            return -EBADF;
    } while (!__atomic_compare_exchange_n(&nt_fd_table[fd], &file, NT_FD_CLOSED, false,
                                          __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
    if (file->kind == NT_FILE_EPOLL)
        nt_epoll_keep(file, fd);
    // A number that other processes have as well, or that shares its placeholder, is not kept: what
    // stood there next would have the same inode.
    if (file->kind == NT_FILE_EPOLL || file->inode != 0 || file->several_placeholders) {
        nt_fd_set(fd, NULL);
        nt_real.close(fd);
        nt_numbers_kernel_closed(fd);
    } else {
        nt_number_give(fd);
    }
    nt_file_drop(file);
    nt_stdio_follow(fd);
    return 0;
}

void nt_file_replace(int fd, struct nt_file *file, bool cloexec)
{
    if ((unsigned)fd >= nt_fd_limit)
        return;
    note_highest(fd);
    nt_fd_cloexec[fd] = cloexec;
    struct nt_file *old = __atomic_exchange_n(&nt_fd_table[fd], file, __ATOMIC_ACQ_REL);
    if (old == NT_FD_CLOSED)
        nt_number_forget(fd);
    else if (old >= NT_FD_FIRST)
        nt_file_drop(old);
    nt_stdio_follow(fd);
}

void nt_files_child(void)
{
    nt_slab_child(&slab);
    nt_listening_child_all();
    for (int fd = 0; nt_fd_limit != 0 && fd <= nt_fd_highest; fd++) {
        struct nt_file *file = nt_fd_table[fd];
        if (file < NT_FD_FIRST)
            continue;
        nt_spin_reset(&file->watch_lock);
        file->watches = NULL;
        file->shared = 0;
        if (nt_file_may_be_shared(file)) {
            nt_listening_child(file);
            nt_sock_child(&file->sock);
            file->kind = NT_FILE_INHERITED;
        } else if (file->kind == NT_FILE_EPOLL) {
            nt_epoll_child(file);
        }
    }
}
