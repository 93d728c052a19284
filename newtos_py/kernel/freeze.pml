/* freeze.pml: a socket that leaves a slot whose program goes on (area.h, Freezing), checked by Spin.
 *
 * The program sends bytes, each with a call that looks whether the socket is still here, writes, and
 * moves the cursor on; between two of them it sets an option. Meanwhile the socket is moved: the old
 * slot shows another generation, is frozen, and what it holds is copied. The mover may die between
 * any two statements; its successor does it all again. Once what was copied counts, the program
 * makes again, at the new place, the calls that it knows to have done nothing there.
 *
 * The option is a plain store, which may wait in a store buffer until the program fences.
 *
 * Proved: the new place has each byte whose call succeeded, once and in order, and the option.
 *
 * Each of these, defined, breaks one step, and must make the proof fail:
 *   PLAIN_CURSOR          the cursor is stored, not compared and swapped
 *   FREEZE_TWICE          a frozen cursor is taken for one that is not
 *   COPY_BEFORE_FREEZE    the cursor that counts is read before it is frozen
 *   LOOK_BEFORE_OPTION    the program looks for FROZEN before it stores the option, not after
 *   OPTION_WITHOUT_FENCE  ... or after, but without a fence
 */
#define BYTES 3
#define HALF  8 /* added to a cursor, makes it what it can never be */

byte tail;           /* in the old slot's program block */
byte ring[BYTES];    /* bytes, numbered from 1; 0: nothing */
bool frozen;         /* in its control word */
bool left;           /* the old slot shows another generation */
bool option;         /* as the mover sees it */
bool option_waits;   /* in the program's store buffer */

byte new_tail, new_ring[BYTES];
bool new_option;
bool arrived;        /* the new place counts (MOVED) */
bool died;           /* the mover, once */

#define FLUSH                                              \
    if                                                     \
    :: option_waits -> option = true; option_waits = false \
    :: else                                                \
    fi

active proctype store_buffer()
{
    do
    :: atomic { option_waits -> FLUSH }
    :: arrived -> break
    od
}

/* A call that sends byte `number` here; sets `done` if it succeeds. */
inline send_here(number)
{
    byte seen;
    seen = tail_known;
    ring[seen] = number;
    done = false;
#ifdef PLAIN_CURSOR
    atomic { FLUSH; tail = seen + 1; done = true }
#else
    atomic {
        FLUSH; /* a locked instruction */
        if
        :: tail == seen -> tail = seen + 1; done = true
        :: else
        fi
    }
#endif
    if
    :: done -> tail_known = seen + 1
    :: else
    fi
}

active proctype program()
{
    byte number = 1, tail_known = 0;
    bool done, again = false, here = true;
    do
    :: here && number <= BYTES && !left ->
        send_here(number);
        if
        :: done -> number++
        :: else -> here = false
        fi
    :: here && number <= BYTES && left -> here = false
    :: here && !option && !option_waits && !again -> /* setsockopt() */
#ifdef LOOK_BEFORE_OPTION
        again = frozen;
        option_waits = true
#else
        option_waits = true;
#ifndef OPTION_WITHOUT_FENCE
        atomic { FLUSH };
#endif
        again = frozen || left
#endif
    :: here && number > BYTES && (option || option_waits || again) -> break
    :: !here -> break
    od;
    /* TAKE: answered when all is over. */
    arrived;
    if
    :: again -> new_option = true
    :: else
    fi;
    byte i = 0;
    do
    :: number <= BYTES -> new_ring[new_tail] = number; new_tail++; number++
    :: else -> break
    od;
    assert(new_tail == BYTES);
    do
    :: i < BYTES -> assert(new_ring[i] == i + 1); i++
    :: else -> break
    od;
    assert(new_option || (!option && !option_waits))
}

active proctype mover()
{
    byte value, copied;
again:
    left = true; /* MOVE, by the server */
#ifdef COPY_BEFORE_FREEZE
    copied = tail;
    if
    :: copied >= HALF -> copied = copied - HALF
    :: else
    fi;
#endif
    frozen = true;
    do
    :: value = tail;
#ifndef FREEZE_TWICE
        if
        :: value >= HALF -> value = value - HALF; break
        :: else
        fi;
#endif
        atomic {
            if
            :: tail == value ->
                if
                :: value >= HALF -> tail = value - HALF
                :: else -> tail = value + HALF
                fi;
                break
            :: else
            fi
        }
    od;
#ifndef COPY_BEFORE_FREEZE
    copied = value;
#endif
    if
    :: !died -> died = true; goto again
    :: true
    fi;
    new_option = option;
    value = 0;
    assert(copied <= BYTES);
    do
    :: value < copied -> new_ring[value] = ring[value]; value++
    :: else -> break
    od;
    new_tail = copied;
    if
    :: !died -> died = true; goto again
    :: true
    fi;
    arrived = true
}
