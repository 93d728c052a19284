// inherited.c: epoll instances that came over fork(), with what was registered in them.
#include "scenario.h"

static int put(int epfd, int op, int fd, unsigned events, unsigned data)
{
    struct epoll_event event = {.events = events, .data.u64 = data};
    return epoll_ctl(epfd, op, fd, &event);
}

static void say(const char *what, int epfd, int timeout_ms)
{
    struct epoll_event events[8];
    int count = epoll_wait(epfd, events, 8, timeout_ms);
    printf("%s: %d", what, count);
    for (unsigned data = 0; data < 64; data++)
        for (int i = 0; i < count; i++)
            if (events[i].data.u32 == data)
                printf(" %u:%x", data, events[i].events);
    printf("\n");
}

// Runs in a child; the parent goes on when it has ended.
static void in_child(void (*body)(int *), int *fds)
{
    int status;
    fflush(stdout);
    pid_t pid = MUST(fork());
    if (pid == 0) {
        body(fds);
        exit(0);
    }
    MUST(waitpid(pid, &status, 0));
    SAY(status);
}

enum { EPFD, CLIENT, SERVER, LISTENING, TUBE_OUT, TUBE_IN, OUTER };

static void wait_for_data(int *fds)
{
    char buf[8];
    say("child, nothing", fds[EPFD], 0);
    MUST(write(fds[CLIENT], "x", 1));
    say("child, data", fds[EPFD], LIMIT_MS);
    SAY(read(fds[SERVER], buf, 8));
    say("child, read", fds[EPFD], 0);
    SAY(put(fds[EPFD], EPOLL_CTL_ADD, fds[SERVER], EPOLLIN, 9));
    SAY(put(fds[EPFD], EPOLL_CTL_MOD, fds[SERVER], EPOLLOUT, 9));
    say("child, room", fds[EPFD], LIMIT_MS);
    SAY(put(fds[EPFD], EPOLL_CTL_DEL, fds[SERVER], 0, 0));
    say("child, taken out", fds[EPFD], 0);
}

// As after daemon(): the parent has made everything, the child goes on alone.
static void epoll_in_child(void)
{
    int fds[OUTER + 1];
    connected(fds + CLIENT);
    fds[EPFD] = MUST(epoll_create1(0));
    MUST(put(fds[EPFD], EPOLL_CTL_ADD, fds[SERVER], EPOLLIN, 1));
    say("parent", fds[EPFD], 0);
    in_child(wait_for_data, fds);
}

static void poll_instances(int *fds)
{
    struct pollfd entry = {.fd = fds[OUTER], .events = POLLIN};
    SAY(poll(&entry, 1, 0));
    MUST(write(fds[CLIENT], "x", 1));
    SAY(poll(&entry, 1, LIMIT_MS));
    say("outer", fds[OUTER], LIMIT_MS);
    say("inner", fds[EPFD], LIMIT_MS);
    MUST(write(fds[TUBE_IN], "x", 1));
    char c;
    MUST(read(fds[SERVER], &c, 1));
    say("the pipe, outer", fds[OUTER], LIMIT_MS);
    say("the pipe, inner", fds[EPFD], LIMIT_MS);
}

static void nested_in_child(void)
{
    int fds[OUTER + 1];
    connected(fds + CLIENT);
    MUST(pipe(fds + TUBE_OUT));
    fds[EPFD] = MUST(epoll_create1(0));
    fds[OUTER] = MUST(epoll_create1(0));
    MUST(put(fds[EPFD], EPOLL_CTL_ADD, fds[SERVER], EPOLLIN | EPOLLET, 1));
    MUST(put(fds[EPFD], EPOLL_CTL_ADD, fds[TUBE_OUT], EPOLLIN, 2));
    MUST(put(fds[OUTER], EPOLL_CTL_ADD, fds[EPFD], EPOLLIN, 3));
    in_child(poll_instances, fds);
}

static void accept_in_child(int *fds)
{
    struct sockaddr_in name;
    socklen_t length = sizeof name;
    MUST(getsockname(fds[LISTENING], (struct sockaddr *)&name, &length));
    say("none waits", fds[EPFD], 0);
    int client = MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    bool going =
        connect(client, (struct sockaddr *)&name, sizeof name) == 0 || errno == EINPROGRESS;
    SAY(going);
    say("one waits", fds[EPFD], LIMIT_MS);
    SAY(accept(fds[LISTENING], NULL, NULL) >= 0);
    say("accepted", fds[EPFD], 0);
}

static void listen_in_child(void)
{
    struct sockaddr_in name;
    int fds[OUTER + 1];
    fds[LISTENING] = listener(&name, SOCK_NONBLOCK);
    fds[EPFD] = MUST(epoll_create1(0));
    MUST(put(fds[EPFD], EPOLL_CTL_ADD, fds[LISTENING], EPOLLIN, 4));
    in_child(accept_in_child, fds);
}

// A child that uses none of it, and closes it, disturbs nobody.
static void close_in_child(int *fds)
{
    SAY(close(fds[EPFD]));
    SAY(close(fds[CLIENT]));
    SAY(close(fds[SERVER]));
}

static void closed_in_child(void)
{
    int fds[OUTER + 1];
    connected(fds + CLIENT);
    fds[EPFD] = MUST(epoll_create1(0));
    MUST(put(fds[EPFD], EPOLL_CTL_ADD, fds[SERVER], EPOLLIN, 1));
    say("before", fds[EPFD], 0);
    in_child(close_in_child, fds);
    say("after", fds[EPFD], 0);
    MUST(write(fds[CLIENT], "x", 1));
    say("data", fds[EPFD], LIMIT_MS);
}

const struct scenario inherited_scenarios[] = {
    {"epoll_in_child", epoll_in_child},
    {"nested_in_child", nested_in_child},
    {"closed_in_child", closed_in_child},
    {"listen_in_child", listen_in_child},
    {NULL, NULL},
};
