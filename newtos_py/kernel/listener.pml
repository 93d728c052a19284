/* listener.pml: the claims of listener.h, and how a server settles them, checked by Spin.
 *
 * A server offers connections in a small ring, each bound to a slot of one of two acceptors, and
 * reuses what was taken. An entry's content is two fields that are written and copied one at a time,
 * so that a copy torn by reuse shows. An acceptor claims an entry; if it is bound to the acceptor's
 * own slot that is all, and it enters the slot; else it asks (NT_MAIL_ACCEPT), and the server moves
 * the connection. The server settles claims when it is asked, or when the queue's head comes by. One
 * acceptor may die between any two statements: the server then enters again what it had claimed and
 * not yet got. The same acceptor may leave instead, having got what it claimed: the server settles
 * its claims, takes it off, and withdraws what was offered to it; but it goes on claiming. The server
 * enters again what such a one has claimed, in the other's slot. The server withdraws entries, as
 * when their listener ends. It may die, too, between any two statements: its successor goes on from what was committed (head, end, and where each
 * connection is bound), and what was written beyond that does not count.
 *
 * Proved: an entry is taken at most once, and its copy is whole; a connection is got by at most one
 * acceptor, and by none who has left; in the end every connection was got by somebody who lived to have it, or died with who
 * had it, or was withdrawn; and who finds nothing was right: no entry was open all the while it
 * looked, so the scan hint strands none.
 *
 * Each of these, defined, breaks one step, and must make the proof fail:
 *   COPY_AFTER_CLAIM     the entry may be reused before it is copied
 *   WORD_WITHOUT_INDEX   a late claim takes the entry that came after (ABA)
 *   FILL_WHAT_WAITS      the server does not look at the queue's head before it fills
 *   HINT_PASSES_OPEN     the scan hint goes on to the tail
 *   HEAD_PASSES_CLAIMS   the head passes what was claimed for another slot, and forgets it
 *   REOPEN_IN_PLACE      what a dead acceptor had claimed opens again under its old index
 *   HEED_WHO_HAS_LEFT    what an acceptor claims after it has left is its
 *   FORGET_THE_DEAD      what a dead acceptor had claimed stays claimed
 */
#define ENTRIES     2 /* slots of the ring; one is spare, for what is entered again */
#define CONNECTIONS 3 /* each slot is reused */
#define INDICES     6 /* no more entries than this pass through it */
#define ACCEPTORS   2
#define MORTAL      1 /* the acceptor that may die, or leave */
#define NOBODY      9

/* Claim words: kind and index; who took it stands for the slot that the word names. */
#ifdef WORD_WITHOUT_INDEX
#define OPEN(i)      1
#define TAKEN(i, a)  (2 + (a))
#define WITHDRAWN(i) 4
#else
#define OPEN(i)      ((i) * 8 + 1)
#define TAKEN(i, a)  ((i) * 8 + 2 + (a))
#define WITHDRAWN(i) ((i) * 8 + 4)
#endif
#define WORD(i)      claim[(i) % ENTRIES]

byte claim[ENTRIES];
byte left[ENTRIES], right[ENTRIES]; /* the content: which connection, plus 1 */
byte tail, scan;
byte asked[ACCEPTORS];     /* 1 + the index in its mailbox; 0: nothing is asked for */
bool entered[CONNECTIONS]; /* the program block of the slot it is bound to says that it is used */
bool dead[ACCEPTORS];
bool leaving;

/* The arena. */
byte head, end;
byte bound[CONNECTIONS];   /* to whose slot */
byte at[CONNECTIONS];      /* index of its entry */
bool offered[CONNECTIONS]; /* until it is seen to be somebody's */
byte offers;               /* connections there have been */
bool buried[ACCEPTORS];    /* the area is known to be dead */
bool left_it;              /* MORTAL is a member no longer */

/* For the proof only. */
byte got[CONNECTIONS];
bool closed[CONNECTIONS];
byte claimed_times[8];
byte open_entries;               /* a bit an entry, published and not taken */
byte open_throughout[ACCEPTORS]; /* those open since this acceptor began to look */

inline mark_taken(i)
{
    claimed_times[i]++;
    assert(claimed_times[i] == 1);
    open_entries = open_entries & ~(1 << i);
    open_throughout[0] = open_throughout[0] & ~(1 << i);
    open_throughout[1] = open_throughout[1] & ~(1 << i)
}

/* Compare-and-swap of an entry's word. */
inline take(i, word, won)
{
    atomic {
        if
        :: WORD(i) == OPEN(i) -> WORD(i) = word; won = true; mark_taken(i)
        :: else -> won = false
        fi
    }
}

/* -- The server -------------------------------------------------------------------------------- */

/* Whose claim the word of offered connection c is. */
#define CLAIMED_BY(c, a) (WORD(at[c]) == TAKEN(at[c], a))
/* It was claimed for another slot, by somebody who is not known to be dead. */
#define TO_MOVE(c, a)    (CLAIMED_BY(c, a) && bound[c] != a && !buried[a] && HEEDED(a))
#ifdef HEED_WHO_HAS_LEFT
#define HEEDED(a)        true
#else
#define HEEDED(a)        (!left_it || (a) != MORTAL)
#endif
/* It was claimed by a dead one, who has not got it, or by one who had left. What the head has passed
 * was its slot's. */
#define VOID(c, a)       ((!HEEDED(a) && CLAIMED_BY(c, a)) || DIED_OVER(c, a))
#define DIED_OVER(c, a)  (buried[a] && (bound[c] == a -> !entered[c] && \
                          (at[c] < head || CLAIMED_BY(c, a)) : CLAIMED_BY(c, a)))
#define UNSETTLED(c)     (TO_MOVE(c, 0) || TO_MOVE(c, 1) || VOID(c, MORTAL))
#ifdef HEAD_PASSES_CLAIMS
#define PASSED(c)        (at[c] < head)
#define WAITS_AT_HEAD(c) false
#else
#define PASSED(c)        false
#define WAITS_AT_HEAD(c) (offered[c] && at[c] == head && \
                          (UNSETTLED(c) || WORD(head) == WITHDRAWN(head)))
#endif
#ifdef FILL_WHAT_WAITS
#define ROOM(spare)      true
#else
#define ROOM(spare)      (end - head < ENTRIES - (spare))
#endif

inline enter_again(c)
{
#ifdef REOPEN_IN_PLACE
    WORD(at[c]) = OPEN(at[c]);
    claimed_times[at[c]] = 0;
    open_entries = open_entries | (1 << at[c])
#else
    left[end % ENTRIES] = (c) + 1;
    right[end % ENTRIES] = (c) + 1;
    WORD(end) = OPEN(end);
    at[c] = end;
    end++
#endif
}

inline settle(c)
{
    if
    :: TO_MOVE(c, 0) -> bound[c] = 0; offered[c] = false
    :: TO_MOVE(c, 1) -> bound[c] = 1; offered[c] = false
    :: VOID(c, MORTAL) ->
        enter_again(c);
        if
        :: left_it && bound[c] == MORTAL -> bound[c] = 0; entered[c] = false
        :: else
        fi
    fi
}

#ifdef FORGET_THE_DEAD
#define HAS_ROOM false
#else
#define HAS_ROOM (ROOM(0) && end < INDICES)
#endif
#define CAN_SETTLE(c) (offered[c] && !PASSED(c) && \
                       (TO_MOVE(c, 0) || TO_MOVE(c, 1) || (VOID(c, MORTAL) && HAS_ROOM)))

/* The program uses the slot of an offered connection. */
#define SEEN(c)         (offered[c] && entered[c] && HEEDED(bound[c]))
#define ASKED_FOR(c, i) (offered[c] && at[c] == (i) - 1)

inline see(c)
{
    offered[c] = false;
    closed[c] = buried[bound[c]]
}

/* MORTAL leaves: what it has is its; what was offered to it is void, as if it had claimed it late. */
inline part_with(c)
{
    if
    :: offered[c] && bound[c] == MORTAL && entered[c] -> see(c)
    :: offered[c] && bound[c] == MORTAL && at[c] < tail && WORD(at[c]) == OPEN(at[c]) ->
        take(at[c], TAKEN(at[c], MORTAL), won); won = false
    :: else
    fi
}

/* A transaction is one atomic step, for nobody else writes what it reads: claims that were made stay
 * made. Only filling is seen half done, and may be given up half way, by a death. */
active proctype server()
{
    byte to;
    bool won;
    do
    :: offers < CONNECTIONS && ROOM(1) ->
        left[end % ENTRIES] = offers + 1;
        if
        :: skip ->
            right[end % ENTRIES] = offers + 1;
            WORD(end) = OPEN(end);
            if
            :: atomic { skip ->
                   select(to : 0 .. 1);
                   to = (left_it -> 0 : to);
                   bound[offers] = to; at[offers] = end; offered[offers] = true;
                   offers++; end++; to = 0
               }
            :: skip /* dies before the commit */
            fi
        :: skip /* dies in the middle of it */
        fi
    :: atomic { tail < end -> open_entries = open_entries | (1 << tail); tail++ }
    :: atomic { CAN_SETTLE(0) -> settle(0) }
    :: atomic { CAN_SETTLE(1) -> settle(1) }
    :: atomic { CAN_SETTLE(2) -> settle(2) }
    :: atomic { head < tail && WORD(head) != OPEN(head) && !WAITS_AT_HEAD(0) &&
                !WAITS_AT_HEAD(1) && !WAITS_AT_HEAD(2) -> head++ }
    :: atomic { dead[MORTAL] && !buried[MORTAL] -> buried[MORTAL] = true }
    :: atomic { leaving && !left_it ->
                part_with(0); part_with(1); part_with(2); left_it = true }
    :: atomic { SEEN(0) -> see(0) }
    :: atomic { SEEN(1) -> see(1) }
    :: atomic { SEEN(2) -> see(2) }
    :: atomic { asked[0] != 0 && !ASKED_FOR(0, asked[0]) && !ASKED_FOR(1, asked[0]) &&
                !ASKED_FOR(2, asked[0]) -> asked[0] = 0 }
    :: atomic { asked[1] != 0 && !ASKED_FOR(0, asked[1]) && !ASKED_FOR(1, asked[1]) &&
                !ASKED_FOR(2, asked[1]) -> asked[1] = 0 }
    :: atomic { offered[0] && at[0] < tail && WORD(at[0]) == OPEN(at[0]) ->
                take(at[0], WITHDRAWN(at[0]), won); won = false }
    :: atomic { offered[0] && WORD(at[0]) == WITHDRAWN(at[0]) ->
                offered[0] = false; closed[0] = true }
    od
}

/* -- Acceptors --------------------------------------------------------------------------------- */

inline may_end()
{
    if
    :: me == MORTAL && !leaving -> dead[me] = true; goto gone
    :: skip
    fi
}

proctype acceptor(byte me)
{
    byte last, i, first, copied_left, copied_right;
    bool won;
look:
    if
    :: me == MORTAL && !leaving -> leaving = true; left_it
    :: skip
    fi;
    open_entries != 0;
    atomic { last = tail; open_throughout[me] = open_entries };
    i = scan;
    if
    :: i > last || last - i > ENTRIES -> i = (last > ENTRIES -> last - ENTRIES : 0)
    :: else
    fi;
    first = NOBODY;
    do
    :: i == last ->
        assert(first != NOBODY || open_throughout[me] == 0);
#ifdef HINT_PASSES_OPEN
        scan = tail;
#endif
        break
    :: i != last ->
        if
        :: WORD(i) != OPEN(i) -> i++
        :: WORD(i) == OPEN(i) ->
            first = (first == NOBODY -> i : first);
            if
            :: i + 1 != last -> i++ /* one behind it may be its own */
            :: skip ->
#ifndef COPY_AFTER_CLAIM
                copied_left = left[i % ENTRIES];
                copied_right = right[i % ENTRIES];
#endif
                may_end();
                take(i, TAKEN(i, me), won);
                if
                :: won -> goto claimed
                :: else -> i++
                fi
            fi
        fi
    od;
    atomic { last = 0; i = 0; first = 0; copied_left = 0; copied_right = 0; won = false };
    goto look;
claimed:
#ifdef COPY_AFTER_CLAIM
    copied_left = left[i % ENTRIES];
    copied_right = right[i % ENTRIES];
#endif
    assert(copied_left == copied_right && copied_left != 0);
    assert(at[copied_left - 1] == i || (me == MORTAL && left_it));
    scan = (i == first -> i + 1 : first);
    may_end();
    if
    :: atomic { bound[copied_left - 1] == me && at[copied_left - 1] == i ->
           entered[copied_left - 1] = true /* of a slot that is another's since, it says nothing */
       }
    :: bound[copied_left - 1] != me && me == MORTAL && left_it -> goto gone
    :: else ->
        asked[me] = i + 1;
        may_end();
        /* What it asked for comes, or the answer that it does not. */
        if
        :: bound[copied_left - 1] == me && !offered[copied_left - 1]
        :: asked[me] == 0 && bound[copied_left - 1] != me -> goto again
        fi
    fi;
    may_end();
    if
    :: me == MORTAL && leaving -> goto gone /* nobody heeds it */
    :: else
    fi;
    atomic { got[copied_left - 1]++; assert(got[copied_left - 1] == 1) };
again:
    atomic { last = 0; i = 0; first = 0; copied_left = 0; copied_right = 0; won = false };
    goto look;
gone:
    skip
}

/* Nothing can happen any more: each connection has found its end. */
proctype judge()
{
    timeout ->
    assert(offers == CONNECTIONS && tail == end);
    assert(got[0] == 1 || closed[0] || (bound[0] == MORTAL && dead[MORTAL]));
    assert(got[1] == 1 || closed[1] || (bound[1] == MORTAL && dead[MORTAL]));
    assert(got[2] == 1 || closed[2] || (bound[2] == MORTAL && dead[MORTAL]))
}

init
{
    atomic { run acceptor(0); run acceptor(1); run judge() }
}
