// nested.c: epoll instances inside others, in poll, duplicated, shared by threads, and closed.
#include "scenario.h"

static int put(int epfd, int op, int fd, unsigned events, unsigned data)
{
    struct epoll_event event = {.events = events, .data.u64 = data};
    return epoll_ctl(epfd, op, fd, &event);
}

// What a wait that asks for `max` at a time says, in an order of data.
static void say_some(const char *what, int epfd, int max, int timeout_ms)
{
    struct epoll_event events[8];
    int count = epoll_wait(epfd, events, max, timeout_ms);
    printf("%s: %d", what, count);
    for (unsigned data = 0; data < 64; data++)
        for (int i = 0; i < count; i++)
            if (events[i].data.u32 == data)
                printf(" %u:%x", data, events[i].events);
    printf("\n");
}

static void say(const char *what, int epfd, int timeout_ms) { say_some(what, epfd, 8, timeout_ms); }

static void nested_levels(void)
{
    int ends[2];
    int tube[2];
    char buf[8];
    connected(ends);
    MUST(pipe(tube));
    int inner = MUST(epoll_create1(0));
    int outer = MUST(epoll_create1(0));
    SAY(put(outer, EPOLL_CTL_ADD, inner, EPOLLIN, 1));
    SAY(put(outer, EPOLL_CTL_ADD, inner, EPOLLIN, 1));
    SAY(put(inner, EPOLL_CTL_ADD, ends[1], EPOLLIN, 2));
    say("idle", outer, 0);
    MUST(write(ends[0], "x", 1));
    say("outer", outer, LIMIT_MS);
    say("outer again", outer, LIMIT_MS);
    say("inner", inner, LIMIT_MS);
    SAY(put(inner, EPOLL_CTL_ADD, tube[0], EPOLLIN, 3));
    MUST(write(tube[1], "y", 1));
    say("both halves", outer, LIMIT_MS);
    MUST(read(ends[1], buf, 8));
    say("the pipe", outer, LIMIT_MS);
    MUST(read(tube[0], buf, 8));
    say("nothing", outer, 0);
    say("nothing, with a limit", outer, 10);
    SAY(put(outer, EPOLL_CTL_MOD, inner, EPOLLIN | EPOLLONESHOT, 4));
    MUST(write(ends[0], "x", 1));
    say("once", outer, LIMIT_MS);
    say("not twice", outer, 0);
    SAY(put(outer, EPOLL_CTL_MOD, inner, EPOLLIN | EPOLLONESHOT, 5));
    say("once more", outer, LIMIT_MS);
    SAY(put(outer, EPOLL_CTL_MOD, inner, EPOLLOUT, 6));
    say("not writable", outer, 0);
    SAY(put(outer, EPOLL_CTL_DEL, inner, 0, 0));
    SAY(put(outer, EPOLL_CTL_DEL, inner, 0, 0));
    SAY(put(outer, EPOLL_CTL_MOD, inner, EPOLLIN, 0));
    say("taken out", outer, 0);
    SAY(put(outer, EPOLL_CTL_ADD, inner, EPOLLIN, 7));
    say("back, and ready", outer, LIMIT_MS);
    SAY(close(inner));
    say("closed", outer, 0);
}

// No edge now, or one more of the same: here an acknowledgement that follows the data may be news
// of an inner instance, too (docs/compatibility.md).
static void settle(int outer)
{
    struct epoll_event event;
    (void)MUST(epoll_wait(outer, &event, 1, 0));
}

static void nested_edges(void)
{
    int ends[2];
    char buf[8];
    connected(ends);
    int inner = MUST(epoll_create1(0));
    int outer = MUST(epoll_create1(0));
    MUST(put(inner, EPOLL_CTL_ADD, ends[1], EPOLLIN, 2));
    MUST(put(outer, EPOLL_CTL_ADD, inner, EPOLLIN | EPOLLET, 1));
    say("idle", outer, 0);
    MUST(write(ends[0], "x", 1));
    say("an edge", outer, LIMIT_MS);
    settle(outer);
    MUST(write(ends[0], "x", 1));
    say("another", outer, LIMIT_MS);
    say("inner", inner, LIMIT_MS);
    MUST(read(ends[1], buf, 8));
    say("no edge", outer, 0);
    SAY(put(outer, EPOLL_CTL_MOD, inner, EPOLLIN | EPOLLET, 1));
    say("nothing", outer, 0);
    MUST(write(ends[0], "x", 1));
    SAY(wait_for(inner, POLLIN));
    SAY(put(outer, EPOLL_CTL_MOD, inner, EPOLLIN | EPOLLET, 1));
    say("armed again", outer, LIMIT_MS);
}

static void nested_wrong(void)
{
    int ends[2];
    connected(ends);
    int a = MUST(epoll_create1(0));
    int b = MUST(epoll_create1(0));
    int c = MUST(epoll_create1(0));
    MUST(put(a, EPOLL_CTL_ADD, ends[1], EPOLLIN, 1));
    SAY(put(a, EPOLL_CTL_ADD, a, EPOLLIN, 1));
    SAY(put(b, EPOLL_CTL_ADD, a, EPOLLIN, 1));
    SAY(put(c, EPOLL_CTL_ADD, b, EPOLLIN, 1));
    SAY(put(a, EPOLL_CTL_ADD, c, EPOLLIN, 1));
    SAY(put(a, EPOLL_CTL_ADD, b, EPOLLIN, 1));
    SAY(put(c, EPOLL_CTL_ADD, a, EPOLLIN | EPOLLEXCLUSIVE, 1));
    MUST(write(ends[0], "x", 1));
    say("three deep", c, LIMIT_MS);
    int copy = MUST(dup(a));
    SAY(put(b, EPOLL_CTL_ADD, copy, EPOLLIN, 2));
    say("twice", b, LIMIT_MS);
    SAY(close(a));
    say("by the other number", b, LIMIT_MS);
    SAY(put(b, EPOLL_CTL_DEL, copy, 0, 0));
    say("the closed one stays", b, LIMIT_MS);
    SAY(close(copy));
    say("gone", b, 0);
    int same = MUST(socket(AF_INET, SOCK_STREAM, 0));
    SAY(put(c, EPOLL_CTL_ADD, same, EPOLLIN | EPOLLRDHUP | EPOLLEXCLUSIVE, 1));
    SAY(put(c, EPOLL_CTL_ADD, same, EPOLLIN | EPOLLONESHOT | EPOLLEXCLUSIVE, 1));
    SAY(put(c, EPOLL_CTL_ADD, same, EPOLLIN | EPOLLET | EPOLLEXCLUSIVE, 1));
    SAY(put(c, EPOLL_CTL_MOD, same, EPOLLIN, 1));
    SAY(put(c, EPOLL_CTL_MOD, same, EPOLLIN | EPOLLEXCLUSIVE, 1));
    SAY(put(c, EPOLL_CTL_DEL, same, 0, 0));
    SAY(put(c, EPOLL_CTL_MOD, same, EPOLLIN, 1));
    SAY(put(c, EPOLL_CTL_ADD, same, EPOLLIN | EPOLLWAKEUP, 1));
    struct epoll_event event;
    SAY(epoll_wait(c, &event, 0x7fffffff, 0));
    SAY(epoll_wait(c, &event, -1, 0));
    struct timespec wrong = {.tv_nsec = 1000000000};
    SAY(syscall(SYS_epoll_pwait2, c, &event, 1, &wrong, NULL, 0));
    struct timespec soon = {.tv_nsec = 1000000};
    SAY(syscall(SYS_epoll_pwait2, b, &event, 1, &soon, NULL, 0));
}

// A descriptor that stays ready hides no other, however few are asked for.
static void fair(void)
{
    int one[2];
    int two[2];
    int three[2];
    connected(one);
    connected(two);
    connected(three);
    int epfd = MUST(epoll_create1(0));
    MUST(put(epfd, EPOLL_CTL_ADD, one[1], EPOLLIN, 1));
    MUST(put(epfd, EPOLL_CTL_ADD, two[1], EPOLLIN, 2));
    MUST(put(epfd, EPOLL_CTL_ADD, three[1], EPOLLIN, 3));
    say("idle", epfd, 0);
    MUST(write(one[0], "x", 1));
    say_some("one", epfd, 1, LIMIT_MS);
    MUST(write(two[0], "x", 1));
    MUST(write(three[0], "x", 1));
    SAY(wait_for(two[1], POLLIN) & POLLIN);
    SAY(wait_for(three[1], POLLIN) & POLLIN);
    int seen[4] = {0};
    for (int i = 0; i < 30; i++) {
        struct epoll_event event;
        MUST(epoll_wait(epfd, &event, 1, LIMIT_MS) - 1);
        seen[event.data.u32]++;
    }
    SAY(seen[1]);
    SAY(seen[2]);
    SAY(seen[3]);
}

struct sleeper {
    int epfd;
    int seen;
    struct epoll_event event;
};

static int woken;

static void *sleep_in(void *arg)
{
    struct sleeper *sleeper = arg;
    sleeper->seen = epoll_wait(sleeper->epfd, &sleeper->event, 1, LIMIT_MS);
    __atomic_add_fetch(&woken, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

// Closing the number of an instance that another thread is in: that goes on.
static void closed_while_waiting(void)
{
    int ends[2];
    int tube[2];
    pthread_t thread;
    connected(ends);
    MUST(pipe(tube));
    for (int round = 0; round < 2; round++) {
        struct sleeper sleeper = {.epfd = MUST(epoll_create1(0))};
        MUST(put(sleeper.epfd, EPOLL_CTL_ADD, ends[1], EPOLLIN, 1));
        MUST(put(sleeper.epfd, EPOLL_CTL_ADD, tube[0], EPOLLIN, 2));
        MUST(-pthread_create(&thread, NULL, sleep_in, &sleeper));
        wait_sleeping(1);
        SAY(close(sleeper.epfd));
        int taken = MUST(open("/dev/null", O_RDONLY)); // the number, perhaps
        MUST(write(round == 0 ? ends[0] : tube[1], "x", 1));
        pthread_join(thread, NULL);
        SAY(sleeper.seen);
        SAY(sleeper.event.data.u32);
        MUST(close(taken));
        char c;
        MUST(read(round == 0 ? ends[1] : tube[0], &c, 1));
    }
}

// One event wakes one of several threads; a level goes on to the next.
static void threads_in_one(void)
{
    int ends[2];
    pthread_t thread[3];
    struct sleeper sleeper[3];
    connected(ends);
    int epfd = MUST(epoll_create1(0));
    MUST(put(epfd, EPOLL_CTL_ADD, ends[1], EPOLLIN, 1));
    for (int i = 0; i < 3; i++) {
        sleeper[i] = (struct sleeper){.epfd = epfd};
        MUST(-pthread_create(&thread[i], NULL, sleep_in, &sleeper[i]));
    }
    wait_sleeping(3);
    MUST(write(ends[0], "x", 1));
    for (int i = 0; i < 3; i++)
        pthread_join(thread[i], NULL);
    SAY(sleeper[0].seen + sleeper[1].seen + sleeper[2].seen);
    // Edges: each thread gets one of them.
    char buf[8];
    MUST(read(ends[1], buf, 8));
    MUST(put(epfd, EPOLL_CTL_MOD, ends[1], EPOLLIN | EPOLLET, 1));
    for (int i = 0; i < 3; i++)
        MUST(-pthread_create(&thread[i], NULL, sleep_in, &sleeper[i]));
    wait_sleeping(3);
    __atomic_store_n(&woken, 0, __ATOMIC_SEQ_CST);
    for (int i = 1; i <= 3; i++) {
        MUST(write(ends[0], "x", 1));
        while (__atomic_load_n(&woken, __ATOMIC_SEQ_CST) < i)
            sched_yield();
    }
    for (int i = 0; i < 3; i++)
        pthread_join(thread[i], NULL);
    SAY(sleeper[0].seen + sleeper[1].seen + sleeper[2].seen);
}

// The same socket in several instances, and in threads that block on it.
static void in_several(void)
{
    int ends[2];
    pthread_t thread[4];
    struct sleeper sleeper[4];
    connected(ends);
    for (int i = 0; i < 4; i++) {
        sleeper[i] = (struct sleeper){.epfd = MUST(epoll_create1(0))};
        MUST(put(sleeper[i].epfd, EPOLL_CTL_ADD, ends[1], i % 2 ? EPOLLIN | EPOLLET : EPOLLIN, 1));
        MUST(-pthread_create(&thread[i], NULL, sleep_in, &sleeper[i]));
    }
    wait_sleeping(4);
    MUST(write(ends[0], "x", 1));
    for (int i = 0; i < 4; i++) {
        pthread_join(thread[i], NULL);
        SAY(sleeper[i].seen);
    }
}

static void *add_late(void *arg)
{
    const int *fds = arg;
    wait_sleeping(1);
    MUST(put(fds[0], fds[2], fds[1], EPOLLIN, 5));
    return NULL;
}

// What another thread registers, arms or nests while this one sleeps wakes it.
static void arming(void)
{
    int ends[2];
    pthread_t thread;
    connected(ends);
    MUST(write(ends[0], "x", 1));
    SAY(wait_for(ends[1], POLLIN) & POLLIN);
    int epfd = MUST(epoll_create1(0));
    int fds[3] = {epfd, ends[1], EPOLL_CTL_ADD};
    MUST(put(epfd, EPOLL_CTL_ADD, ends[0], EPOLLIN, 1));
    MUST(-pthread_create(&thread, NULL, add_late, fds));
    say("added", epfd, LIMIT_MS);
    pthread_join(thread, NULL);
    MUST(put(epfd, EPOLL_CTL_MOD, ends[1], 0, 1));
    fds[2] = EPOLL_CTL_MOD;
    MUST(-pthread_create(&thread, NULL, add_late, fds));
    say("changed", epfd, LIMIT_MS);
    pthread_join(thread, NULL);
    int outer = MUST(epoll_create1(0));
    int outer_fds[3] = {outer, epfd, EPOLL_CTL_ADD};
    MUST(-pthread_create(&thread, NULL, add_late, outer_fds));
    say("nested", outer, LIMIT_MS);
    pthread_join(thread, NULL);
    MUST(put(epfd, EPOLL_CTL_DEL, ends[1], 0, 0));
    fds[2] = EPOLL_CTL_ADD;
    MUST(-pthread_create(&thread, NULL, add_late, fds));
    say("added to the inner one", outer, LIMIT_MS);
    pthread_join(thread, NULL);
    MUST(put(epfd, EPOLL_CTL_DEL, ends[1], 0, 0));
    struct pollfd wanted = {.fd = outer, .events = POLLIN};
    MUST(-pthread_create(&thread, NULL, add_late, fds));
    SAY(poll(&wanted, 1, LIMIT_MS));
    pthread_join(thread, NULL);
    fd_set r;
    FD_ZERO(&r);
    FD_SET(outer, &r);
    SAY(select(outer + 1, &r, NULL, NULL, NULL));
    SAY(FD_ISSET(outer, &r) != 0);
    // An instance that has no socket when poll() goes to sleep on it.
    int empty = MUST(epoll_create1(0));
    int empty_fds[3] = {empty, ends[1], EPOLL_CTL_ADD};
    wanted.fd = empty;
    MUST(-pthread_create(&thread, NULL, add_late, empty_fds));
    SAY(poll(&wanted, 1, LIMIT_MS));
    pthread_join(thread, NULL);
}

const struct scenario nested_scenarios[] = {
    {"nested_levels", nested_levels},
    {"nested_edges", nested_edges},
    {"nested_wrong", nested_wrong},
    {"fair", fair},
    {"closed_while_waiting", closed_while_waiting},
    {"threads_in_one", threads_in_one},
    {"in_several", in_several},
    {"arming", arming},
    {NULL, NULL},
};
