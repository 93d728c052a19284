// real.c: see real.h.

#include "libc_shim/preload/real.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

// What a function that this libc lacks answers: -1 and ENOSYS, or NULL for those with pointers.
static long missing(void)
{
    errno = ENOSYS;
    return -1;
}
static void *missing_pointer(void)
{
    errno = ENOSYS;
    return NULL;
}

// A cast through void * between function and object pointers: POSIX promises that it works.
static void look_up(const char *name, void *slot, size_t bytes, bool pointer)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (found == NULL)
        found = pointer ? (void *)missing_pointer : (void *)missing;
    __builtin_memcpy(slot, &found, bytes);
}

#define X(type, name, parameters, arguments) \
    static type first_##name parameters      \
    {                                        \
        nt_real_resolve();                   \
        return nt_real.name arguments;       \
    }
NT_REAL_FUNCTIONS(X)
#undef X

// Variadic: the thunk takes the fixed form, which the table's type hides.
#define X(type, name, parameters, fixed, arguments) \
    static type first_##name fixed                  \
    {                                               \
        nt_real_resolve();                          \
        return nt_real.name arguments;              \
    }
NT_REAL_VARIADIC(X)
#undef X

static void first_exit_now(int status)
{
    nt_real_resolve();
    nt_real.exit_now(status);
}

// NOLINTBEGIN(bugprone-macro-parentheses): parameter lists can't have any
struct nt_real nt_real = {
#define X(type, name, parameters, arguments) .name = first_##name,
    NT_REAL_FUNCTIONS(X)
#undef X
#define X(type, name, parameters, fixed, arguments) \
    .name = (type(*) parameters)(void *)first_##name,
        NT_REAL_VARIADIC(X)
#undef X
            .exit_now = first_exit_now,
};

// NOLINTEND(bugprone-macro-parentheses)

#define IS_POINTER(type)                                                                       \
    __builtin_types_compatible_p(type, FILE *) || __builtin_types_compatible_p(type, DIR *) || \
        __builtin_types_compatible_p(type, char *) ||                                          \
        __builtin_types_compatible_p(type, struct hostent *)

void nt_real_resolve(void)
{
#define X(type, name, parameters, arguments) \
    look_up(#name, (void *)&nt_real.name, sizeof nt_real.name, IS_POINTER(type));
    NT_REAL_FUNCTIONS(X)
#undef X
#define X(type, name, parameters, fixed, arguments) \
    look_up(#name, (void *)&nt_real.name, sizeof nt_real.name, false);
    NT_REAL_VARIADIC(X)
#undef X
    look_up("_exit", (void *)&nt_real.exit_now, sizeof nt_real.exit_now, false);
}
