// connections_bench.c: see connections_bench.h.
#include "bench/connections_bench.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 256 };

static uint64_t clock_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static int add(int epoll, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

// -- The server --------------------------------------------------------------------------------

static int accept_all(int epoll, int listener)
{
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
        if (fd < 0)
            return errno == EAGAIN ? 0 : -errno;
        if (add(epoll, fd) != 0)
            return -errno;
    }
}

// Answers are small: there is room for them.
static int echo(int fd)
{
    char buffer[4096];
    ssize_t got = recv(fd, buffer, sizeof buffer, 0);
    if (got > 0)
        return send(fd, buffer, (size_t)got, MSG_NOSIGNAL) == got ? 0 : -EIO;
    if (got < 0 && errno == EAGAIN)
        return 0;
    return close(fd) == 0 ? 0 : -errno;
}

int nt_bench_echo(int listener)
{
    struct epoll_event event[EVENTS];
    int epoll = epoll_create1(EPOLL_CLOEXEC), result = 0;
    if (epoll < 0 || add(epoll, listener) != 0)
        return -errno;
    while (result == 0) {
        int count = epoll_wait(epoll, event, EVENTS, -1);
        if (count < 0 && errno != EINTR)
            return -errno;
        for (int i = 0; i < count && result == 0; i++) {
            int fd = event[i].data.fd;
            result = fd == listener ? accept_all(epoll, listener) : echo(fd);
        }
    }
    return result;
}

// -- The client --------------------------------------------------------------------------------

struct asking {
    const int *fds;
    uint32_t among;
    uint32_t window;
    uint64_t seed;
    bool *busy; // by descriptor
    int64_t answered;
    uint64_t heard_ns; // the last answers
    uint64_t pause_ns; // the longest time between two
};

static uint64_t next_random(uint64_t *state) // xorshift64 (Marsaglia 2003)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static int ask(struct asking *asking, int fd)
{
    static const char request[NT_BENCH_REQUEST_BYTES];
    asking->busy[fd] = true;
    return send(fd, request, sizeof request, MSG_NOSIGNAL) == sizeof request ? 0 : -EIO;
}

static int ask_anybody(struct asking *asking)
{
    int fd;
    do
        fd = asking->fds[next_random(&asking->seed) % asking->among];
    while (asking->busy[fd]);
    return ask(asking, fd);
}

// The answer comes in one piece, as it was sent.
static int take(struct asking *asking, int fd, bool more)
{
    char answer[NT_BENCH_REQUEST_BYTES];
    ssize_t got = recv(fd, answer, sizeof answer, 0);
    if (got < 0 && errno == EAGAIN)
        return 0;
    if (got != sizeof answer)
        return -EIO;
    asking->busy[fd] = false;
    asking->answered++;
    if (!more)
        return 0;
    return asking->among == asking->window ? ask(asking, fd) : ask_anybody(asking);
}

static void note_pause(struct asking *asking, uint64_t now_ns)
{
    uint64_t pause_ns = now_ns - asking->heard_ns;
    asking->pause_ns = pause_ns > asking->pause_ns ? pause_ns : asking->pause_ns;
    asking->heard_ns = now_ns;
}

static int ask_until(struct asking *asking, int epoll, uint64_t end_ns)
{
    struct epoll_event event[EVENTS];
    int64_t asked = asking->window;
    for (uint32_t i = 0; i < asking->window; i++) {
        int result =
            asking->among == asking->window ? ask(asking, asking->fds[i]) : ask_anybody(asking);
        if (result != 0)
            return result;
    }
    bool more = true;
    while (more || asking->answered < asked) {
        int count = epoll_wait(epoll, event, EVENTS, -1);
        if (count < 0 && errno != EINTR)
            return -errno;
        uint64_t now_ns = clock_ns();
        if (count > 0)
            note_pause(asking, now_ns);
        more = more && now_ns < end_ns;
        for (int i = 0; i < count; i++) {
            int64_t before = asking->answered;
            int result = take(asking, event[i].data.fd, more);
            if (result != 0)
                return result;
            asked += more ? asking->answered - before : 0;
        }
    }
    return 0;
}

int64_t nt_bench_ask(int epoll, const int *fds, uint32_t among, uint32_t window, uint64_t ns,
                     uint64_t seed, uint64_t *pause_ns)
{
    struct asking asking = {.fds = fds, .among = among, .window = window, .seed = seed | 1};
    asking.heard_ns = clock_ns();
    asking.busy = calloc(NT_BENCH_DESCRIPTORS_MAX, sizeof *asking.busy);
    if (asking.busy == NULL)
        return -ENOMEM;
    int result =
        window == 0 || window > among ? -EINVAL : ask_until(&asking, epoll, asking.heard_ns + ns);
    free(asking.busy);
    *pause_ns = asking.pause_ns;
    return result < 0 ? result : asking.answered;
}
