// main.c: runs one scenario; see scenario.h.
#include "scenario.h"

#include <arpa/inet.h>
#include <dirent.h>

static const struct scenario *const groups[] = {
    stream_scenarios,  number_scenarios,     event_scenarios,      blocking_scenarios,
    process_scenarios, datagram_scenarios,   storm_scenarios,      nested_scenarios,
    leaving_scenarios, share_scenarios,      contended_scenarios,  shared_datagram_scenarios,
    levels_scenarios,  crowd_scenarios,      inherited_scenarios,  calls_scenarios,
    urgent_scenarios,  share_exec_scenarios, share_pass_scenarios, share_listen_scenarios,
};

struct sockaddr_in loopback(in_port_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

int listener(struct sockaddr_in *name, int flags)
{
    socklen_t length = sizeof *name;
    int fd = MUST(socket(AF_INET, SOCK_STREAM | flags, 0));
    *name = loopback(0);
    MUST(bind(fd, (struct sockaddr *)name, sizeof *name));
    MUST(listen(fd, 16));
    MUST(getsockname(fd, (struct sockaddr *)name, &length));
    return fd;
}

void connected(int ends[2])
{
    struct sockaddr_in name;
    int fd = listener(&name, 0);
    ends[0] = MUST(socket(AF_INET, SOCK_STREAM, 0));
    MUST(connect(ends[0], (struct sockaddr *)&name, sizeof name));
    ends[1] = MUST(accept(fd, NULL, NULL));
    MUST(close(fd));
}

int wait_for(int fd, short events)
{
    struct pollfd wanted = {.fd = fd, .events = events};
    int ready = poll(&wanted, 1, LIMIT_MS);
    return ready > 0 ? wanted.revents : ready;
}

// `path`: a `stat` in /proc.
static bool is_asleep(const char *path)
{
    char text[256] = {0};
    int fd = open(path, O_RDONLY);
    bool asleep = fd >= 0 && read(fd, text, sizeof text - 1) > 0 && strrchr(text, ')') != NULL &&
                  strrchr(text, ')')[2] == 'S';
    close(fd);
    return asleep;
}

static int count_sleeping(void)
{
    int count = 0;
    DIR *tasks = opendir("/proc/self/task");
    for (struct dirent *task; tasks != NULL && (task = readdir(tasks)) != NULL;) {
        char path[300];
        snprintf(path, sizeof path, "/proc/self/task/%s/stat", task->d_name);
        count += task->d_name[0] != '.' && atoi(task->d_name) != gettid() && is_asleep(path);
    }
    closedir(tasks);
    return count;
}

void wait_sleeping(int threads)
{
    // Asleep for long, as nothing else shows that they block where they shall.
    for (int i = 0, asleep = 0; i < 100000 && asleep < 20; i++) {
        asleep = count_sleeping() == threads ? asleep + 1 : 0;
        sched_yield();
    }
}

void wait_process_sleeping(pid_t pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    for (int i = 0, asleep = 0; i < 100000 && asleep < 20; i++) {
        asleep = is_asleep(path) ? asleep + 1 : 0;
        sched_yield();
    }
}

long fill_up(int fd)
{
    static char data[1 << 16];
    struct pollfd room = {.fd = fd, .events = POLLOUT};
    long total = 0;
    ssize_t sent;
    do {
        while ((sent = write(fd, data, sizeof data)) > 0)
            total += sent;
    } while (poll(&room, 1, 50) == 1); // what was sent may still move on
    return total;
}

bool read_all(int fd, void *buf, size_t bytes)
{
    size_t done = 0;
    while (done < bytes) {
        ssize_t got = read(fd, (char *)buf + done, bytes - done);
        if (got <= 0)
            return false;
        done += (size_t)got;
    }
    return true;
}

ssize_t send_beside(int fd, int level, int type, const void *value, size_t bytes)
{
    union {
        struct cmsghdr header;
        char room[64];
    } control = {.room = {0}};
    struct iovec iov = {"x", 1};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.room,
                             .msg_controllen = CMSG_SPACE(bytes)};
    control.header.cmsg_level = level;
    control.header.cmsg_type = type;
    control.header.cmsg_len = CMSG_LEN(bytes);
    memcpy(CMSG_DATA(&control.header), value, bytes);
    return sendmsg(fd, &message, 0);
}

void say_events(const char *what, unsigned events)
{
    static const struct {
        unsigned bit;
        const char *name;
    } names[] = {{EPOLLIN, "IN"},       {EPOLLPRI, "PRI"}, {EPOLLOUT, "OUT"},
                 {EPOLLERR, "ERR"},     {EPOLLHUP, "HUP"}, {EPOLLRDNORM, "RDNORM"},
                 {EPOLLRDHUP, "RDHUP"}, {POLLNVAL, "NVAL"}};
    printf("%s:", what);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if ((events & names[i].bit) != 0)
            printf(" %s", names[i].name);
    printf("\n");
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t g = 0; g < sizeof groups / sizeof groups[0]; g++) {
        for (const struct scenario *s = groups[g]; s->name != NULL; s++) {
            if (argc < 2) {
                printf("%s\n", s->name);
            } else if (strcmp(argv[1], s->name) == 0) {
                s->run();
                return 0;
            }
        }
    }
    return argc < 2 ? 0 : 2;
}
