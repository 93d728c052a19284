// event.c: epoll, poll and select, with newtos and kernel descriptors mixed.
#include "scenario.h"

static void say_wait(int epfd, int timeout_ms)
{
    struct epoll_event events[8];
    int count = epoll_wait(epfd, events, 8, timeout_ms);
    printf("epoll_wait = %d\n", count);
    // The order among descriptors is nobody's promise.
    for (unsigned data = 0; data < 64; data++)
        for (int i = 0; i < count; i++)
            if (events[i].data.u32 == data) {
                printf("  %u", data);
                say_events("", events[i].events);
            }
}

static int add(int epfd, int fd, unsigned events, unsigned data)
{
    struct epoll_event event = {.events = events, .data.u64 = data};
    return epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &event);
}

static int change(int epfd, int fd, unsigned events, unsigned data)
{
    struct epoll_event event = {.events = events, .data.u64 = data};
    return epoll_ctl(epfd, EPOLL_CTL_MOD, fd, &event);
}

static void epoll_levels(void)
{
    int ends[2];
    char buf[16];
    connected(ends);
    int epfd = MUST(epoll_create1(EPOLL_CLOEXEC));
    SAY(add(epfd, ends[1], EPOLLIN | EPOLLRDHUP, 1));
    SAY(add(epfd, ends[0], EPOLLOUT, 2));
    say_wait(epfd, 0);
    say_wait(epfd, 0);
    SAY(change(epfd, ends[0], EPOLLIN, 3));
    say_wait(epfd, 0);
    MUST(write(ends[0], "abcd", 4));
    say_wait(epfd, LIMIT_MS);
    SAY(read(ends[1], buf, 2));
    say_wait(epfd, LIMIT_MS);
    SAY(read(ends[1], buf, 16));
    say_wait(epfd, 0);
    MUST(shutdown(ends[0], SHUT_WR));
    say_wait(epfd, LIMIT_MS);
    SAY(change(epfd, ends[1], EPOLLOUT, 4));
    say_wait(epfd, LIMIT_MS);
    SAY(shutdown(ends[1], SHUT_WR));
    SAY(wait_for(ends[1], 0) & POLLHUP);
    SAY(change(epfd, ends[1], 0, 5));
    SAY(epoll_ctl(epfd, EPOLL_CTL_DEL, ends[0], NULL));
    say_wait(epfd, LIMIT_MS);
    SAY(close(ends[1]));
    say_wait(epfd, 0);
    SAY(epoll_ctl(epfd, EPOLL_CTL_DEL, ends[0], NULL));
}

static void epoll_edges(void)
{
    int ends[2];
    char buf[16];
    connected(ends);
    int epfd = MUST(epoll_create1(0));
    SAY(add(epfd, ends[1], EPOLLIN | EPOLLET, 1));
    say_wait(epfd, 0);
    MUST(write(ends[0], "abcd", 4));
    say_wait(epfd, LIMIT_MS);
    say_wait(epfd, 0);
    SAY(read(ends[1], buf, 1));
    say_wait(epfd, 0);
    MUST(write(ends[0], "e", 1));
    say_wait(epfd, LIMIT_MS);
    SAY(change(epfd, ends[1], EPOLLIN | EPOLLOUT | EPOLLET, 1));
    say_wait(epfd, LIMIT_MS);
    say_wait(epfd, 0);
    SAY(change(epfd, ends[1], EPOLLIN | EPOLLONESHOT, 1));
    say_wait(epfd, LIMIT_MS);
    MUST(write(ends[0], "f", 1));
    say_wait(epfd, 0);
    SAY(change(epfd, ends[1], EPOLLIN | EPOLLONESHOT, 2));
    say_wait(epfd, LIMIT_MS);
    say_wait(epfd, 0);
}

static void epoll_mixed(void)
{
    int ends[2];
    int tube[2];
    uint64_t one = 1;
    connected(ends);
    MUST(pipe(tube));
    int bell = MUST(eventfd(0, EFD_NONBLOCK));
    int epfd = MUST(epoll_create1(0));
    SAY(add(epfd, tube[0], EPOLLIN, 1));
    SAY(add(epfd, bell, EPOLLIN, 2));
    say_wait(epfd, 0);
    SAY(add(epfd, ends[1], EPOLLIN, 3));
    say_wait(epfd, 10);
    MUST(write(tube[1], "x", 1));
    say_wait(epfd, LIMIT_MS);
    MUST(write(ends[0], "x", 1));
    SAY(wait_for(ends[1], POLLIN) & POLLIN);
    // Newtos sockets that stay ready don't hide the kernel's descriptors for ever.
    struct epoll_event events[2];
    int pipes = 0;
    int sockets = 0;
    for (int i = 0; i < 200; i++) {
        int count = epoll_wait(epfd, events, 2, LIMIT_MS);
        for (int j = 0; j < count; j++) {
            pipes += events[j].data.u32 == 1;
            sockets += events[j].data.u32 == 3;
        }
    }
    SAY(pipes > 0 && sockets > 0);
    char c;
    MUST(read(tube[0], &c, 1));
    MUST(read(ends[1], &c, 1));
    say_wait(epfd, 0);
    MUST(write(bell, &one, 8));
    say_wait(epfd, LIMIT_MS);
    SAY(read(bell, &one, 8));
    int timer = MUST(timerfd_create(CLOCK_MONOTONIC, 0));
    SAY(add(epfd, timer, EPOLLIN, 4));
    struct itimerspec soon = {.it_value = {.tv_nsec = 2000000}};
    MUST(timerfd_settime(timer, 0, &soon, NULL));
    say_wait(epfd, LIMIT_MS);
    int null = MUST(open("/dev/null", O_RDONLY));
    SAY(add(epfd, null, EPOLLIN, 5));
}

static void epoll_wrong(void)
{
    int ends[2];
    struct epoll_event event = {.events = EPOLLIN};
    connected(ends);
    int epfd = MUST(epoll_create(1));
    SAY(epoll_create(0));
    SAY(epoll_ctl(epfd, EPOLL_CTL_ADD, ends[0], &event));
    SAY(epoll_ctl(epfd, EPOLL_CTL_ADD, ends[0], &event));
    SAY(epoll_ctl(epfd, EPOLL_CTL_MOD, ends[1], &event));
    SAY(epoll_ctl(epfd, EPOLL_CTL_DEL, ends[1], &event));
    SAY(epoll_ctl(epfd, 9, ends[0], &event));
    SAY(epoll_ctl(epfd, EPOLL_CTL_ADD, 77, &event));
    SAY(epoll_ctl(77, EPOLL_CTL_ADD, ends[1], &event));
    SAY(epoll_ctl(1, EPOLL_CTL_ADD, ends[1], &event));
    SAY(epoll_ctl(ends[1], EPOLL_CTL_ADD, ends[0], &event));
    SAY(epoll_ctl(epfd, EPOLL_CTL_ADD, epfd, &event));
    SAY(epoll_wait(epfd, &event, 0, 0));
    SAY(epoll_wait(ends[0], &event, 1, 0));
    SAY(epoll_wait(78, &event, 1, 0));
    int copy = dup(ends[0]);
    event.data.u64 = 7;
    SAY(epoll_ctl(epfd, EPOLL_CTL_ADD, copy, &event)); // the same file by another number
    MUST(write(ends[1], "x", 1));
    SAY(wait_for(ends[0], POLLIN) & POLLIN);
    struct epoll_event two[4];
    SAY(epoll_wait(epfd, two, 4, LIMIT_MS));
    SAY(close(ends[0]));
    SAY(epoll_wait(epfd, two, 4, LIMIT_MS)); // both stay while the file is open
    SAY(close(copy));
    SAY(epoll_wait(epfd, two, 4, 0));
    int again = dup(epfd);
    SAY(close(epfd));
    SAY(epoll_ctl(again, EPOLL_CTL_ADD, ends[1], &event));
    SAY(epoll_wait(again, two, 4, LIMIT_MS));
}

static void *write_later(void *arg)
{
    // After the other thread is seen asleep: nothing else shows that it blocks.
    int *fds = arg;
    char state = 0;
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", fds[1]);
    for (int i = 0; i < 10000 && state != 'S'; i++) {
        char text[256] = {0};
        int fd = open(path, O_RDONLY);
        if (fd >= 0 && read(fd, text, sizeof text - 1) > 0 && strrchr(text, ')') != NULL)
            state = strrchr(text, ')')[2];
        close(fd);
        sched_yield();
    }
    (void)!write(fds[0], "late", 4);
    return NULL;
}

static pthread_t writer(int fds[2])
{
    pthread_t thread;
    fds[1] = (int)syscall(SYS_gettid);
    MUST(-pthread_create(&thread, NULL, write_later, fds));
    return thread;
}

static void waking(void)
{
    int ends[2];
    int tube[2];
    char buf[16];
    connected(ends);
    MUST(pipe(tube));
    int epfd = MUST(epoll_create1(0));
    SAY(add(epfd, ends[1], EPOLLIN, 1));
    SAY(add(epfd, tube[0], EPOLLIN, 2));
    int fds[2] = {ends[0]};
    pthread_t thread = writer(fds);
    say_wait(epfd, LIMIT_MS);
    pthread_join(thread, NULL);
    SAY(read(ends[1], buf, 16));
    fds[0] = tube[1];
    thread = writer(fds);
    say_wait(epfd, LIMIT_MS);
    pthread_join(thread, NULL);
    SAY(read(tube[0], buf, 16));
    fds[0] = ends[0];
    thread = writer(fds);
    SAY(read(ends[1], buf, 16)); // also in the epoll instance
    pthread_join(thread, NULL);
    struct pollfd both[2] = {{.fd = ends[1], .events = POLLIN}, {.fd = tube[0], .events = POLLIN}};
    thread = writer(fds);
    SAY(poll(both, 2, LIMIT_MS));
    pthread_join(thread, NULL);
    say_events("socket", (unsigned short)both[0].revents);
    SAY(read(ends[1], buf, 16));
    fds[0] = tube[1];
    thread = writer(fds);
    SAY(poll(both, 2, LIMIT_MS));
    pthread_join(thread, NULL);
    say_events("pipe", (unsigned short)both[1].revents);
    SAY(read(tube[0], buf, 16));
    // An epoll descriptor in poll.
    struct pollfd nested = {.fd = epfd, .events = POLLIN};
    SAY(poll(&nested, 1, 0));
    fds[0] = ends[0];
    thread = writer(fds);
    SAY(poll(&nested, 1, LIMIT_MS));
    pthread_join(thread, NULL);
    say_wait(epfd, LIMIT_MS);
    SAY(read(ends[1], buf, 16));
    SAY(poll(&nested, 1, 0));
    // A second instance for the same socket: both hear of it.
    int other = MUST(epoll_create1(0));
    SAY(add(other, ends[1], EPOLLIN, 9));
    thread = writer(fds);
    say_wait(other, LIMIT_MS);
    pthread_join(thread, NULL);
    say_wait(epfd, LIMIT_MS);
    SAY(read(ends[1], buf, 16));
    SAY(close(other));
    thread = writer(fds);
    say_wait(epfd, LIMIT_MS);
    pthread_join(thread, NULL);
}

// A socket comes into an instance in which another thread sleeps already.
static void *add_later(void *arg)
{
    const int *fds = arg;
    MUST(add(fds[1], fds[0], EPOLLIN, 5));
    return NULL;
}

static void joining(void)
{
    int ends[2];
    int tube[2];
    connected(ends);
    MUST(pipe(tube));
    MUST(write(ends[0], "x", 1));
    int epfd = MUST(epoll_create1(0));
    MUST(add(epfd, tube[0], EPOLLIN, 1));
    int fds[2] = {ends[1], epfd};
    pthread_t thread;
    MUST(-pthread_create(&thread, NULL, add_later, fds));
    say_wait(epfd, LIMIT_MS);
    pthread_join(thread, NULL);
}

static void polls(void)
{
    int ends[2];
    int tube[2];
    connected(ends);
    MUST(pipe(tube));
    struct pollfd fds[5] = {{.fd = ends[0], .events = POLLIN | POLLOUT},
                            {.fd = ends[1], .events = POLLIN},
                            {.fd = tube[0], .events = POLLIN},
                            {.fd = -1, .events = POLLIN, .revents = 99},
                            {.fd = 88, .events = POLLIN}};
    SAY(poll(fds, 5, 0));
    for (int i = 0; i < 5; i++)
        say_events("entry", (unsigned short)fds[i].revents);
    SAY(poll(fds, 4, LIMIT_MS));
    fds[0].events = POLLIN;
    SAY(poll(fds, 4, 20));
    struct timespec some = {.tv_nsec = 20000000};
    SAY(ppoll(fds, 4, &some, NULL));
    some.tv_nsec = -1;
    SAY(ppoll(fds, 4, &some, NULL));
    MUST(write(ends[0], "x", 1));
    SAY(poll(fds, 4, LIMIT_MS));
    say_events("entry", (unsigned short)fds[1].revents);
    MUST(write(tube[1], "x", 1));
    MUST(close(ends[0]));
    SAY(wait_for(ends[1], POLLRDHUP));
    fds[0].fd = -1;
    fds[1].events = POLLIN | POLLRDHUP | POLLRDNORM;
    SAY(poll(fds, 4, LIMIT_MS) >= 1);
    say_events("entry", (unsigned short)fds[1].revents);
}

static void selects(void)
{
    int ends[2];
    int tube[2];
    fd_set r;
    fd_set w;
    connected(ends);
    MUST(pipe(tube));
    int top = tube[1] + 1;
    FD_ZERO(&r);
    FD_ZERO(&w);
    FD_SET(ends[1], &r);
    FD_SET(tube[0], &r);
    FD_SET(ends[0], &w);
    SAY(select(top, &r, &w, NULL, NULL));
    SAY(FD_ISSET(ends[1], &r));
    SAY(FD_ISSET(tube[0], &r));
    SAY(FD_ISSET(ends[0], &w));
    MUST(write(ends[0], "x", 1));
    MUST(write(tube[1], "x", 1));
    SAY(wait_for(ends[1], POLLIN) & POLLIN);
    FD_ZERO(&r);
    FD_SET(ends[1], &r);
    struct timeval time = {.tv_sec = 5};
    SAY(select(top, &r, NULL, NULL, &time));
    SAY(time.tv_sec >= 4);
    FD_ZERO(&r);
    FD_SET(ends[0], &r);
    time = (struct timeval){.tv_usec = 20000};
    SAY(select(top, &r, NULL, NULL, &time));
    SAY(time.tv_sec == 0 && time.tv_usec == 0);
    SAY(FD_ISSET(ends[0], &r));
    struct timespec some = {.tv_nsec = 10000000};
    FD_SET(ends[0], &r);
    SAY(pselect(top, &r, NULL, NULL, &some, NULL));
    FD_SET(ends[0], &r);
    FD_SET(60, &r); // below 64: select() looks only as far as the descriptor table is long
    SAY(select(61, &r, NULL, NULL, &time));
}

static void listening(void)
{
    struct sockaddr_in name;
    int fd = listener(&name, SOCK_NONBLOCK);
    int epfd = MUST(epoll_create1(0));
    SAY(add(epfd, fd, EPOLLIN, 1));
    say_wait(epfd, 0);
    int client = MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    SAY(add(epfd, client, EPOLLOUT | EPOLLIN, 2));
    say_wait(epfd, 0);
    int result = connect(client, (struct sockaddr *)&name, sizeof name);
    SAY(result == 0 || errno == EINPROGRESS);
    SAY(wait_for(client, POLLOUT) & POLLOUT);
    SAY(wait_for(fd, POLLIN) & POLLIN);
    say_wait(epfd, LIMIT_MS);
    int server = accept4(fd, NULL, NULL, SOCK_NONBLOCK);
    SAY(server >= 0);
    SAY(change(epfd, client, EPOLLIN, 2));
    say_wait(epfd, 0);
    SAY(add(epfd, server, EPOLLIN | EPOLLRDHUP, 3));
    SAY(close(client));
    say_wait(epfd, LIMIT_MS);
    SAY(close(server));
    SAY(close(fd));
    say_wait(epfd, 0);
}

const struct scenario event_scenarios[] = {
    {"epoll_levels", epoll_levels},
    {"epoll_edges", epoll_edges},
    {"epoll_mixed", epoll_mixed},
    {"epoll_wrong", epoll_wrong},
    {"waking", waking},
    {"joining", joining},
    {"polls", polls},
    {"selects", selects},
    {"listening", listening},
    {NULL, NULL},
};
