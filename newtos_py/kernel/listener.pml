/* listener.pml: the claim words of listener.h, checked by Spin.
 *
 * A server fills, publishes and withdraws entries of a small ring, and reuses what was taken; two
 * acceptors claim them. An entry's content is two fields that are written and copied one at a time,
 * so that a copy torn by reuse shows. An acceptor may also die between any two statements (it then
 * simply stops: nothing in the ring is ever half claimed).
 *
 * Proved: each entry is taken by at most one; who takes one has copied exactly its content; and who
 * finds nothing was right: no entry was open all the while it looked, so the scan hint strands none.
 *
 * Each of these, defined, breaks one step, and must make the proof fail:
 *   COPY_AFTER_CLAIM     the entry may be reused before it is copied
 *   WORD_WITHOUT_INDEX   a late claim takes the entry that came after (ABA)
 *   REUSE_UNCLAIMED      the server does not look at the word before it fills
 *   HINT_PASSES_OPEN     the scan hint goes on to the tail
 */
#define ENTRIES     2 /* slots of the ring */
#ifndef CONNECTIONS
#define CONNECTIONS 4 /* entries that pass through it: each slot is reused */
#endif
#define ACCEPTORS   2

/* Claim words: NT_CLAIM_IS_OPEN, NT_CLAIM_IS_TAKEN, with the index. */
#ifdef WORD_WITHOUT_INDEX
#define OPEN(i)  2
#define TAKEN(i) 3
#else
#define OPEN(i)  (((i) << 1) + 2)
#define TAKEN(i) (((i) << 1) + 3)
#endif

byte claim[ENTRIES];
byte left[ENTRIES], right[ENTRIES]; /* the content */
byte tail, scan;

/* For the proof only. */
byte taken[CONNECTIONS];       /* how often */
byte open_entries;             /* a bit an entry, published and not taken */
byte open_throughout[ACCEPTORS]; /* those open since this acceptor began to look */

inline mark_taken(i)
{
    taken[i]++;
    assert(taken[i] == 1);
    open_entries = open_entries & ~(1 << i);
    open_throughout[0] = open_throughout[0] & ~(1 << i);
    open_throughout[1] = open_throughout[1] & ~(1 << i)
}

/* Compare-and-swap of an entry's word, as a claim or a withdrawal. */
inline take(i, won)
{
    atomic {
        if
        :: claim[(i) % ENTRIES] == OPEN(i) ->
            claim[(i) % ENTRIES] = TAKEN(i);
            won = true;
            mark_taken(i)
        :: else -> won = false
        fi
    }
}

active proctype server()
{
    byte victim;
    bool won;
    do
    :: tail < CONNECTIONS ->
        if
#ifndef REUSE_UNCLAIMED
        :: tail >= ENTRIES && claim[tail % ENTRIES] == OPEN(tail - ENTRIES) -> skip
        :: tail < ENTRIES || claim[tail % ENTRIES] != OPEN(tail - ENTRIES) ->
#else
        :: true ->
#endif
            left[tail % ENTRIES] = tail;
            right[tail % ENTRIES] = tail;
            claim[tail % ENTRIES] = OPEN(tail);
            atomic { open_entries = open_entries | (1 << tail); tail++ }
        fi
    :: tail > 0 ->
        /* The connection of a published entry has died. */
        if
        :: victim = tail - 1
        :: tail > 1 -> victim = tail - 2
        fi;
        take(victim, won);
        atomic { victim = 0; won = false }
    :: break
    od
}

proctype acceptor(byte me)
{
    byte end_index, i, copied_left, copied_right;
    bool won;
look:
    atomic { end_index = tail; open_throughout[me] = open_entries };
    i = scan;
    if
    :: i > end_index || end_index - i > ENTRIES ->
        i = (end_index > ENTRIES -> end_index - ENTRIES : 0)
    :: else
    fi;
    do
    :: i == end_index ->
        assert(open_throughout[me] == 0);
#ifdef HINT_PASSES_OPEN
        scan = tail;
#endif
        break
    :: i != end_index ->
        if
        :: claim[i % ENTRIES] != OPEN(i) -> i++
        :: claim[i % ENTRIES] == OPEN(i) ->
#ifndef COPY_AFTER_CLAIM
            copied_left = left[i % ENTRIES];
            copied_right = right[i % ENTRIES];
#endif
            take(i, won);
            if
            :: won ->
#ifdef COPY_AFTER_CLAIM
                copied_left = left[i % ENTRIES];
                copied_right = right[i % ENTRIES];
#endif
                assert(copied_left == i && copied_right == i);
                scan = i + 1;
                break
            :: else -> i++
            fi
        fi
    od;
    atomic { end_index = 0; i = 0; copied_left = 0; copied_right = 0; won = false };
    if
    :: goto look
    :: skip /* dies, or has enough */
    fi
}

init
{
    atomic { run acceptor(0); run acceptor(1) }
}
