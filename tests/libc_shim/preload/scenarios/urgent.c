// urgent.c: urgent data: MSG_OOB, SO_OOBINLINE, the mark, POLLPRI.
#include "scenario.h"

// Waits until all that was sent has been acknowledged, so it is at the other end.
static void arrived(int fd)
{
    int queued = 1;
    for (int i = 0; i < LIMIT_MS && queued != 0; i++) {
        MUST(ioctl(fd, TIOCOUTQ, &queued));
        (void)poll(NULL, 0, queued != 0);
    }
}

static void say_state(int fd)
{
    int number = -1;
    struct pollfd all = {.fd = fd,
                         .events = POLLIN | POLLPRI | POLLRDNORM | POLLRDBAND | POLLRDHUP};
    MUST(poll(&all, 1, 0));
    say_events("poll", (unsigned)all.revents);
    MUST(ioctl(fd, FIONREAD, &number));
    printf("unread: %d", number);
    MUST(ioctl(fd, SIOCATMARK, &number));
    printf(" at mark: %d %d\n", number, sockatmark(fd));
}

static void say_read(int fd, size_t bytes, int flags)
{
    char text[64] = {0};
    errno = 0;
    ssize_t got = recv(fd, text, bytes, flags);
    printf("recv(%zu, %#x) = %zd '%s' %s\n", bytes, (unsigned)flags, got, text,
           got < 0 ? strerrorname_np(errno) : "");
}

static void say_message(int fd, size_t bytes, int flags)
{
    char text[64] = {0};
    struct iovec iov = {.iov_base = text, .iov_len = bytes};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    SAY(recvmsg(fd, &message, flags));
    printf("'%s' flags %#x\n", text, (unsigned)message.msg_flags);
}

static void send_all_three(int fd)
{
    MUST(send(fd, "abc", 3, 0));
    MUST(send(fd, "12d", 3, MSG_OOB)); // the last byte is the urgent one
    MUST(send(fd, "ef", 2, 0));
    arrived(fd);
}

// Read apart, peeked at, passed over, read too late.
static void urgent(void)
{
    int ends[2];
    connected(ends);
    say_state(ends[1]);
    say_read(ends[1], 1, MSG_OOB);
    send_all_three(ends[0]);
    say_state(ends[1]);
    say_read(ends[1], 2, 0);
    say_read(ends[1], 60, MSG_PEEK);
    say_read(ends[1], 60, 0);
    say_state(ends[1]);
    say_read(ends[1], 60, MSG_PEEK);
    say_read(ends[1], 8, MSG_OOB | MSG_PEEK);
    say_message(ends[1], 8, MSG_OOB);
    say_state(ends[1]);
    say_read(ends[1], 8, MSG_OOB);
    say_read(ends[1], 60, 0);
    say_state(ends[1]);
    say_read(ends[1], 8, MSG_OOB);
    send_all_three(ends[0]);
    say_read(ends[1], 5, 0);
    say_state(ends[1]);
    say_read(ends[1], 60, 0); // nobody asked for it: it is gone
    say_read(ends[1], 8, MSG_OOB);
    say_state(ends[1]);
}

// In the stream, with a mark all the same.
static void urgent_inline(void)
{
    int ends[2];
    int on = 1;
    connected(ends);
    SAY(setsockopt(ends[1], SOL_SOCKET, SO_OOBINLINE, &on, sizeof on));
    send_all_three(ends[0]);
    say_state(ends[1]);
    say_read(ends[1], 1, MSG_OOB);
    say_read(ends[1], 60, 0);
    say_state(ends[1]);
    say_read(ends[1], 1, MSG_PEEK);
    say_read(ends[1], 60, 0);
    say_state(ends[1]);
    send_all_three(ends[0]);
    on = 0;
    SAY(setsockopt(ends[1], SOL_SOCKET, SO_OOBINLINE, &on, sizeof on));
    say_read(ends[1], 60, MSG_WAITALL);
    say_read(ends[1], 1, MSG_OOB);
    say_read(ends[1], 60, MSG_DONTWAIT);
}

// Nothing but urgent bytes, one after the other; reads that find no other.
static void urgent_alone(void)
{
    int ends[2];
    connected(ends);
    for (int i = 0; i < 3; i++) {
        MUST(send(ends[0], "x", 1, MSG_OOB));
        arrived(ends[0]);
        say_state(ends[1]);
        if (i != 1)
            say_read(ends[1], 1, MSG_OOB);
        say_state(ends[1]);
        say_read(ends[1], 10, MSG_DONTWAIT);
        say_state(ends[1]);
    }
    for (int i = 0; i < 3; i++) { // nothing between them, and no read
        MUST(send(ends[0], "123" + i, 1, MSG_OOB));
        arrived(ends[0]);
        say_read(ends[1], 1, MSG_OOB);
        say_state(ends[1]);
    }
    say_read(ends[1], 10, MSG_DONTWAIT);
    say_state(ends[1]);
    MUST(send(ends[0], "z", 1, MSG_MORE));
    MUST(send(ends[0], "!", 1, MSG_OOB | MSG_MORE));
    arrived(ends[0]);
    say_state(ends[1]);
    say_message(ends[1], 0, MSG_OOB);
    say_state(ends[1]);
}

// select() tells of it as an exceptional condition; epoll by EPOLLPRI, once where edges are asked
// for.
static void urgent_waiting(void)
{
    int ends[2];
    struct epoll_event event = {.events = EPOLLPRI};
    struct timeval limit = {.tv_sec = LIMIT_MS / 1000};
    struct timeval none = {.tv_sec = 0};
    fd_set except;
    connected(ends);
    int level = MUST(epoll_create1(0));
    int edge = MUST(epoll_create1(0));
    MUST(epoll_ctl(level, EPOLL_CTL_ADD, ends[1], &event));
    event.events = EPOLLPRI | EPOLLET;
    MUST(epoll_ctl(edge, EPOLL_CTL_ADD, ends[1], &event));
    MUST(send(ends[0], "a", 1, 0));
    arrived(ends[0]);
    SAY(epoll_wait(level, &event, 1, 0));
    for (int i = 0; i < 2; i++) {
        MUST(send(ends[0], "u", 1, MSG_OOB));
        FD_ZERO(&except);
        FD_SET(ends[1], &except);
        SAY(select(ends[1] + 1, NULL, NULL, &except, &limit));
        SAY(FD_ISSET(ends[1], &except) != 0);
        SAY(epoll_wait(level, &event, 1, LIMIT_MS));
        say_events("epoll", event.events);
        SAY(epoll_wait(level, &event, 1, LIMIT_MS));
        SAY(epoll_wait(edge, &event, 1, LIMIT_MS));
        say_events("epoll", event.events);
        SAY(epoll_wait(edge, &event, 1, 0));
        say_read(ends[1], 1, MSG_OOB);
        SAY(epoll_wait(level, &event, 1, 0));
        FD_ZERO(&except);
        FD_SET(ends[1], &except);
        SAY(select(ends[1] + 1, NULL, NULL, &except, &none));
    }
    say_read(ends[1], 10, MSG_DONTWAIT);
}

// After the end, after a reset, and where there is no connection.
static void urgent_ends(void)
{
    int ends[2];
    struct linger at_once = {.l_onoff = 1};
    struct sockaddr_in name;
    connected(ends);
    MUST(send(ends[0], "abu", 3, MSG_OOB));
    MUST(shutdown(ends[0], SHUT_WR));
    arrived(ends[0]);
    SAY(wait_for(ends[1], POLLRDHUP) & POLLRDHUP);
    say_state(ends[1]);
    say_read(ends[1], 1, MSG_OOB);
    say_read(ends[1], 10, 0);
    say_state(ends[1]);
    say_read(ends[1], 10, 0);
    say_read(ends[1], 10, MSG_OOB);
    SAY(send(ends[0], "x", 1, MSG_OOB | MSG_NOSIGNAL));
    SAY(send(ends[1], "q", 1, MSG_OOB));
    arrived(ends[1]);
    say_read(ends[0], 1, MSG_OOB);

    connected(ends);
    MUST(send(ends[0], "abu", 3, MSG_OOB));
    arrived(ends[0]);
    MUST(setsockopt(ends[0], SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once));
    MUST(close(ends[0]));
    SAY(wait_for(ends[1], POLLRDHUP) & POLLHUP);
    say_read(ends[1], 1, MSG_OOB);

    int fd = listener(&name, 0);
    say_read(fd, 1, MSG_OOB);
    SAY(send(fd, "x", 1, MSG_OOB | MSG_NOSIGNAL));
    fd = MUST(socket(AF_INET, SOCK_STREAM, 0));
    say_read(fd, 1, MSG_OOB);
    SAY(send(fd, "x", 1, MSG_OOB | MSG_NOSIGNAL));
    fd = MUST(socket(AF_INET, SOCK_DGRAM, 0));
    SAY(send(fd, "x", 1, MSG_OOB));
    SAY(sockatmark(fd));
}

// Far behind what is read, and farther than an urgent pointer can tell.
static void urgent_far(void)
{
    enum { MANY = 300000 };
    static char data[MANY];
    int ends[2];
    char got[4096];
    long total = 0;
    connected(ends);
    pid_t writer = MUST(fork());
    if (writer == 0) {
        for (size_t done = 0; done < sizeof data;)
            done += (size_t)MUST(send(ends[0], data + done, sizeof data - done, 0));
        MUST(send(ends[0], "u", 1, MSG_OOB));
        MUST(send(ends[0], "after", 5, 0));
        _exit(0);
    }
    MUST(close(ends[0]));
    while (sockatmark(ends[1]) == 0 && total < MANY)
        total += MUST(recv(ends[1], got, sizeof got, 0));
    SAY(total);
    SAY(wait_for(ends[1], POLLPRI) & POLLPRI);
    say_read(ends[1], 1, MSG_OOB);
    SAY(sockatmark(ends[1]));
    say_read(ends[1], 5, MSG_WAITALL);
    say_read(ends[1], 5, 0);
    MUST(waitpid(writer, NULL, 0));
}

const struct scenario urgent_scenarios[] = {
    {"urgent", urgent},
    {"urgent_inline", urgent_inline},
    {"urgent_alone", urgent_alone},
    {"urgent_waiting", urgent_waiting},
    {"urgent_ends", urgent_ends},
    {"urgent_far", urgent_far},
    {NULL, NULL},
};
