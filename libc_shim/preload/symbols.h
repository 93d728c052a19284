// symbols.h: how the interposed libc symbols are written: one line each, by these macros.
//
// A symbol looks at what its descriptor is and passes on, to libc's own function or to ours; what
// ours do stands elsewhere. The C name differs from the symbol's, so that libc's headers, with
// their transparent unions and attributes, don't object to our definitions.
#ifndef NT_PRELOAD_SYMBOLS_H
#define NT_PRELOAD_SYMBOLS_H

#include "libc_shim/preload/file.h"
#include "libc_shim/preload/numbers.h"
#include "libc_shim/preload/real.h"
#include "libc_shim/preload/share.h"
#include "libc_shim/preload/signals.h"

#include <errno.h>

#define NT_SYMBOL(type, name, parameters)                                                   \
    __attribute__((visibility("default"))) type nt_symbol_##name parameters __asm__(#name); \
    type nt_symbol_##name parameters

// Ours answer -errno; a program wants -1 and errno.
static inline long nt_answer(long result)
{
    if (NT_LIKELY(result >= 0))
        return result;
    errno = (int)-result;
    return -1;
}

// Ours, with signals kept out (signals.h).
#define NT_OURS(call)                          \
    ({                                         \
        struct nt_thread *caller = nt_enter(); \
        long ours_result = (call);             \
        nt_leave(caller);                      \
        nt_answer(ours_result);                \
    })

// The same, but NT_IS_KERNELS (share.h) where the call found that its descriptor is the kernel's.
#define NT_OURS_OR_KERNELS(call)                                               \
    ({                                                                         \
        struct nt_thread *caller = nt_enter();                                 \
        long ours_result = (call);                                             \
        nt_leave(caller);                                                      \
        ours_result == NT_IS_KERNELS ? NT_IS_KERNELS : nt_answer(ours_result); \
    })

// The same for those that answer in a way of their own.
#define NT_PLAIN(call)                         \
    ({                                         \
        struct nt_thread *caller = nt_enter(); \
        __typeof__(call) ours_result = (call); \
        nt_leave(caller);                      \
        ours_result;                           \
    })

// A call on `fd`: libc's if it is the kernel's.
#define NT_ON_FD(type, name, parameters, arguments, ours) \
    NT_SYMBOL(type, name, parameters)                     \
    {                                                     \
        if (!nt_fd_is_kernel(fd)) {                       \
            long on_ours = NT_OURS_OR_KERNELS(ours);      \
            if (NT_LIKELY(on_ours != NT_IS_KERNELS))      \
                return (type)on_ours;                     \
        }                                                 \
        return nt_real.name arguments;                    \
    }

// The fortified form: libc's, where it would abort or where the descriptor is the kernel's.
#define NT_ON_FD_CHECKED(type, name, parameters, arguments, ours) \
    NT_SYMBOL(type, name, parameters)                             \
    {                                                             \
        if (n <= room && !nt_fd_is_kernel(fd)) {                  \
            long on_ours = NT_OURS_OR_KERNELS(ours);              \
            if (NT_LIKELY(on_ours != NT_IS_KERNELS))              \
                return (type)on_ours;                             \
        }                                                         \
        return nt_real.name arguments;                            \
    }

// What stood at a number that the kernel gives out now was closed behind the shim.
static inline void nt_given(int fd)
{
    if (fd >= 0 && NT_UNLIKELY(!nt_fd_is_kernel(fd)))
        nt_file_replace(fd, NULL, false);
}

// A call by which the kernel gives out a number.
#define NT_GIVES_FD(name, parameters, arguments) \
    NT_SYMBOL(int, name, parameters)             \
    {                                            \
        int given;                               \
        nt_numbers_yield(1);                     \
        do                                       \
            given = nt_real.name arguments;      \
        while (nt_again(given));                 \
        nt_given(given);                         \
        return given;                            \
    }

// The same for two numbers, written into an array.
#define NT_GIVES_PAIR(name, parameters, arguments) \
    NT_SYMBOL(int, name, parameters)               \
    {                                              \
        int failed;                                \
        nt_numbers_yield(2);                       \
        do                                         \
            failed = nt_real.name arguments;       \
        while (nt_again(failed));                  \
        if (failed == 0) {                         \
            nt_given(pair[0]);                     \
            nt_given(pair[1]);                     \
        }                                          \
        return failed;                             \
    }

#endif
