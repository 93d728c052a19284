// signals.c: see signals.h.

#include "libc_shim/preload/signals.h"

#include "libc_shim/preload/event_queue.h"

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

union handler {
    void (*plain)(int);
    void (*informed)(int, siginfo_t *, void *);
    uintptr_t word; // for one store
};

struct registration { // the program's
    union handler handler;
    int flags;
};

static struct registration registered[NSIG];

static bool is_fault(int number, const siginfo_t *info)
{
    switch (number) {
    case SIGSEGV:
    case SIGBUS:
    case SIGFPE:
    case SIGILL:
    case SIGTRAP:
    case SIGSYS:
        return info->si_code > 0;
    default:
        return false;
    }
}

// Standard signals don't queue, so one place each is enough; of real-time signals those that find
// no place run at once.
static bool keep(struct nt_thread *self, int number, const siginfo_t *info)
{
    for (uint32_t i = 0; i < self->kept_signals; i++)
        if (self->kept[i].si_signo == number && number < SIGRTMIN)
            return true;
    if (self->kept_signals == NT_SIGNALS_KEPT)
        return false;
    self->kept[self->kept_signals] = *info;
    self->kept[self->kept_signals].si_signo = number;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    self->kept_signals++;
    return true;
}

static void note(struct nt_thread *self, int flags)
{
    self->signals++;
    self->interrupts += (flags & SA_RESTART) == 0;
    if (self->bell == NULL)
        return;
    self->signalled++;
    __atomic_add_fetch(&self->bell->signalled, 1u, __ATOMIC_SEQ_CST);
    nt_event_queue_ring(self->bell);
}

static void on_signal(int number, siginfo_t *info, void *context)
{
    struct nt_thread *self = nt_thread_object;
    bool fault = is_fault(number, info);
    if (self != NULL && self->critical != 0 && !fault && keep(self, number, info))
        return;
    const struct registration action = registered[number];
    if (self != NULL && self->depth != 0)
        note(self, action.flags);
    if ((action.flags & (int)SA_RESETHAND) != 0)
        (void)nt_real.sigaction(number, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
    if ((action.flags & SA_SIGINFO) != 0)
        action.handler.informed(number, info, context);
    else
        action.handler.plain(number);
}

void nt_signals_raise(struct nt_thread *self)
{
    int saved = errno;
    while (self->critical == 0 && self->kept_signals != 0) {
        siginfo_t info = self->kept[0];
        // A handler that interrupts this loop finds the list whole.
        self->critical++;
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        self->kept_signals--;
        for (uint32_t i = 0; i < self->kept_signals; i++)
            self->kept[i] = self->kept[i + 1];
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        self->critical--;
        // To oneself any si_code may be sent; the handler runs before this returns.
        if (nt_real.syscall(SYS_rt_tgsigqueueinfo, getpid(), nt_real.syscall(SYS_gettid),
                            info.si_signo, &info) != 0)
            (void)raise(info.si_signo);
    }
    errno = saved;
}

static bool has_function(const struct sigaction *action)
{
    return action->sa_handler != SIG_DFL && action->sa_handler != SIG_IGN &&
           action->sa_handler != SIG_ERR;
}

static union handler handler_of(const struct sigaction *action)
{
    if ((action->sa_flags & SA_SIGINFO) != 0)
        return (union handler){.informed = action->sa_sigaction};
    return (union handler){.plain = action->sa_handler};
}

// What the program is told was there before.
static void translate(struct sigaction *old, const struct registration *before)
{
    if ((old->sa_flags & SA_SIGINFO) == 0 || old->sa_sigaction != on_signal)
        return;
    old->sa_flags = before->flags;
    if ((before->flags & SA_SIGINFO) != 0)
        old->sa_sigaction = before->handler.informed;
    else
        old->sa_handler = before->handler.plain;
}

int nt_sigaction(int number, const struct sigaction *action, struct sigaction *old)
{
    if (number <= 0 || number >= NSIG)
        return nt_real.sigaction(number, action, old);
    const struct registration before = registered[number];
    struct sigaction ours;
    const struct sigaction *to_set = action;
    if (action != NULL && has_function(action)) {
        ours = *action;
        ours.sa_sigaction = on_signal;
        ours.sa_flags = (ours.sa_flags | SA_SIGINFO) & ~(int)SA_RESETHAND;
        // First the program's: a signal in between finds ours either not yet there or complete.
        registered[number].flags = action->sa_flags;
        registered[number].handler.word = handler_of(action).word;
        to_set = &ours;
    }
    int result = nt_real.sigaction(number, to_set, old);
    if (result != 0)
        registered[number] = before;
    else if (old != NULL)
        translate(old, &before);
    return result;
}
