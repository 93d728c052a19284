// crowd.c: several threads in one call, signals to one of them, and what ends others' calls.
#include "scenario.h"

static void on_signal(int number) { (void)number; }

static void handle(int number, int flags)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = flags};
    MUST(sigaction(number, &action, NULL));
}

struct waiter {
    int fd;
    int tid;
    long result;
    int error;
    bool ended;
};

static void *wait_in_epoll(void *arg)
{
    struct waiter *self = arg;
    struct epoll_event event;
    self->result = epoll_wait(self->fd, &event, 1, -1);
    self->error = errno;
    __atomic_store_n(&self->ended, true, __ATOMIC_SEQ_CST);
    return NULL;
}

// A signal to one of several threads in one instance ends its call, and nobody else's.
static void one_of_many(void)
{
    int ends[2];
    connected(ends);
    handle(SIGUSR1, SA_RESTART);
    int epfd = MUST(epoll_create1(0));
    struct epoll_event event = {.events = EPOLLIN};
    MUST(epoll_ctl(epfd, EPOLL_CTL_ADD, ends[1], &event));
    struct waiter waiter[3];
    pthread_t thread[3];
    for (int i = 0; i < 3; i++) {
        waiter[i] = (struct waiter){.fd = epfd};
        MUST(-pthread_create(&thread[i], NULL, wait_in_epoll, &waiter[i]));
    }
    int good = 0;
    for (int round = 0; round < 200; round++) {
        int which = round % 3;
        // Asleep, about to sleep, or not yet there: it comes out by the signal that finds it there.
        while (!__atomic_load_n(&waiter[which].ended, __ATOMIC_SEQ_CST)) {
            pthread_kill(thread[which], SIGUSR1);
            sched_yield();
        }
        pthread_join(thread[which], NULL);
        good += waiter[which].result == -1 && waiter[which].error == EINTR;
        waiter[which] = (struct waiter){.fd = epfd};
        MUST(-pthread_create(&thread[which], NULL, wait_in_epoll, &waiter[which]));
    }
    SAY(good);
    MUST(write(ends[0], "x", 1));
    for (int i = 0; i < 3; i++)
        pthread_join(thread[i], NULL);
    SAY(waiter[0].result + waiter[1].result + waiter[2].result);
}

static void *read_one(void *arg)
{
    struct waiter *self = arg;
    char buf[4];
    self->result = read(self->fd, buf, sizeof buf);
    self->error = errno;
    return NULL;
}

static void *accept_one(void *arg)
{
    struct waiter *self = arg;
    self->result = accept(self->fd, NULL, NULL) >= 0 ? 1 : -1;
    self->error = errno;
    return NULL;
}

static void run_blocked(struct waiter *waiter, pthread_t *thread, void *(*body)(void *), int fd)
{
    *waiter = (struct waiter){.fd = fd};
    MUST(-pthread_create(thread, NULL, body, waiter));
    wait_sleeping(1);
}

static void say_end(const char *what, const struct waiter *waiter, pthread_t thread)
{
    pthread_join(thread, NULL);
    printf("%s: %ld %s\n", what, waiter->result,
           waiter->result < 0 ? strerrorname_np(waiter->error) : "");
}

// Another thread closes or shuts what one blocks on.
static void ended_by_another(void)
{
    int ends[2];
    struct waiter waiter;
    pthread_t thread;
    struct sockaddr_in name;
    connected(ends);
    run_blocked(&waiter, &thread, read_one, ends[1]);
    MUST(close(ends[1]));
    SAY(read(ends[1], &name, 1));
    MUST(write(ends[0], "data", 4));
    say_end("read of what another closed", &waiter, thread);
    SAY(wait_for(ends[0], POLLIN) & POLLIN);
    char c;
    SAY(read(ends[0], &c, 1)); // now it is closed
    close(ends[0]);
    connected(ends);
    run_blocked(&waiter, &thread, read_one, ends[1]);
    MUST(shutdown(ends[1], SHUT_RD));
    say_end("read of what another shut", &waiter, thread);
    close(ends[0]);
    close(ends[1]);
    int fd = listener(&name, 0);
    run_blocked(&waiter, &thread, accept_one, fd);
    MUST(shutdown(fd, SHUT_RDWR));
    say_end("accept on what another shut", &waiter, thread);
    close(fd);
    fd = listener(&name, 0);
    run_blocked(&waiter, &thread, accept_one, fd);
    MUST(close(fd));
    int client = MUST(socket(AF_INET, SOCK_STREAM, 0));
    SAY(connect(client, (struct sockaddr *)&name, sizeof name));
    say_end("accept on what another closed", &waiter, thread);
    SAY(connect(client, (struct sockaddr *)&name, sizeof name));
    int other = MUST(socket(AF_INET, SOCK_STREAM, 0));
    SAY(connect(other, (struct sockaddr *)&name, sizeof name));
    connected(ends);
    MUST(fcntl(ends[0], F_SETFL, O_NONBLOCK));
    (void)fill_up(ends[0]);
    struct pollfd room = {.fd = ends[0], .events = POLLOUT};
    MUST(shutdown(ends[0], SHUT_WR));
    SAY(poll(&room, 1, LIMIT_MS));
    SAY(send(ends[0], "x", 1, MSG_NOSIGNAL));
}

// A cancellation that was asked for before the call.
static void *cancel_self(void *arg)
{
    const struct waiter *self = arg;
    char c;
    pthread_cancel(pthread_self());
    (void)!read(self->fd, &c, 1);
    printf("read came back\n");
    return NULL;
}

static void *no_cancel(void *arg)
{
    struct waiter *self = arg;
    int old;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
    read_one(self);
    pthread_setcancelstate(old, NULL);
    __atomic_store_n(&self->ended, true, __ATOMIC_SEQ_CST);
    pthread_testcancel();
    return NULL;
}

static void cancel_points(void)
{
    int ends[2];
    void *result;
    pthread_t thread;
    connected(ends);
    struct waiter waiter = {.fd = ends[1]};
    MUST(-pthread_create(&thread, NULL, cancel_self, &waiter));
    pthread_join(thread, &result);
    SAY(result == PTHREAD_CANCELED);
    MUST(-pthread_create(&thread, NULL, no_cancel, &waiter));
    wait_sleeping(1);
    pthread_cancel(thread);
    MUST(write(ends[0], "data", 4));
    pthread_join(thread, &result);
    SAY(waiter.ended);
    SAY(waiter.result);
    SAY(result == PTHREAD_CANCELED);
}

// -- Forking with threads --------------------------------------------------------------------

static int fork_ends[2];
static const char *fork_order[8];
static int fork_steps;

static void talk(const char *who)
{
    char c = 0;
    fork_order[fork_steps++] = who;
    (void)!write(fork_ends[0], "f", 1);
    (void)!read(fork_ends[1], &c, 1);
}

static void first_prepare(void) { talk("first prepare"); }
static void second_prepare(void) { talk("second prepare"); }
static void first_parent(void) { talk("first parent"); }
static void second_parent(void) { talk("second parent"); }

static void *keep_busy(void *arg)
{
    int ends[2];
    char c;
    connected(ends);
    while (!__atomic_load_n((bool *)arg, __ATOMIC_SEQ_CST)) {
        MUST(write(ends[0], "x", 1));
        MUST(read(ends[1], &c, 1));
    }
    return NULL;
}

// Handlers of fork() use sockets, while other threads do.
static void forks_and_threads(void)
{
    pthread_t thread[2];
    bool stop = false;
    connected(fork_ends);
    pthread_atfork(first_prepare, first_parent, NULL);
    pthread_atfork(second_prepare, second_parent, NULL);
    for (int i = 0; i < 2; i++)
        MUST(-pthread_create(&thread[i], NULL, keep_busy, &stop));
    int ended = 0;
    for (int i = 0; i < 20; i++) {
        int status;
        fork_steps = 0;
        pid_t pid = MUST(fork());
        if (pid == 0) {
            int ends[2];
            connected(ends);
            _exit(write(ends[0], "x", 1) == 1 && wait_for(ends[1], POLLIN) > 0 ? 5 : 6);
        }
        MUST(waitpid(pid, &status, 0));
        ended += WIFEXITED(status) && WEXITSTATUS(status) == 5;
    }
    SAY(ended);
    for (int i = 0; i < fork_steps; i++)
        printf("%s\n", fork_order[i]);
    __atomic_store_n(&stop, true, __ATOMIC_SEQ_CST);
    for (int i = 0; i < 2; i++)
        pthread_join(thread[i], NULL);
}

// -- select ----------------------------------------------------------------------------------

enum { HIGH = 3000 };

// Sets larger than FD_SETSIZE, and descriptors that are not open.
static void wide_select(void)
{
    int ends[2];
    struct rlimit limit;
    MUST(getrlimit(RLIMIT_NOFILE, &limit));
    if (limit.rlim_max < HIGH + 10)
        return;
    limit.rlim_cur = HIGH + 10;
    MUST(setrlimit(RLIMIT_NOFILE, &limit));
    connected(ends);
    MUST(dup2(ends[1], HIGH));
    fd_set *r = calloc(1, HIGH / 8 + 64);
    fd_set *w = calloc(1, HIGH / 8 + 64);
    __typeof__(r->fds_bits[0]) *bits = r->fds_bits;
    bits[HIGH / 64] |= 1l << HIGH % 64;
    bits[ends[1] / 64] |= 1l << ends[1] % 64;
    struct timeval soon = {.tv_usec = 1000};
    SAY(select(HIGH + 1, r, w, NULL, &soon));
    MUST(write(ends[0], "x", 1));
    SAY(wait_for(ends[1], POLLIN) & POLLIN);
    bits[HIGH / 64] |= 1l << HIGH % 64;
    bits[ends[1] / 64] |= 1l << ends[1] % 64;
    SAY(select(HIGH + 1, r, w, NULL, NULL));
    SAY((bits[HIGH / 64] >> HIGH % 64) & 1);
    MUST(close(HIGH));
    SAY(select(HIGH + 1, r, w, NULL, NULL));
    SAY(select(-1, r, w, NULL, NULL));
    struct timeval wrong = {.tv_sec = -1};
    FD_ZERO(r);
    FD_SET(ends[1], r);
    SAY(select(ends[1] + 1, r, NULL, NULL, &wrong));
    wrong = (struct timeval){.tv_usec = 2000000};
    SAY(select(ends[1] + 1, r, NULL, NULL, &wrong));
    struct timespec bad = {.tv_nsec = 1000000000};
    SAY(pselect(ends[1] + 1, r, NULL, NULL, &bad, NULL));
    struct pollfd many[100];
    for (int i = 0; i < 100; i++)
        many[i] = (struct pollfd){.fd = i % 3 == 0   ? ends[1]
                                        : i % 3 == 1 ? -i
                                                     : 2500,
                                  .events = POLLIN};
    SAY(poll(many, 100, LIMIT_MS));
    say_events("socket", (unsigned short)many[3].revents);
    say_events("none", (unsigned short)many[4].revents);
    say_events("closed", (unsigned short)many[5].revents);
    free(r);
    free(w);
}

const struct scenario crowd_scenarios[] = {
    {"one_of_many", one_of_many},     {"ended_by_another", ended_by_another},
    {"cancel_points", cancel_points}, {"forks_and_threads", forks_and_threads},
    {"wide_select", wide_select},     {NULL, NULL},
};
