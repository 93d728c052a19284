// calls.c: the calls beside read and write: to move data without them, to ask, to end.
#include "scenario.h"

#include <net/if.h>
#include <sys/un.h>

#define NAME(name) ((struct sockaddr *)&(name)), sizeof(name)

static void datagram_pair(int ends[2])
{
    for (int i = 0; i < 2; i++) {
        struct sockaddr_in name = loopback(0);
        ends[i] = MUST(socket(AF_INET, SOCK_DGRAM, 0));
        MUST(bind(ends[i], NAME(name)));
    }
    for (int i = 0; i < 2; i++) {
        struct sockaddr_in name;
        socklen_t length = sizeof name;
        MUST(getsockname(ends[1 - i], (struct sockaddr *)&name, &length));
        MUST(connect(ends[i], NAME(name)));
    }
}

static int unlinked_file(const char *text)
{
    char path[] = "/tmp/scenario-XXXXXX";
    int file = MUST(mkstemp(path));
    unlink(path);
    MUST(write(file, text, strlen(text)));
    return file;
}

// sendfile, splice, tee, vmsplice, copy_file_range, and what positions mean.
static void moving(void)
{
    int ends[2];
    int tube[2];
    int datagrams[2];
    loff_t at = 0;
    off_t place = 2;
    char buf[32] = "0123456789";
    char four[] = "4567"; // vmsplice refers to it
    struct iovec iov = {four, 4};
    connected(ends);
    datagram_pair(datagrams);
    MUST(pipe(tube));
    int file = unlinked_file("0123456789");
    SAY(lseek(file, 1, SEEK_SET));
    SAY(sendfile(ends[0], file, NULL, 3));
    SAY(lseek(file, 0, SEEK_CUR));
    SAY(sendfile(ends[0], file, &place, 0));
    SAY(sendfile(file, ends[0], NULL, 3));
    SAY(sendfile(ends[1], ends[0], NULL, 3));
    SAY(sendfile(-1, file, NULL, 3));
    SAY(sendfile(ends[0], -1, NULL, 3));
    place = -1;
    SAY(sendfile(ends[0], file, &place, 3));
    SAY(copy_file_range(file, &at, ends[0], NULL, 3, 0));
    SAY(copy_file_range(ends[1], NULL, file, NULL, 3, 0));
    SAY(tee(ends[1], tube[1], 3, 0));
    SAY(tee(tube[0], ends[1], 3, SPLICE_F_NONBLOCK));
    SAY(vmsplice(ends[0], &iov, 1, 0));
    SAY(vmsplice(tube[1], &iov, 1, 0));
    SAY(splice(tube[0], NULL, ends[0], NULL, 2, SPLICE_F_MORE));
    SAY(splice(tube[0], NULL, ends[0], NULL, 0, 0));
    SAY(splice(tube[0], NULL, ends[0], &at, 2, 0));
    SAY(splice(ends[1], &at, tube[1], NULL, 2, 0));
    SAY(splice(file, NULL, ends[0], NULL, 2, 0));
    SAY(splice(tube[0], NULL, ends[0], NULL, 2, 0));
    memset(buf, 0, sizeof buf);
    SAY(read_all(ends[1], buf, 7));
    printf("%s\n", buf);
    SAY(pread(ends[1], buf, 1, 0));
    SAY(pwrite(ends[1], buf, 1, 0));
    SAY(preadv(ends[1], &iov, 1, 0));
    SAY(preadv2(ends[1], &iov, 1, 0, 0));
    SAY(pwritev2(ends[0], &iov, 1, -1, 0));
    SAY(preadv2(ends[1], &iov, 1, -1, 0));
    SAY(lseek(ends[0], 0, SEEK_SET));
    SAY(ftruncate(ends[0], 0));
    SAY(fsync(ends[0]));
    SAY(fdatasync(ends[0]));
    SAY(posix_fadvise(ends[0], 0, 0, 0));
    SAY(sendfile(datagrams[0], file, NULL, 3));
    lseek(file, 0, SEEK_SET);
    SAY(sendfile(datagrams[0], file, NULL, 3));
    SAY(wait_for(datagrams[1], POLLIN) & POLLIN);
    SAY(recv(datagrams[1], buf, sizeof buf, MSG_DONTWAIT));
    SAY(write(tube[1], "in the pipe", 11));
    SAY(splice(tube[0], NULL, datagrams[0], NULL, 11, 0));
    SAY(wait_for(datagrams[1], POLLIN) & POLLIN);
    SAY(recv(datagrams[1], buf, sizeof buf, MSG_DONTWAIT));
    SAY(shutdown(ends[0], SHUT_WR));
    SAY(signal(SIGPIPE, SIG_IGN) == SIG_DFL);
    lseek(file, 0, SEEK_SET);
    SAY(sendfile(ends[0], file, NULL, 3));
    SAY(splice(ends[1], NULL, tube[1], NULL, 10, 0));
}

static struct timespec milliseconds(long ms)
{
    return (struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
}

// sendmmsg and recvmmsg: how many, and when they stop.
static void several(void)
{
    int ends[2];
    int stream[2];
    char bytes[4][4];
    struct iovec iov[4];
    struct mmsghdr in[4];
    struct mmsghdr out[4];
    struct timespec soon = milliseconds(30);
    struct timespec wrong = {.tv_nsec = 2000000000};
    datagram_pair(ends);
    connected(stream);
    memset(in, 0, sizeof in);
    memset(out, 0, sizeof out);
    for (int i = 0; i < 4; i++) {
        iov[i] = (struct iovec){bytes[i], 4};
        in[i].msg_hdr.msg_iov = out[i].msg_hdr.msg_iov = &iov[i];
        in[i].msg_hdr.msg_iovlen = out[i].msg_hdr.msg_iovlen = 1;
    }
    SAY(sendmmsg(ends[0], out, 3, 0));
    SAY(recvmmsg(ends[1], in, 3, 0, NULL));
    SAY(in[2].msg_len);
    SAY(sendmmsg(ends[0], out, 1, 0));
    SAY(recvmmsg(ends[1], in, 4, MSG_WAITFORONE, NULL));
    SAY(recvmmsg(ends[1], in, 4, MSG_DONTWAIT, NULL));
    SAY(recvmmsg(ends[1], in, 0, 0, NULL));
    SAY(recvmmsg(ends[1], in, 1, MSG_DONTWAIT, &wrong));
    SAY(sendmmsg(ends[0], out, 0, 0));
    SAY(recvmmsg(-1, in, 1, 0, NULL));
    SAY(sendmmsg(-1, out, 1, 0));
    SAY(sendmmsg(ends[0], out, 2, 0));
    struct timeval limit = {.tv_usec = 50000};
    SAY(setsockopt(ends[1], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    SAY(recvmmsg(ends[1], in, 4, 0, &soon));
    SAY(in[1].msg_len);
    SAY(recvmmsg(ends[1], in, 4, 0, NULL));
    // One that cannot go: the count of those before it, then its error.
    struct sockaddr_un elsewhere = {.sun_family = AF_UNIX};
    out[1].msg_hdr.msg_name = &elsewhere;
    out[1].msg_hdr.msg_namelen = sizeof elsewhere;
    SAY(sendmmsg(ends[0], out, 3, 0));
    SAY(sendmmsg(ends[0], out + 1, 2, 0));
    out[1].msg_hdr.msg_name = NULL;
    out[1].msg_hdr.msg_namelen = 0;
    SAY(sendmmsg(stream[0], out, 4, 0));
    SAY(wait_for(stream[1], POLLIN) & POLLIN);
    SAY(recvmmsg(stream[1], in, 1, MSG_WAITALL, NULL));
}

// ioctl, fcntl, fstat and /proc: what is there to be asked.
static void questions(void)
{
    int ends[2];
    int number = -1;
    struct stat st;
    struct ifreq ask = {.ifr_name = "lo"};
    char link[64];
    char path[64];
    connected(ends);
    int fd = MUST(socket(AF_INET, SOCK_DGRAM, 0));
    SAY(fstat(ends[0], &st));
    SAY(S_ISSOCK(st.st_mode));
    snprintf(path, sizeof path, "/proc/self/fd/%d", ends[0]);
    SAY(readlink(path, link, sizeof link) > 8);
    SAY(memcmp(link, "socket:[", 8));
    SAY(isatty(ends[0]));
    SAY(ioctl(ends[0], FIONREAD, &number));
    SAY(number);
    SAY(ioctl(ends[0], SIOCATMARK, &number));
    SAY(number);
    SAY(ioctl(fd, SIOCATMARK, &number));
    SAY(ioctl(ends[0], TIOCOUTQ, &number));
    SAY(number);
    number = 1;
    SAY(ioctl(ends[0], FIONBIO, &number));
    SAY((fcntl(ends[0], F_GETFL) & O_NONBLOCK) != 0);
    number = 0;
    SAY(ioctl(ends[0], FIONBIO, &number));
    SAY(fcntl(ends[0], F_GETFL) == O_RDWR);
    SAY(ioctl(ends[0], FIOASYNC, &number));
    SAY(fcntl(ends[0], F_GETOWN));
    SAY(fcntl(ends[0], F_GETFD));
    SAY(fcntl(ends[0], F_SETFD, FD_CLOEXEC));
    SAY(fcntl(ends[0], F_GETFD));
    SAY(fcntl(ends[0], F_GETPIPE_SZ));
    SAY(fcntl(ends[0], F_GET_SEALS));
    SAY(fcntl(ends[0], 12345));
    SAY(ioctl(fd, SIOCGIFINDEX, &ask));
    SAY(ask.ifr_ifindex);
    SAY(ioctl(fd, SIOCGIFFLAGS, &ask));
    SAY(ask.ifr_flags & (IFF_UP | IFF_LOOPBACK | IFF_RUNNING | IFF_BROADCAST));
    SAY(ioctl(fd, SIOCGIFADDR, &ask));
    SAY(((struct sockaddr_in *)&ask.ifr_addr)->sin_addr.s_addr == htonl(INADDR_LOOPBACK));
    SAY(ioctl(fd, SIOCGIFNETMASK, &ask));
    SAY(((struct sockaddr_in *)&ask.ifr_netmask)->sin_addr.s_addr == htonl(0xff000000));
    SAY(ioctl(fd, SIOCGIFBRDADDR, &ask));
    SAY(((struct sockaddr_in *)&ask.ifr_broadaddr)->sin_addr.s_addr);
    SAY(ioctl(fd, SIOCGIFHWADDR, &ask));
    SAY(ask.ifr_hwaddr.sa_family);
    SAY(ioctl(fd, SIOCGIFMTU, &ask));
    SAY(ask.ifr_mtu > 60000);
    SAY(ioctl(fd, SIOCGIFMETRIC, &ask));
    SAY(ask.ifr_metric);
    SAY(ioctl(fd, SIOCGIFTXQLEN, &ask));
    SAY(ask.ifr_qlen);
    ask.ifr_ifindex = 1;
    SAY(ioctl(fd, SIOCGIFNAME, &ask));
    printf("%s\n", ask.ifr_name);
    ask.ifr_ifindex = 999;
    SAY(ioctl(fd, SIOCGIFNAME, &ask));
    strcpy(ask.ifr_name, "nosuch0");
    SAY(ioctl(fd, SIOCGIFADDR, &ask));
    SAY(ioctl(fd, SIOCGIFFLAGS, &ask));
    SAY(if_nametoindex("lo"));
    SAY(if_nametoindex("nosuch0"));
    SAY(if_indextoname(1, ask.ifr_name) != NULL);
    SAY(if_indextoname(999, ask.ifr_name) != NULL);
    SAY(ioctl(ends[0], TCGETS, link));
    SAY(ioctl(ends[0], 0x12345678, link));
}

static int child_sends_and_exits(const struct sockaddr_in *name, size_t bytes)
{
    pid_t pid = MUST(fork());
    if (pid != 0)
        return pid;
    static char data[1000000];
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)name, sizeof *name) < 0)
        _exit(1);
    for (size_t done = 0; done < bytes;) {
        ssize_t n = write(fd, data, bytes - done);
        if (n < 0)
            _exit(2);
        done += (size_t)n;
    }
    _exit(0); // without close()
}

// What close() and exit leave behind.
static void endings(void)
{
    int ends[2];
    char buf[8];
    int error = 0;
    socklen_t length = sizeof error;
    struct linger reset = {.l_onoff = 1};
    struct linger patient = {.l_onoff = 1, .l_linger = 5};
    signal(SIGPIPE, SIG_IGN);
    connected(ends); // reset by SO_LINGER
    SAY(setsockopt(ends[0], SOL_SOCKET, SO_LINGER, &reset, sizeof reset));
    SAY(write(ends[0], "lost", 4));
    SAY(close(ends[0]));
    SAY(wait_for(ends[1], POLLIN) & POLLHUP);
    SAY(recv(ends[1], buf, 8, MSG_WAITALL) < 0);
    SAY(write(ends[1], "x", 1));
    SAY(read(ends[1], buf, 1));
    connected(ends); // reset by unread data
    SAY(write(ends[0], "unread", 6));
    SAY(wait_for(ends[1], POLLIN) & POLLIN);
    SAY(close(ends[1]));
    SAY(wait_for(ends[0], POLLIN) & POLLERR);
    SAY(getsockopt(ends[0], SOL_SOCKET, SO_ERROR, &error, &length));
    SAY(error == ECONNRESET);
    SAY(getsockopt(ends[0], SOL_SOCKET, SO_ERROR, &error, &length));
    SAY(error);
    SAY(write(ends[0], "x", 1));
    SAY(read(ends[0], buf, 1));
    connected(ends); // lingers until the other end has it
    SAY(setsockopt(ends[0], SOL_SOCKET, SO_LINGER, &patient, sizeof patient));
    SAY(write(ends[0], "kept", 4));
    SAY(close(ends[0]));
    SAY(read_all(ends[1], buf, 4));
    SAY(read(ends[1], buf, 1));
    struct sockaddr_in name;
    int fd = listener(&name, 0);
    int status = -1;
    pid_t pid = child_sends_and_exits(&name, 1000000);
    int end = MUST(accept(fd, NULL, NULL));
    size_t got = 0;
    static char many[65536];
    for (ssize_t n; (n = read(end, many, sizeof many)) > 0;)
        got += (size_t)n;
    SAY(got);
    SAY(waitpid(pid, &status, 0) == pid);
    SAY(status);
}

const struct scenario calls_scenarios[] = {
    {"moving", moving},   {"several", several}, {"questions", questions},
    {"endings", endings}, {NULL, NULL},
};
