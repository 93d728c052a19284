// numbers.h: descriptor numbers of newtos sockets, which are real.
//
// Each number of a newtos socket is held in the kernel by a placeholder, an unconnected AF_UNIX
// socket: the kernel gives it to nobody else, stray I/O behind the shim fails cleanly (ENOTCONN),
// fstat says that it is a socket. Placeholders are close-on-exec in the kernel, whatever the
// program asked for: what it asked for stands in the table (file.h), and behind exec a newtos
// socket would be no more than its placeholder.
//
// Making and closing a placeholder costs two system calls, so numbers that the program has closed
// are kept, with their placeholder, for the next accept or socket. That nobody notices:
//   - they answer EBADF meanwhile (NT_FD_CLOSED in the table), and 0-2 are never kept;
//   - the program gets the lowest number: from the cache, unless the kernel may have a lower one
//     (a kernel descriptor below was closed), which is then asked;
//   - before a call by which the kernel gives out numbers (open, pipe, dup, ...), as many cached
//     ones are closed, lowest first (nt_numbers_yield);
//   - at EMFILE all are closed, and the call tried again.
//
// The shim's own descriptors are moved to the top quarter of the numbers that are allowed and
// marked NT_FD_OURS: close, dup2 and close_range on them answer EBADF, as they do above the limit.
#ifndef NT_PRELOAD_NUMBERS_H
#define NT_PRELOAD_NUMBERS_H

#include <stdbool.h>

// The lowest free number, with a placeholder; or -EMFILE, -ENFILE. Its table entry is the caller's
// to set.
int nt_number_take(void);
// A number that the program has closed, its table entry already NT_FD_CLOSED.
void nt_number_give(int fd);
// The program puts something else at a number that was closed: it is cached no longer, but open.
void nt_number_forget(int fd);

void nt_numbers_yield_some(unsigned count);
extern unsigned nt_numbers_cached; // how many there are
extern int nt_numbers_lowest;      // none of the cached is below

// To be called before the kernel gives out `count` numbers.
static inline void nt_numbers_yield(unsigned count)
{
    if (__atomic_load_n(&nt_numbers_cached, __ATOMIC_RELAXED) != 0)
        nt_numbers_yield_some(count);
}
// After EMFILE: true if there is something to try again for.
bool nt_numbers_flush(void);
// A kernel descriptor was closed: the kernel may now have a number below the cached ones.
void nt_numbers_kernel_closed(int fd);

// Moves a new descriptor of the shim's own to the top; its number there (the same if that fails).
int nt_number_reserve(int fd);
void nt_number_release(int fd);

// Around fork(). The child closes what is cached, and the shim's own descriptors but those kept.
void nt_numbers_before_fork(void);
void nt_numbers_after_fork(void);
void nt_numbers_child(bool (*is_kept)(int fd));

#endif
