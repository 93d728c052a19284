// leaving.c: threads that never come back from a call: by siglongjmp, cancellation, exit; and
// handlers that fork, close, or run on another stack.
#include "scenario.h"

#include <setjmp.h>

static sigjmp_buf back;

static void jump(int number)
{
    (void)number;
    siglongjmp(back, 1);
}

static void handle(int number, void (*handler)(int), int flags)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    MUST(sigaction(number, &action, NULL));
}

enum way { READ, RECVMSG, WRITE, ACCEPT, POLL, BIG_POLL, SELECT, EPOLL, NESTED, WAYS };

static const char *const way_name[] = {"read",         "recvmsg", "write", "accept",      "poll",
                                       "poll of many", "select",  "epoll", "nested epoll"};

static int instance[2]; // the second holds the first

// The instances are there before the thread that waits until all sleep: making them may sleep.
static void prepare(enum way way, int fd)
{
    struct epoll_event event = {.events = EPOLLIN};
    if (way != EPOLL && way != NESTED)
        return;
    instance[0] = MUST(epoll_create1(EPOLL_CLOEXEC));
    instance[1] = MUST(epoll_create1(EPOLL_CLOEXEC));
    MUST(epoll_ctl(instance[0], EPOLL_CTL_ADD, fd, &event));
    MUST(epoll_ctl(instance[1], EPOLL_CTL_ADD, instance[0], &event));
}

static void block(enum way way, int fd)
{
    static char big[1 << 22];
    char buf[8];
    struct iovec iov = {.iov_base = buf, .iov_len = sizeof buf};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    struct pollfd many[40];
    struct epoll_event event = {.events = EPOLLIN};
    fd_set r;
    FD_ZERO(&r);
    FD_SET(fd, &r);
    for (int i = 0; i < 40; i++)
        many[i] = (struct pollfd){.fd = fd, .events = POLLPRI};
    switch (way) {
    case READ:
        (void)!read(fd, buf, sizeof buf);
        break;
    case RECVMSG:
        (void)!recvmsg(fd, &message, MSG_WAITALL);
        break;
    case WRITE:
        while (write(fd, big, sizeof big) > 0) {
        }
        break;
    case ACCEPT:
        (void)!accept(fd, NULL, NULL);
        break;
    case POLL:
        (void)poll(many, 1, LIMIT_MS);
        break;
    case BIG_POLL:
        (void)poll(many, 40, LIMIT_MS);
        break;
    case SELECT:
        (void)select(fd + 1, &r, NULL, NULL, NULL);
        break;
    case EPOLL:
    case NESTED:
        (void)epoll_wait(instance[way == NESTED], &event, 1, LIMIT_MS);
        break;
    case WAYS:
        break;
    }
}

// The other end sees the end of the connection only if nothing is left in the first one's hands.
static void say_freed(enum way way, int fd, int other)
{
    static char rest[1 << 16];
    MUST(close(fd));
    if (way == ACCEPT)
        return;
    ssize_t got = 1;
    while (got > 0 && wait_for(other, POLLIN) > 0)
        got = read(other, rest, sizeof rest);
    printf("%s: the other end reads %ld\n", way_name[way], (long)got);
    MUST(close(other));
}

static void make(enum way way, int ends[2])
{
    struct sockaddr_in name;
    if (way == ACCEPT) {
        ends[0] = listener(&name, 0);
        ends[1] = -1;
    } else {
        connected(ends);
    }
    prepare(way, ends[0]);
}

struct later {
    pthread_t target;
    int signal;
};

static void *signal_later(void *arg)
{
    const struct later *later = arg;
    wait_sleeping(1);
    pthread_kill(later->target, later->signal);
    return NULL;
}

static void jumps(void)
{
    static char stack[1 << 16];
    stack_t other = {.ss_sp = stack, .ss_size = sizeof stack};
    MUST(sigaltstack(&other, NULL));
    for (int on_stack = 0; on_stack < 2; on_stack++) {
        for (volatile enum way way = READ; way < WAYS; way++) {
            int ends[2];
            pthread_t thread;
            struct later later = {.target = pthread_self(), .signal = SIGUSR1};
            make(way, ends);
            handle(SIGUSR1, jump, on_stack ? SA_ONSTACK : 0);
            MUST(-pthread_create(&thread, NULL, signal_later, &later));
            if (sigsetjmp(back, 1) == 0) {
                block(way, ends[0]);
                printf("came back\n");
            }
            pthread_join(thread, NULL);
            say_freed(way, ends[0], ends[1]);
        }
    }
}

// A timeout as old programs make it.
static void alarms(void)
{
    int ends[2];
    char c;
    connected(ends);
    handle(SIGALRM, jump, 0);
    for (volatile int i = 0; i < 20; i++) {
        struct itimerval soon = {.it_value.tv_usec = 500 + 100 * i};
        if (sigsetjmp(back, 1) == 0) {
            MUST(setitimer(ITIMER_REAL, &soon, NULL));
            (void)!read(ends[1], &c, 1);
            printf("came back\n");
        }
    }
    SAY(close(ends[1]));
    SAY(wait_for(ends[0], POLLIN) & POLLIN);
    SAY(read(ends[0], &c, 1));
    // Accepting, too: what would have been the number is free again.
    struct sockaddr_in name;
    int listening = listener(&name, 0);
    int before = MUST(dup(0));
    MUST(close(before));
    for (volatile int i = 0; i < 5; i++) {
        struct itimerval soon = {.it_value.tv_usec = 500 + 100 * i};
        if (sigsetjmp(back, 1) == 0) {
            MUST(setitimer(ITIMER_REAL, &soon, NULL));
            (void)!accept(listening, NULL, NULL);
            printf("came back\n");
        }
    }
    SAY(dup(0) == before);
}

struct blocked {
    enum way way;
    int fd;
};

static void *block_in_thread(void *arg)
{
    const struct blocked *blocked = arg;
    block(blocked->way, blocked->fd);
    return NULL;
}

static void cancelled(void)
{
    for (enum way way = READ; way < WAYS; way++) {
        int ends[2];
        pthread_t thread;
        void *result;
        make(way, ends);
        struct blocked blocked = {.way = way, .fd = ends[0]};
        MUST(-pthread_create(&thread, NULL, block_in_thread, &blocked));
        wait_sleeping(1);
        SAY(pthread_cancel(thread));
        SAY(pthread_join(thread, &result));
        SAY(result == PTHREAD_CANCELED);
        say_freed(way, ends[0], ends[1]);
    }
}

static void leave_thread(int number)
{
    (void)number;
    pthread_exit((void *)7);
}

// A handler that ends its thread, which held a socket.
static void exits(void)
{
    for (enum way way = READ; way < WAYS; way++) {
        int ends[2];
        pthread_t thread;
        void *result;
        make(way, ends);
        handle(SIGUSR1, leave_thread, 0);
        struct blocked blocked = {.way = way, .fd = ends[0]};
        MUST(-pthread_create(&thread, NULL, block_in_thread, &blocked));
        wait_sleeping(1);
        SAY(pthread_kill(thread, SIGUSR1));
        SAY(pthread_join(thread, &result));
        SAY((long)result);
        say_freed(way, ends[0], ends[1]);
    }
}

// A handler forks; the child goes back into the call that was interrupted.
static volatile pid_t child;

static void fork_here(int number)
{
    (void)number;
    child = fork();
}

static void forking(void)
{
    static const enum way ways[] = {READ, POLL, SELECT, EPOLL};
    for (unsigned i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        int ends[2];
        int status;
        pthread_t thread;
        struct later later = {.target = pthread_self(), .signal = SIGUSR1};
        make(ways[i], ends);
        handle(SIGUSR1, fork_here, 0);
        MUST(-pthread_create(&thread, NULL, signal_later, &later));
        block(ways[i], ends[0]);
        if (child == 0)
            _exit(3);
        pthread_join(thread, NULL);
        MUST(waitpid(child, &status, 0));
        SAY(WIFEXITED(status) ? WEXITSTATUS(status) : -1);
        say_freed(ways[i], ends[0], ends[1]);
    }
}

static int to_close;

static void close_it(int number)
{
    (void)number;
    close(to_close);
}

// A handler closes what the call is about; the call goes on, as the kernel's would.
static void closed_by_handler(void)
{
    int ends[2];
    char buf[8];
    pthread_t thread;
    connected(ends);
    struct later later = {.target = pthread_self(), .signal = SIGUSR1};
    to_close = ends[1];
    handle(SIGUSR1, close_it, 0);
    MUST(-pthread_create(&thread, NULL, signal_later, &later));
    SAY(read(ends[1], buf, 8));
    pthread_join(thread, NULL);
    SAY(read(ends[1], buf, 8));
    SAY(wait_for(ends[0], POLLIN) & POLLIN);
    SAY(read(ends[0], buf, 8));
    connected(ends);
    to_close = ends[1];
    MUST(write(ends[0], "data", 4));
    SAY(wait_for(ends[1], POLLIN) & POLLIN);
    MUST(close(ends[0]));
    handle(SIGUSR1, close_it, SA_RESTART);
    SAY(read(ends[1], buf, 4));
}

// One end stops and goes on: waits with a time say EINTR, others don't notice.
static void stopped(void)
{
    int tube[2];
    MUST(pipe(tube));
    pid_t pid = fork();
    MUST(pid);
    if (pid == 0) {
        int ends[2];
        char c = 's';
        connected(ends);
        int epfd = MUST(epoll_create1(0));
        struct epoll_event event = {.events = EPOLLIN};
        MUST(epoll_ctl(epfd, EPOLL_CTL_ADD, ends[1], &event));
        struct timeval limit = {.tv_sec = 10};
        MUST(write(tube[1], &c, 1));
        SAY(epoll_wait(epfd, &event, 1, LIMIT_MS));
        MUST(setsockopt(ends[1], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
        MUST(write(ends[0], "x", 1));
        SAY(read(ends[1], &c, 1));
        _exit(0);
    }
    char c;
    MUST(read(tube[0], &c, 1));
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    for (int step = 0; step < 2; step++) {
        char state = 0;
        for (int i = 0, as_wanted = 0; i < 100000 && as_wanted < 20; i++) {
            char text[256] = {0};
            int fd = open(path, O_RDONLY);
            if (fd >= 0 && read(fd, text, sizeof text - 1) > 0 && strrchr(text, ')') != NULL)
                state = strrchr(text, ')')[2];
            close(fd);
            as_wanted = state == (step == 0 ? 'S' : 'T') ? as_wanted + 1 : 0;
            sched_yield();
        }
        MUST(kill(pid, step == 0 ? SIGSTOP : SIGCONT));
    }
    int status;
    MUST(waitpid(pid, &status, 0));
    SAY(status);
}

const struct scenario leaving_scenarios[] = {
    {"jumps", jumps},     {"alarms", alarms},   {"cancelled", cancelled},
    {"exits", exits},     {"forking", forking}, {"closed_by_handler", closed_by_handler},
    {"stopped", stopped}, {NULL, NULL},
};
