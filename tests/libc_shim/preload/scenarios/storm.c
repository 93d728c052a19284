// storm.c: many threads on the same sockets at once.
#include "scenario.h"

enum {
    SERVERS = 3,
    CLIENTS = 3,
    CONNECTIONS = 60, // of each client
    MESSAGE = 3000,
};

static int listening;
static int served;
static int stop_pipe[2];

static void add(int epfd, int fd, unsigned events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    MUST(epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &event));
}

static void echo(int epfd, int fd)
{
    char buf[1024];
    ssize_t got = recv(fd, buf, sizeof buf, MSG_DONTWAIT);
    if (got > 0) {
        MUST(send(fd, buf, (size_t)got, 0));
    } else if (got == 0 || errno != EAGAIN) {
        MUST(epoll_ctl(epfd, EPOLL_CTL_DEL, fd, NULL));
        MUST(close(fd));
        __atomic_add_fetch(&served, 1, __ATOMIC_SEQ_CST);
    }
}

// Every server thread has an instance of its own, and all have the listening socket in theirs.
static void *serve(void *arg)
{
    (void)arg;
    struct epoll_event events[8];
    int epfd = MUST(epoll_create1(EPOLL_CLOEXEC));
    add(epfd, listening, EPOLLIN);
    add(epfd, stop_pipe[0], EPOLLIN);
    for (;;) {
        int count = MUST(epoll_wait(epfd, events, 8, LIMIT_MS));
        if (count == 0)
            return "nothing came";
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == stop_pipe[0]) {
                MUST(close(epfd));
                return NULL;
            }
            if (fd == listening) {
                int new = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
                if (new >= 0)
                    add(epfd, new, EPOLLIN | EPOLLRDHUP);
            } else {
                echo(epfd, fd);
            }
        }
    }
}

static bool ask_once(const struct sockaddr_in *name, unsigned seed)
{
    char out[MESSAGE];
    char back[MESSAGE];
    for (int i = 0; i < MESSAGE; i++)
        out[i] = (char)(seed = seed * 1103515245 + 12345);
    int fd = MUST(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (connect(fd, (const struct sockaddr *)name, sizeof *name) != 0)
        return false;
    for (int at = 0; at < MESSAGE; at += MESSAGE / 3)
        MUST(send(fd, out + at, MESSAGE / 3, 0));
    bool same = read_all(fd, back, MESSAGE) && memcmp(out, back, MESSAGE) == 0;
    MUST(close(fd));
    return same;
}

static void *ask(void *arg)
{
    long good = 0;
    for (unsigned i = 0; i < CONNECTIONS; i++)
        good += ask_once(arg, i * 7919 + (unsigned)good);
    return (void *)good;
}

static void storm(void)
{
    struct sockaddr_in name;
    pthread_t servers[SERVERS];
    pthread_t clients[CLIENTS];
    listening = listener(&name, SOCK_NONBLOCK);
    MUST(pipe(stop_pipe));
    for (int i = 0; i < SERVERS; i++)
        MUST(-pthread_create(&servers[i], NULL, serve, NULL));
    for (int i = 0; i < CLIENTS; i++)
        MUST(-pthread_create(&clients[i], NULL, ask, &name));
    long good = 0;
    for (int i = 0; i < CLIENTS; i++) {
        void *one;
        pthread_join(clients[i], &one);
        good += (long)one;
    }
    SAY(good);
    while (__atomic_load_n(&served, __ATOMIC_SEQ_CST) < SERVERS * CONNECTIONS)
        sched_yield();
    MUST(write(stop_pipe[1], "x", 1));
    for (int i = 0; i < SERVERS; i++) {
        void *why;
        pthread_join(servers[i], &why);
        SAY(why == NULL);
    }
}

// Threads that block in read, write, poll and close of the same connections.
static void *drain(void *arg)
{
    char buf[512];
    long total = 0;
    ssize_t got;
    while ((got = read(*(int *)arg, buf, sizeof buf)) > 0)
        total += got;
    return (void *)total;
}

static void *fill(void *arg)
{
    static char data[700];
    for (int i = 0; i < 500; i++)
        if (write(*(int *)arg, data, sizeof data) != (ssize_t)sizeof data)
            return (void *)1;
    return NULL;
}

static void together(void)
{
    int ends[2];
    pthread_t readers[3];
    pthread_t writers[3];
    connected(ends);
    for (int i = 0; i < 3; i++) {
        MUST(-pthread_create(&readers[i], NULL, drain, &ends[1]));
        MUST(-pthread_create(&writers[i], NULL, fill, &ends[0]));
    }
    for (int i = 0; i < 3; i++) {
        void *failed;
        pthread_join(writers[i], &failed);
        SAY(failed == NULL);
    }
    MUST(shutdown(ends[0], SHUT_WR));
    long total = 0;
    for (int i = 0; i < 3; i++) {
        void *one;
        pthread_join(readers[i], &one);
        total += (long)one;
    }
    SAY(total);
}

// More threads that block than there are event queues: the last ones share one.
enum { PARKED = 256 };

static pid_t receiver_tid;

static void *receive_one(void *arg)
{
    char byte;
    __atomic_store_n(&receiver_tid, gettid(), __ATOMIC_SEQ_CST);
    return (void *)(long)recv(*(int *)arg, &byte, 1, 0);
}

// Starts a thread that receives one byte of *fd, and waits until it sleeps.
static pthread_t start_receiver(int *fd)
{
    pthread_t thread;
    pthread_attr_t small;
    char path[64];
    char state = 0;
    pid_t tid;
    __atomic_store_n(&receiver_tid, 0, __ATOMIC_SEQ_CST);
    MUST(-pthread_attr_init(&small));
    MUST(-pthread_attr_setstacksize(&small, 65536));
    MUST(-pthread_create(&thread, &small, receive_one, fd));
    while ((tid = __atomic_load_n(&receiver_tid, __ATOMIC_SEQ_CST)) == 0)
        sched_yield();
    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", tid);
    while (state < '0' || state > '9') { // "running", or what it sleeps in
        FILE *file = fopen(path, "r");
        state = (char)(file == NULL ? 0 : fgetc(file));
        if (file != NULL)
            MUST(fclose(file));
        sched_yield();
    }
    return thread;
}

static long end_of(pthread_t thread)
{
    void *result;
    pthread_join(thread, &result);
    return (long)result;
}

static void waiters(void)
{
    static pthread_t parked[PARKED];
    int common[2];
    int first[2];
    int second[2];
    connected(common);
    connected(first);
    connected(second);
    for (int i = 0; i < PARKED; i++)
        parked[i] = start_receiver(&common[1]);
    pthread_t sleeps_on = start_receiver(&first[1]);
    pthread_t wakes = start_receiver(&second[1]);
    MUST(write(second[0], "x", 1));
    SAY(end_of(wakes));
    MUST(write(first[0], "x", 1));
    SAY(end_of(sleeps_on));
    MUST(shutdown(common[0], SHUT_WR));
    long sum = 0;
    for (int i = 0; i < PARKED; i++)
        sum += end_of(parked[i]);
    SAY(sum);
}

const struct scenario storm_scenarios[] = {
    {"storm", storm},
    {"together", together},
    {"waiters", waiters},
    {NULL, NULL},
};
