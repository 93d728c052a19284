// share.c: sockets that several processes hold, by fork.
#include "sharing.h"

#include <grp.h>

static void serve(int ends[2])
{
    struct sockaddr_in name = {.sin_port = 0};
    socklen_t length = sizeof name;
    close(ends[0]);
    SAY(getpeername(ends[1], (struct sockaddr *)&name, &length));
    SAY(ntohl(name.sin_addr.s_addr) == INADDR_LOOPBACK);
    say_read(ends[1], 6);
    SAY(write(ends[1], "reply", 5));
}

// accept, fork, the parent closes: inetd, sshd, PostgreSQL.
static void child_serves(void)
{
    int ends[2];
    connected(ends);
    SAY(write(ends[0], "before", 6));
    pid_t pid = in_child(serve, ends);
    MUST(close(ends[1]));
    say_end_of(pid);
    say_read(ends[0], 5);
    char more;
    SAY(read(ends[0], &more, 1)); // the child's end was its last
    SAY(close(ends[0]));
}

static void write_second_half(int ends[2])
{
    close(ends[0]);
    fcntl(ends[1], F_SETFL, 0);
    write_many(ends[1], 1000000);
}

// What was not read and not acknowledged yet goes along.
static void child_goes_on(void)
{
    int ends[2];
    size_t first = 0, got = 0;
    connected(ends);
    fcntl(ends[1], F_SETFL, O_NONBLOCK);
    for (;;) {
        uint8_t piece[1000];
        for (size_t i = 0; i < sizeof piece; i++)
            piece[i] = byte_at(first + i);
        ssize_t sent = write(ends[1], piece, sizeof piece);
        if (sent < 0)
            break;
        first += (size_t)sent;
    }
    SAY(first > 10000);
    pid_t pid = in_child(write_second_half, ends);
    MUST(close(ends[1]));
    bool same = true;
    for (;;) {
        uint8_t piece[4096];
        ssize_t n = MUST(read(ends[0], piece, sizeof piece));
        if (n == 0)
            break;
        for (size_t i = 0; i < (size_t)n; i++, got++)
            same = same && piece[i] == byte_at(got < first ? got : 1000000 + got - first);
    }
    say_end_of(pid);
    SAY(got == first + MANY);
    SAY(same);
}

// Those who would use it are gone before the child begins.
static void parent_exits(void)
{
    int ends[2], alive[2], done[2];
    char byte;
    MUST(pipe(alive));
    MUST(pipe(done));
    fflush(stdout);
    pid_t parent = MUST(fork());
    if (parent == 0) {
        connected(ends);
        MUST(write(ends[0], "left", 4));
        if (MUST(fork()) != 0)
            _exit(0);
        close(alive[1]);
        if (read(alive[0], &byte, 1) != 0)
            _exit(1);
        say_read(ends[1], 4);
        SAY(write(ends[1], "by a daemon", 11));
        SAY(shutdown(ends[1], SHUT_WR));
        say_read(ends[0], 11);
        SAY(read(ends[0], &byte, 1));
        fflush(stdout);
        _exit(0);
    }
    close(done[1]);
    say_end_of(parent);
    MUST(close(alive[1])); // now nobody but the grandchild holds the pipe
    SAY(read(done[0], &byte, 1));
}

static void only_close(int ends[2])
{
    SAY(close(ends[0]));
    SAY(close(ends[0]));
    SAY(close(ends[1]));
}

// A child that closes, or does nothing at all, takes nothing away.
static void child_closes(void)
{
    int ends[2];
    connected(ends);
    say_end_of(in_child(only_close, ends));
    both_ways(ends);
    SAY(close(ends[1]));
    char byte;
    SAY(read(ends[0], &byte, 1));
}

// One after the other: the child, then the parent again.
static void in_turn(void)
{
    int ends[2];
    connected(ends);
    for (int i = 0; i < 3; i++) {
        say_end_of(in_child(both_ways, ends));
        both_ways(ends);
    }
    SAY(close(ends[0]));
    char byte;
    SAY(read(ends[1], &byte, 1));
}

static void close_all_but_output(int ends[2])
{
    SAY(close_range(3, ~0u, 0));
    SAY(write(ends[0], "x", 1));
    connected(ends);
    both_ways(ends);
}

static void child_closes_all(void)
{
    int ends[2];
    connected(ends);
    say_end_of(in_child(close_all_but_output, ends));
    both_ways(ends);
}

static void shut(int ends[2]) { SAY(shutdown(ends[1], SHUT_WR)); }

static void child_shuts(void)
{
    int ends[2];
    char byte;
    connected(ends);
    say_end_of(in_child(shut, ends));
    SAY(read(ends[0], &byte, 1));
    SAY(write(ends[0], "half", 4));
    say_read(ends[1], 4);
}

static void as_nobody(int ends[2])
{
    if (geteuid() == 0) {
        MUST(chroot("/"));
        MUST(setgroups(0, NULL));
        MUST(setgid(65534));
        MUST(setuid(65534));
    }
    both_ways(ends);
    connected(ends);
    both_ways(ends);
}

// A child that has given up its privileges is admitted as its parent was.
static void child_drops(void)
{
    int ends[2];
    say_end_of(in_child(as_nobody, (int[2]){-1, -1})); // before there is any socket
    connected(ends);
    say_end_of(in_child(as_nobody, ends));
}

static void use_duplicate(int ends[2])
{
    int second = MUST(dup(ends[1]));
    SAY(close(ends[1]));
    ends[1] = second;
    both_ways(ends);
    SAY(dup2(ends[0], ends[1]));
    SAY(write(ends[1], "same", 4));
}

static void duplicates_inherited(void)
{
    int ends[2];
    connected(ends);
    int third = MUST(dup(ends[1]));
    pid_t pid = in_child(use_duplicate, ends);
    MUST(close(ends[1]));
    MUST(close(ends[0]));
    say_end_of(pid);
    say_read(third, 4);
    char byte;
    SAY(read(third, &byte, 1));
}

static void poll_first(int ends[2])
{
    SAY(wait_for(ends[1], POLLIN));
    say_read(ends[1], 4);
    int epfd = MUST(epoll_create1(0));
    struct epoll_event event = {.events = EPOLLIN};
    SAY(epoll_ctl(epfd, EPOLL_CTL_ADD, ends[1], &event));
    SAY(write(ends[0], "more", 4));
    SAY(epoll_wait(epfd, &event, 1, LIMIT_MS));
    say_read(ends[1], 4);
    fd_set set;
    FD_ZERO(&set);
    FD_SET(ends[0], &set);
    SAY(select(ends[0] + 1, NULL, &set, NULL, NULL));
}

static void child_polls(void)
{
    int ends[2];
    connected(ends);
    SAY(write(ends[0], "news", 4));
    say_end_of(in_child(poll_first, ends));
}

static void grand(int ends[2]) { say_end_of(in_child(both_ways, ends)); }

static void grandchild(void)
{
    int ends[2];
    connected(ends);
    say_end_of(in_child(grand, ends));
    both_ways(ends);
}

const struct scenario share_scenarios[] = {
    {"child_serves", child_serves},
    {"child_goes_on", child_goes_on},
    {"parent_exits", parent_exits},
    {"child_closes", child_closes},
    {"in_turn", in_turn},
    {"child_closes_all", child_closes_all},
    {"child_shuts", child_shuts},
    {"child_drops", child_drops},
    {"duplicates_inherited", duplicates_inherited},
    {"child_polls", child_polls},
    {"grandchild", grandchild},
    {NULL, NULL},
};
