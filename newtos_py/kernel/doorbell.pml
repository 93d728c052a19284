/* doorbell.pml: the doorbell protocol of doorbell.h, checked by Spin.
 *
 * Two ends, each both waker and sleeper, pass messages both ways; each may be killed at any
 * statement and comes back as a new generation. Every store goes through a store buffer that
 * drains at its own pace (x86's TSO, and enough to show what the fences are for); a fence waits
 * until it is empty. SIGKILL does not undo a store: what a dead process had in its buffer still
 * drains.
 *
 * Proved: when nothing moves any more, no message is left unread: no wake-up was lost. Neither end
 * sleeps for ever over work, whoever died when.
 *
 * Each of these, defined, leaves out one step, and must make the proof fail:
 *   WAKER_WITHOUT_FENCE   SLEEPER_WITHOUT_FENCE   NO_SECOND_LOOK   NO_RING_AFTER_RESTART
 */
#ifndef MESSAGES
#define MESSAGES 2 /* that each end sends */
#endif
#ifndef DEATHS
#define DEATHS 2 /* in all */
#endif

/* Shared memory, by end: how many messages it has published, and its flag. */
#define TAIL     0
#define SLEEPING 1
byte memory[4];
#define tail(end)     memory[(end) * 2 + TAIL]
#define sleeping(end) memory[(end) * 2 + SLEEPING]

bool bell[2];    /* the eventfds: kept by the reincarnation server, so they outlive their owners */
bool killed[2];  /* SIGKILL is on its way */
byte seen[2];    /* messages that an end has read; in its arena */
byte deaths;

chan buffer0 = [2] of { byte, byte };
chan buffer1 = [2] of { byte, byte };

#define store(field, value) \
    if \
    :: me == 0 -> buffer0!field, value \
    :: else -> buffer1!(2 + field), value \
    fi
#define fence() ((me == 0 && empty(buffer0)) || (me == 1 && empty(buffer1)))

active proctype drain()
{
    byte where, what;
end:
    do
    :: atomic { buffer0?where, what -> memory[where] = what }
    :: atomic { buffer1?where, what -> memory[where] = what }
    od
}

active proctype killer()
{
    do
    :: atomic { deaths < DEATHS && !killed[0] -> killed[0] = true; deaths++ }
    :: atomic { deaths < DEATHS && !killed[1] -> killed[1] = true; deaths++ }
    :: break
    od
}

proctype server(byte me)
{
    byte peer = 1 - me;
    byte sent = 0; /* in its arena: a message is committed with the store that publishes it */

generation:
    {
        /* A new generation; the first is one, too. */
        store(SLEEPING, 0);
        fence();
#ifndef NO_RING_AFTER_RESTART
        bell[peer] = true;
#endif
        do
        /* Poll: read all there is. */
        :: tail(peer) != seen[me] -> seen[me] = tail(peer)

        /* Send: publish, fence, look at the flag. */
        :: sent < MESSAGES ->
            atomic {
                sent++;
                store(TAIL, sent)
            };
#ifndef WAKER_WITHOUT_FENCE
            fence();
#endif
            if
            :: sleeping(peer) == 1 -> bell[peer] = true
            :: else
            fi

        /* Idle: raise the flag, fence, look again, sleep. */
        :: tail(peer) == seen[me] ->
            store(SLEEPING, 1);
#ifndef SLEEPER_WITHOUT_FENCE
            fence();
#endif
            if
#ifndef NO_SECOND_LOOK
            :: tail(peer) != seen[me]
            :: tail(peer) == seen[me] ->
#else
            :: true ->
#endif
                do
                :: bell[me] -> bell[me] = false; break /* ppoll returns; drained */
                :: sent < MESSAGES -> break            /* a timer: something to send */
                od
            fi;
            store(SLEEPING, 0)
        od
    } unless { killed[me] };
    /* Only when it is dead does the reincarnation server start the next. */
    fence();
    killed[me] = false;
    goto generation
}

init
{
    atomic {
        run server(0);
        run server(1)
    };
    timeout -> assert(seen[0] == tail(1) && seen[1] == tail(0))
}
