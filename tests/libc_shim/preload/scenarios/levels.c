// levels.c: what poll, select and epoll say of a socket in each state; edges by their cause.
#include "scenario.h"

enum {
    ALL =
        POLLIN | POLLPRI | POLLOUT | POLLRDNORM | POLLRDBAND | POLLWRNORM | POLLWRBAND | POLLRDHUP,
};

static const char *const bits[] = {"IN",     "PRI",    "OUT",    "ERR", "HUP", "NVAL", "RDNORM",
                                   "RDBAND", "WRNORM", "WRBAND", "MSG", "?",   "?",    "RDHUP"};

static void say_mask(const char *how, unsigned mask)
{
    printf("  %s:", how);
    for (unsigned i = 0; i < sizeof bits / sizeof bits[0]; i++)
        if ((mask >> i & 1) != 0)
            printf(" %s", bits[i]);
    printf("\n");
}

static unsigned polled(int fd, unsigned events)
{
    struct pollfd entry = {.fd = fd, .events = (short)events};
    MUST(poll(&entry, 1, 0));
    return (unsigned short)entry.revents;
}

static void say_state(const char *state, int fd)
{
    struct epoll_event event = {.events = ALL};
    struct timeval none = {.tv_sec = 0};
    fd_set sets[3];
    printf("%s\n", state);
    say_mask("poll for all", polled(fd, ALL));
    say_mask("for nothing", polled(fd, 0));
    int epfd = MUST(epoll_create1(0));
    MUST(epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &event));
    say_mask("epoll", epoll_wait(epfd, &event, 1, 0) == 1 ? event.events : 0);
    event.events = EPOLLIN | EPOLLET;
    MUST(epoll_ctl(epfd, EPOLL_CTL_MOD, fd, &event));
    say_mask("epoll for input's edge", epoll_wait(epfd, &event, 1, 0) == 1 ? event.events : 0);
    say_mask("again", epoll_wait(epfd, &event, 1, 0) == 1 ? event.events : 0);
    MUST(close(epfd));
    for (int i = 0; i < 3; i++) {
        FD_ZERO(&sets[i]);
        FD_SET(fd, &sets[i]);
    }
    int count = MUST(select(fd + 1, &sets[0], &sets[1], &sets[2], &none));
    printf("  select: %d:%s%s%s\n", count, FD_ISSET(fd, &sets[0]) ? " read" : "",
           FD_ISSET(fd, &sets[1]) ? " write" : "", FD_ISSET(fd, &sets[2]) ? " except" : "");
}

static void fresh_states(void)
{
    struct sockaddr_in name = loopback(0);
    struct sockaddr_in peer;
    int fd = MUST(socket(AF_INET, SOCK_STREAM, 0));
    say_state("unconnected", fd);
    MUST(bind(fd, (struct sockaddr *)&name, sizeof name));
    say_state("bound", fd);
    SAY(shutdown(fd, SHUT_RDWR));
    say_state("shut, unconnected", fd);
    int listening = listener(&peer, SOCK_NONBLOCK);
    say_state("listening", listening);
    int client = MUST(socket(AF_INET, SOCK_STREAM, 0));
    MUST(connect(client, (struct sockaddr *)&peer, sizeof peer));
    SAY(wait_for(listening, POLLIN) & POLLIN);
    say_state("listening, one waits", listening);
    say_state("connected, not accepted", client);
    MUST(close(client));
    int accepted = MUST(accept(listening, NULL, NULL));
    SAY(wait_for(accepted, POLLRDHUP) & POLLRDHUP);
    say_state("accepted after its end", accepted);
    SAY(shutdown(listening, SHUT_RD));
    say_state("listening no more", listening);
    MUST(close(accepted));
    int refused = MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    MUST(close(listening));
    // At once, or a little later.
    bool told =
        connect(refused, (struct sockaddr *)&peer, sizeof peer) == -1 && errno == ECONNREFUSED;
    int error = 0;
    socklen_t length = sizeof error;
    SAY(wait_for(refused, POLLOUT) & POLLHUP);
    MUST(getsockopt(refused, SOL_SOCKET, SO_ERROR, &error, &length));
    SAY(told || error == ECONNREFUSED);
    say_state("refused, and told", refused);
}

static void connected_states(void)
{
    int ends[2];
    char buf[8];
    connected(ends);
    say_state("connected", ends[0]);
    MUST(write(ends[1], "x", 1));
    SAY(wait_for(ends[0], POLLIN) & POLLIN);
    say_state("with data", ends[0]);
    SAY(recv(ends[0], buf, 8, MSG_PEEK));
    say_state("peeked", ends[0]);
    SAY(read(ends[0], buf, 8));
    MUST(shutdown(ends[1], SHUT_WR));
    SAY(wait_for(ends[0], POLLRDHUP) & POLLRDHUP);
    say_state("the other has shut", ends[0]);
    say_state("has shut", ends[1]);
    MUST(shutdown(ends[0], SHUT_WR));
    SAY(wait_for(ends[0], 0) & POLLHUP);
    say_state("both have shut", ends[0]);
    SAY(read(ends[0], buf, 8));
    say_state("both, end read", ends[0]);
    close(ends[0]);
    close(ends[1]);

    connected(ends);
    SAY(shutdown(ends[0], SHUT_RD));
    say_state("reading shut", ends[0]);
    SAY(shutdown(ends[0], SHUT_WR));
    say_state("all shut", ends[0]);
    close(ends[0]);
    close(ends[1]);

    struct linger now = {.l_onoff = 1};
    connected(ends);
    MUST(setsockopt(ends[1], SOL_SOCKET, SO_LINGER, &now, sizeof now));
    MUST(close(ends[1]));
    SAY(wait_for(ends[0], 0) & POLLERR);
    say_state("reset", ends[0]);
    SAY(read(ends[0], buf, 8));
    say_state("reset, and told", ends[0]);
    SAY(read(ends[0], buf, 8));
    close(ends[0]);

    connected(ends);
    static char data[1 << 16];
    int flags = fcntl(ends[0], F_GETFL);
    SAY(fcntl(ends[0], F_SETFL, flags | O_NONBLOCK));
    SAY(fill_up(ends[0]) > 0);
    say_state("full", ends[0]);
    MUST(fcntl(ends[1], F_SETFL, O_NONBLOCK));
    while ((polled(ends[0], POLLOUT) & POLLOUT) == 0)
        (void)!read(ends[1], data, sizeof data);
    say_state("with room", ends[0]);
}

static void datagram_states(void)
{
    struct sockaddr_in name = loopback(0);
    socklen_t length = sizeof name;
    int fd = MUST(socket(AF_INET, SOCK_DGRAM, 0));
    say_state("datagrams", fd);
    MUST(bind(fd, (struct sockaddr *)&name, sizeof name));
    MUST(getsockname(fd, (struct sockaddr *)&name, &length));
    int other = MUST(socket(AF_INET, SOCK_DGRAM, 0));
    MUST(connect(other, (struct sockaddr *)&name, sizeof name));
    MUST(send(other, "", 0, 0));
    SAY(wait_for(fd, POLLIN) & POLLIN);
    say_state("an empty one waits", fd);
    char buf[8];
    SAY(read(fd, buf, 8));
    MUST(close(fd));
    MUST(send(other, "x", 1, 0));
    SAY(wait_for(other, 0) & POLLERR);
    say_state("refused", other);
    SAY(shutdown(other, SHUT_RD));
    say_state("refused and shut", other);
    SAY(shutdown(other, SHUT_WR));
    say_state("refused and all shut", other);
}

// -- Edges by their cause --------------------------------------------------------------------

static void say_edge(const char *what, int epfd, int timeout_ms)
{
    struct epoll_event event;
    int count = MUST(epoll_wait(epfd, &event, 1, timeout_ms));
    say_mask(what, count == 1 ? event.events : 0);
}

static int edges_of(int fd, unsigned events)
{
    struct epoll_event event = {.events = events | EPOLLET};
    int epfd = MUST(epoll_create1(0));
    MUST(epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &event));
    return epfd;
}

// One that waits for room only hears nothing of data, and the other way round.
static void edges(void)
{
    int ends[2];
    char buf[8];
    connected(ends);
    int out = edges_of(ends[0], EPOLLOUT);
    int in = edges_of(ends[0], EPOLLIN);
    int both = edges_of(ends[0], EPOLLIN | EPOLLOUT);
    int hangup = edges_of(ends[0], EPOLLRDHUP);
    say_edge("out, at first", out, LIMIT_MS);
    say_edge("in, at first", in, 0);
    say_edge("both, at first", both, LIMIT_MS);
    MUST(write(ends[1], "x", 1));
    say_edge("in, of data", in, LIMIT_MS);
    say_edge("both, of data", both, LIMIT_MS);
    say_edge("out, of data", out, 0);
    say_edge("hang-up, of data", hangup, 0);
    // Data of ours, acknowledged: nobody waited for room.
    MUST(write(ends[0], "y", 1));
    SAY(read(ends[1], buf, 8));
    int left = 1;
    const time_t deadline = time(NULL) + LIMIT_MS / 1000;
    while (left != 0 && time(NULL) < deadline)
        MUST(ioctl(ends[0], TIOCOUTQ, &left));
    SAY(left);
    say_edge("out, of an acknowledgement", out, 0);
    say_edge("in, of an acknowledgement", in, 0);
    MUST(shutdown(ends[1], SHUT_WR));
    say_edge("hang-up, of the end", hangup, LIMIT_MS);
    say_edge("in, of the end", in, LIMIT_MS);
    say_edge("in, again", in, 0);
    MUST(shutdown(ends[0], SHUT_WR));
    say_edge("hang-up, of both ends", hangup, LIMIT_MS);
}

static void edges_of_room(void)
{
    static char data[1 << 16];
    int ends[2];
    connected(ends);
    MUST(fcntl(ends[0], F_SETFL, O_NONBLOCK));
    MUST(fcntl(ends[1], F_SETFL, O_NONBLOCK));
    int out = edges_of(ends[0], EPOLLOUT);
    say_edge("at first", out, LIMIT_MS);
    for (int round = 0; round < 3; round++) {
        // In small pieces, as programs do; the last does not fit.
        while (write(ends[0], data, 1000) == 1000) {
        }
        struct epoll_event event;
        int count = 0;
        while (count == 0) {
            while (read(ends[1], data, sizeof data) > 0) {
            }
            count = MUST(epoll_wait(out, &event, 1, 1));
        }
        say_mask("of room", event.events);
    }
}

static void connecting_edges(void)
{
    struct sockaddr_in name;
    int listening = listener(&name, 0);
    int fd = MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    int out = edges_of(fd, EPOLLOUT | EPOLLIN | EPOLLRDHUP);
    say_edge("unconnected", out, 0);
    say_edge("again", out, 0);
    (void)connect(fd, (struct sockaddr *)&name, sizeof name);
    say_edge("connected", out, LIMIT_MS);
    say_edge("again", out, 0);
    MUST(close(listening));
}

const struct scenario levels_scenarios[] = {
    {"fresh_states", fresh_states},
    {"connected_states", connected_states},
    {"datagram_states", datagram_states},
    {"edges", edges},
    {"edges_of_room", edges_of_room},
    {"connecting_edges", connecting_edges},
    {NULL, NULL},
};
