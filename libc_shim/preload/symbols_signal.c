// symbols_signal.c: the interposed symbols that set signal handlers. See signals.h, symbols.h.

#include "libc_shim/preload/signals.h"
#include "libc_shim/preload/symbols.h"

NT_SYMBOL(int, sigaction, (int number, const struct sigaction *action, struct sigaction *old))
{
    return nt_fd_limit == 0 ? nt_real.sigaction(number, action, old)
                            : nt_sigaction(number, action, old);
}

typedef void (*signal_handler)(int);

static signal_handler set_handler(int number, signal_handler handler, int flags)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    struct sigaction old;
    sigemptyset(&action.sa_mask);
    if (handler == SIG_ERR) {
        errno = EINVAL;
        return SIG_ERR;
    }
    return nt_symbol_sigaction(number, &action, &old) == 0 ? old.sa_handler : SIG_ERR;
}

// BSD's meaning, which glibc gives to signal().
NT_SYMBOL(signal_handler, signal, (int number, signal_handler handler))
{
    return set_handler(number, handler, SA_RESTART);
}
NT_SYMBOL(signal_handler, bsd_signal, (int number, signal_handler handler))
{
    return set_handler(number, handler, SA_RESTART);
}
// System V's.
NT_SYMBOL(signal_handler, sysv_signal, (int number, signal_handler handler))
{
    return set_handler(number, handler, (int)(SA_RESETHAND | SA_NODEFER));
}
NT_SYMBOL(signal_handler, __sysv_signal, (int number, signal_handler handler))
{
    return set_handler(number, handler, (int)(SA_RESETHAND | SA_NODEFER));
}

NT_SYMBOL(int, siginterrupt, (int number, int interrupts))
{
    struct sigaction action;
    if (nt_symbol_sigaction(number, NULL, &action) != 0)
        return -1;
    action.sa_flags = interrupts ? action.sa_flags & ~SA_RESTART : action.sa_flags | SA_RESTART;
    return nt_symbol_sigaction(number, &action, NULL);
}
