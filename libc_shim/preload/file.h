// file.h: what a descriptor number stands for.
//
// The table maps each number to an open file description of ours (struct nt_file), or says that the
// number is the kernel's (NULL), one of the shim's own, or one that the program has closed and that
// is kept for later (numbers.h). It is read without a lock. Numbers that dup() made share a
// description.
//
// A description lives as long as a number or a call in progress refers to it: a close in one thread
// while another blocks on the socket ends it when that call is over, as on Linux. Descriptions come
// from a slab, so a look at one that was just freed by another thread is a look at `refs` that says
// so; nt_file_hold() then looks at the table again. Where the program has one thread only
// (__libc_single_threaded), counting needs no atomic operation.
//
// Epoll descriptors have a description too, made when they are created; the kernel's epoll instance
// stays behind their number.
#ifndef NT_PRELOAD_FILE_H
#define NT_PRELOAD_FILE_H

#include "libc_shim/preload/real.h"
#include "libc_shim/sockets/socket.h"

#include <sys/single_threaded.h>

struct nt_watch;
struct nt_epoll;

enum nt_file_kind {
    NT_FILE_FREE = 0,
    NT_FILE_SOCKET = 1,
    NT_FILE_EPOLL = 2,
    NT_FILE_INHERITED =
        3,              // a newtos socket that came over fork() and was not used so far (share.h)
    NT_FILE_LENT = 4,   // a socket as NT_FILE_SOCKET, but other processes may hold it, too
    NT_FILE_PUMPED = 5, // its numbers are the kernel's now
};

struct nt_file {
    struct nt_sock sock; // of a socket; `user` points back to the file
    // What the hot path reads beside it.
    uint32_t refs;
    uint8_t kind; // enum nt_file_kind
    uint8_t nonblocking;
    uint8_t shared; // it is in the event queue of all (watch.h)
    struct nt_spin watch_lock;
    struct nt_watch *watches; // who waits for it
    struct nt_epoll *epoll;
    struct nt_listener listener;
    uint64_t inode;               // of its placeholder, once the syscall server knows it; else 0
    uint8_t several_placeholders; // numbers of one inode: none may be kept for another socket
    uint8_t goes_along;           // posix_spawn duplicates it (exec.h)
    struct nt_file *next_free;
} NT_ALIGNED(64);

enum {
    NT_FD_MAX = 1 << 20, // numbers above are always the kernel's
};

#define NT_FD_OURS   ((struct nt_file *)1)
#define NT_FD_CLOSED ((struct nt_file *)2)
#define NT_FD_FIRST  ((struct nt_file *)64) // pointers from here on are descriptions

extern struct nt_file **nt_fd_table;
extern uint8_t *nt_fd_cloexec; // as the program asked, by number
extern unsigned nt_fd_limit;   // 0: the shim does nothing

extern int nt_fd_highest; // no description stands above

// Makes the table; called once. False: no memory.
bool nt_fd_open(void);

static inline struct nt_file *nt_fd_get(int fd)
{
    if (NT_UNLIKELY((unsigned)fd >= nt_fd_limit))
        return NULL;
    return nt_load_acquire(&nt_fd_table[fd]);
}
static inline void nt_fd_set(int fd, struct nt_file *file)
{
    if ((unsigned)fd < nt_fd_limit)
        nt_store_release(&nt_fd_table[fd], file);
}
static inline bool nt_fd_is_kernel(int fd) { return NT_LIKELY(nt_fd_get(fd) == NULL); }

// A description appears at a number that nt_number_take() gave, or that the kernel did.
void nt_fd_install(int fd, struct nt_file *file, bool cloexec);

// A new description with one reference, the caller's. NULL: no memory.
struct nt_file *nt_file_new(enum nt_file_kind kind);
// The last reference is gone: ends what the description stands for.
void nt_file_end(struct nt_file *file);

// The description behind `fd`, for the time of a call; NULL if there is none (EBADF).
static inline struct nt_file *nt_file_hold(int fd)
{
    for (;;) {
        struct nt_file *file = nt_fd_get(fd);
        if (file < NT_FD_FIRST)
            return NULL;
        if (NT_LIKELY(__libc_single_threaded)) {
            file->refs++;
            return file;
        }
        uint32_t refs = nt_load_relaxed(&file->refs);
        if (refs == 0 || !__atomic_compare_exchange_n(&file->refs, &refs, refs + 1, true,
                                                      __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
            continue;
        if (NT_LIKELY(nt_fd_get(fd) == file))
            return file;
        if (__atomic_sub_fetch(&file->refs, 1, __ATOMIC_ACQ_REL) == 0)
            nt_file_end(file);
    }
}
static inline void nt_file_drop(struct nt_file *file)
{
    uint32_t left = __libc_single_threaded ? --file->refs
                                           : __atomic_sub_fetch(&file->refs, 1, __ATOMIC_ACQ_REL);
    if (NT_UNLIKELY(left == 0))
        nt_file_end(file);
}

// close(2) of a number that is not the kernel's: 0, or -EBADF.
int nt_file_close(int fd);
// Lets go of what stands at `fd`, whose number stays open because something else is put there.
void nt_file_replace(int fd, struct nt_file *file, bool cloexec);

static inline bool nt_file_is_socket(const struct nt_file *file)
{
    return file->kind == NT_FILE_SOCKET || file->kind == NT_FILE_LENT;
}

static inline bool nt_file_may_be_shared(const struct nt_file *file)
{
    return nt_file_is_socket(file) || file->kind == NT_FILE_INHERITED;
}

// In a child of fork(): sockets become NT_FILE_INHERITED, epoll instances lose theirs.
void nt_files_child(void);

#endif
