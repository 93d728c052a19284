// number.c: descriptor numbers.
#include "scenario.h"

static void lowest(void)
{
    struct sockaddr_in name;
    int fd = listener(&name, 0);
    int a[4];
    int b[4];
    SAY(fd);
    for (int i = 0; i < 4; i++) {
        a[i] = MUST(socket(AF_INET, SOCK_STREAM, 0));
        MUST(connect(a[i], (struct sockaddr *)&name, sizeof name));
        b[i] = MUST(accept(fd, NULL, NULL));
        printf("%d %d\n", a[i], b[i]);
    }
    SAY(close(a[1]));
    SAY(close(b[2]));
    SAY(open("/dev/null", O_RDONLY)); // the lowest that was closed
    SAY(socket(AF_INET, SOCK_STREAM, 0));
    SAY(close(b[0]));
    SAY(close(a[3]));
    SAY(close(b[1]));
    int tube[2];
    SAY(pipe(tube));
    printf("%d %d\n", tube[0], tube[1]);
    SAY(dup(0));
    SAY(close(tube[0]));
    SAY(close(a[2]));
    SAY(socket(AF_INET, SOCK_STREAM, 0)); // of the kernel's and ours the lower
    SAY(socket(AF_UNIX, SOCK_STREAM, 0));
    SAY(socket(AF_INET, SOCK_STREAM, 0));
    FILE *file = fopen("/dev/null", "r");
    SAY(fileno(file));
    SAY(fclose(file));
    SAY(eventfd(0, 0));
    SAY(epoll_create1(0));
}

static void closed(void)
{
    int ends[2];
    char buf[4];
    struct stat st;
    struct pollfd wanted;
    connected(ends);
    int fd = ends[1];
    SAY(close(fd));
    SAY(close(fd));
    SAY(read(fd, buf, 4));
    SAY(write(fd, buf, 4));
    SAY(recv(fd, buf, 4, 0));
    SAY(fcntl(fd, F_GETFL));
    SAY(fcntl(fd, F_GETFD));
    SAY(fcntl(fd, F_DUPFD, 0));
    SAY(dup(fd));
    SAY(dup2(fd, 50));
    SAY(dup2(fd, fd));
    SAY(dup3(fd, fd, 0));
    SAY(fstat(fd, &st));
    SAY(ioctl(fd, FIONREAD, buf));
    SAY(listen(fd, 1));
    SAY(accept(fd, NULL, NULL));
    SAY(shutdown(fd, SHUT_RDWR));
    SAY(sendfile(fd, 0, NULL, 1));
    wanted = (struct pollfd){.fd = fd, .events = POLLIN};
    SAY(poll(&wanted, 1, 0));
    say_events("closed", (unsigned short)wanted.revents);
    fd_set set;
    FD_ZERO(&set);
    FD_SET(fd, &set);
    SAY(select(fd + 1, &set, NULL, NULL, &(struct timeval){0}));
    int epfd = MUST(epoll_create1(0));
    SAY(epfd == fd);
    SAY(epoll_ctl(epfd, EPOLL_CTL_ADD, 60, &(struct epoll_event){.events = EPOLLIN}));
}

static void duplicates(void)
{
    int ends[2];
    char buf[8] = {0};
    struct stat st;
    connected(ends);
    int copy = dup(ends[0]);
    SAY(copy);
    SAY(dup2(ends[0], 20));
    SAY(dup3(ends[0], 21, O_CLOEXEC));
    SAY(dup3(ends[0], ends[0], 0));
    SAY(dup2(ends[0], ends[0]) == ends[0]);
    SAY(fcntl(ends[0], F_DUPFD, 30));
    SAY(fcntl(ends[0], F_DUPFD_CLOEXEC, 30));
    SAY(fcntl(20, F_GETFD));
    SAY(fcntl(21, F_GETFD));
    SAY(fcntl(30, F_GETFD));
    SAY(fcntl(31, F_GETFD));
    SAY(fstat(20, &st));
    SAY(S_ISSOCK(st.st_mode));
    SAY(fcntl(20, F_SETFL, O_NONBLOCK)); // shared by all of them
    SAY(fcntl(ends[0], F_GETFL) & O_NONBLOCK);
    SAY(close(ends[0]));
    SAY(close(copy));
    SAY(write(30, "still", 5));
    SAY(close(30));
    SAY(close(31));
    SAY(close(20));
    SAY(read(ends[1], buf, 8));
    SAY(dup2(1, 21)); // the last one goes
    SAY(read(ends[1], buf, 8));
    SAY(fcntl(21, F_GETFD));
    SAY(close(21));
    connected(ends);
    SAY(dup2(ends[0], 0)); // as inetd does
    SAY(write(ends[1], "inetd", 5));
    SAY(read(0, buf, 8));
    SAY(close(0));
    SAY(open("/dev/null", O_RDONLY));
    SAY(dup2(ends[0], -1));
    SAY(dup2(ends[0], 100000000));
}

static void ranges(void)
{
    int ends[2];
    connected(ends);
    int null = MUST(open("/dev/null", O_RDONLY));
    SAY(close_range(9, 5, 0));
    SAY(close_range(ends[0], ends[0], 0));
    SAY(fcntl(ends[0], F_GETFD));
    SAY(fcntl(ends[1], F_GETFD));
    SAY(close_range(3, ~0u, 4)); // CLOSE_RANGE_CLOEXEC
    SAY(fcntl(ends[1], F_GETFD));
    SAY(fcntl(null, F_GETFD));
    closefrom(3);
    SAY(fcntl(ends[1], F_GETFD));
    SAY(fcntl(null, F_GETFD));
    SAY(socket(AF_INET, SOCK_STREAM, 0));
    connected(ends); // what the shim needs for itself is still there
    printf("%d %d\n", ends[0], ends[1]);
}

static void limit(void)
{
    struct rlimit few = {.rlim_cur = 24, .rlim_max = 24};
    int ends[2];
    connected(ends);
    MUST(setrlimit(RLIMIT_NOFILE, &few));
    int fd;
    int last = -1;
    while ((fd = socket(AF_INET, SOCK_STREAM, 0)) >= 0)
        last = fd;
    SAY(last);
    SAY(socket(AF_INET, SOCK_STREAM, 0));
    SAY(open("/dev/null", O_RDONLY));
    SAY(dup(0));
    SAY(close(10));
    SAY(close(12));
    SAY(open("/dev/null", O_RDONLY));
    SAY(eventfd(0, 0));
    SAY(eventfd(0, 0));
    SAY(dup2(0, 24));
    SAY(close(12));
    SAY(epoll_create1(0));
}

const struct scenario number_scenarios[] = {
    {"lowest", lowest}, {"closed", closed}, {"duplicates", duplicates},
    {"ranges", ranges}, {"limit", limit},   {NULL, NULL},
};
