// stream.c: connections and bytes.
#include "scenario.h"

static void basic(void)
{
    struct sockaddr_in name;
    struct sockaddr_in peer;
    socklen_t length = sizeof peer;
    char buf[64];
    int type = 0;
    int fd = listener(&name, SOCK_NONBLOCK);
    SAY(fd);
    SAY(accept(fd, NULL, NULL));
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    SAY(client);
    SAY(getpeername(client, (struct sockaddr *)&peer, &length));
    SAY(read(client, buf, sizeof buf));
    SAY(send(client, "x", 1, MSG_NOSIGNAL));
    SAY(connect(client, (struct sockaddr *)&name, sizeof name));
    SAY(connect(client, (struct sockaddr *)&name, sizeof name));
    SAY(wait_for(fd, POLLIN));
    length = sizeof peer;
    int server = accept4(fd, (struct sockaddr *)&peer, &length, SOCK_NONBLOCK);
    SAY(server);
    SAY(length);
    SAY(peer.sin_family == AF_INET && peer.sin_addr.s_addr == htonl(INADDR_LOOPBACK));
    SAY(accept(fd, NULL, NULL));
    length = sizeof peer;
    SAY(getpeername(client, (struct sockaddr *)&peer, &length));
    SAY(peer.sin_port == name.sin_port);
    length = sizeof type;
    SAY(getsockopt(server, SOL_SOCKET, SO_TYPE, &type, &length));
    SAY(type == SOCK_STREAM);
    SAY(fcntl(server, F_GETFL) & (O_NONBLOCK | O_ACCMODE));
    SAY(fcntl(client, F_GETFL) & (O_NONBLOCK | O_ACCMODE));
    SAY(fcntl(client, F_GETFD));
    SAY(fcntl(server, F_GETFD));
    SAY(fcntl(server, F_SETFD, FD_CLOEXEC));
    SAY(fcntl(server, F_GETFD));
    SAY(read(server, buf, sizeof buf));
    SAY(recv(server, buf, 0, 0));
    SAY(read(server, buf, 0));
    SAY(write(client, "hello", 5));
    SAY(wait_for(server, POLLIN) & POLLIN);
    SAY(recv(server, buf, 3, MSG_PEEK));
    SAY(ioctl(server, FIONREAD, &type));
    SAY(type);
    SAY(read(server, buf, 2));
    SAY(recv(server, buf, sizeof buf, MSG_DONTWAIT));
    SAY(recv(server, buf, sizeof buf, MSG_DONTWAIT));
    SAY(shutdown(client, SHUT_WR));
    SAY(send(client, "x", 1, MSG_NOSIGNAL));
    SAY(wait_for(server, POLLIN | POLLRDHUP) & POLLRDHUP);
    SAY(read(server, buf, sizeof buf));
    SAY(read(server, buf, sizeof buf));
    SAY(write(server, "bye", 3));
    SAY(read(client, buf, sizeof buf));
    SAY(close(server));
    SAY(read(client, buf, sizeof buf));
    SAY(close(client));
    SAY(read(client, buf, sizeof buf));
    SAY(close(client));
    SAY(lseek(fd, 0, SEEK_SET));
    SAY(close(fd));
}

static void wrong(void)
{
    struct sockaddr_in name = loopback(htons(1));
    struct sockaddr_un_like {
        sa_family_t family;
        char path[14];
    } other = {.family = AF_UNIX};
    char buf[8];
    int fd = MUST(socket(AF_INET, SOCK_STREAM, 0));
    SAY(socket(AF_INET, SOCK_STREAM, IPPROTO_UDP));
    SAY(socket(AF_INET, 77, 0));
    SAY(accept(fd, NULL, NULL));
    SAY(bind(fd, (struct sockaddr *)&name, 4));
    SAY(bind(fd, (struct sockaddr *)&other, sizeof other));
    SAY(connect(fd, (struct sockaddr *)&name, 4));
    SAY(shutdown(fd, SHUT_RDWR));
    SAY(shutdown(fd, 9));
    SAY(connect(fd, (struct sockaddr *)&name, sizeof name));
    SAY(read(fd, buf, sizeof buf));
    SAY(listen(99, 1));
    SAY(accept4(fd, NULL, NULL, 0x40000000));
    SAY(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, buf, 1));
    SAY(getsockopt(fd, SOL_SOCKET, 999, buf, &(socklen_t){sizeof buf}));
    SAY(ftruncate(fd, 0));
    SAY(isatty(fd));
    int pair[2];
    SAY(socketpair(AF_INET, SOCK_STREAM, 0, pair));
}

static void pipe_signal(void)
{
    int ends[2];
    char buf[8];
    connected(ends);
    SAY(shutdown(ends[0], SHUT_WR));
    pid_t child = fork();
    if (child == 0) { // the default action ends it; a new connection, for the first is the parent's
        connected(ends);
        shutdown(ends[0], SHUT_WR);
        (void)!write(ends[0], "x", 1);
        _exit(3);
    }
    int status = 0;
    SAY(waitpid(child, &status, 0) == child);
    SAY(WIFSIGNALED(status) ? WTERMSIG(status) : -1);
    signal(SIGPIPE, SIG_IGN);
    SAY(write(ends[0], "x", 1));
    SAY(read(ends[1], buf, sizeof buf));
}

static void vectors(void)
{
    int ends[2];
    char a[4] = {0};
    char b[8] = {0};
    connected(ends);
    struct iovec out[3] = {{"ab", 2}, {"", 0}, {"cdefgh", 6}};
    struct iovec in[2] = {{a, 3}, {b, 8}};
    SAY(writev(ends[0], out, 3));
    SAY(wait_for(ends[1], POLLIN) & POLLIN);
    SAY(readv(ends[1], in, 2));
    printf("%.3s %.5s\n", a, b);
    SAY(writev(ends[0], out, -1));
    SAY(readv(ends[1], in, 5000));
    struct msghdr message = {.msg_iov = out, .msg_iovlen = 3};
    SAY(sendmsg(ends[0], &message, 0));
    struct sockaddr_in name;
    char control[64];
    message = (struct msghdr){.msg_iov = in,
                              .msg_iovlen = 2,
                              .msg_name = &name,
                              .msg_namelen = sizeof name,
                              .msg_control = control,
                              .msg_controllen = sizeof control};
    SAY(wait_for(ends[1], POLLIN) & POLLIN);
    SAY(recvmsg(ends[1], &message, 0));
    SAY(message.msg_namelen);
    SAY(message.msg_controllen);
    SAY(message.msg_flags & ~MSG_CMSG_CLOEXEC);
    SAY(send(ends[0], "0123456789", 10, 0));
    SAY(recv(ends[1], b, 5, MSG_WAITALL));
    socklen_t length = sizeof name;
    SAY(recvfrom(ends[1], b, 5, MSG_WAITALL, (struct sockaddr *)&name, &length));
    SAY(length);
    SAY(recv(ends[1], b, 5, MSG_DONTWAIT));
    struct mmsghdr several[2] = {{.msg_hdr = {.msg_iov = out, .msg_iovlen = 3}},
                                 {.msg_hdr = {.msg_iov = out, .msg_iovlen = 1}}};
    SAY(sendmmsg(ends[0], several, 2, 0));
    SAY(several[0].msg_len);
    SAY(several[1].msg_len);
}

enum { BIG = 3000000 };

static void *pour(void *arg)
{
    int fd = *(int *)arg;
    char *data = malloc(BIG);
    for (int i = 0; i < BIG; i++)
        data[i] = (char)(i * 7 >> 3);
    struct iovec iov[3] = {{data, 1000}, {data + 1000, BIG - 2000}, {data + BIG - 1000, 1000}};
    SAY(writev(fd, iov, 3));
    shutdown(fd, SHUT_WR);
    free(data);
    return NULL;
}

static void big(void)
{
    int ends[2];
    pthread_t thread;
    connected(ends);
    MUST(-pthread_create(&thread, NULL, pour, &ends[0]));
    char buf[70000];
    long total = 0;
    long wrong_bytes = 0;
    ssize_t got;
    while ((got = read(ends[1], buf, sizeof buf)) > 0) {
        for (ssize_t i = 0; i < got; i++)
            wrong_bytes += buf[i] != (char)((total + i) * 7 >> 3);
        total += got;
    }
    pthread_join(thread, NULL);
    SAY(total);
    SAY(wrong_bytes);
    SAY(got);
}

static void full(void)
{
    int ends[2];
    static char data[65536];
    connected(ends);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    long total = fill_up(ends[0]);
    SAY(total > 0);
    struct pollfd wanted = {.fd = ends[0], .events = POLLOUT};
    // What was sent may go on moving on, and make room: poll() and write() agree on it.
    while (poll(&wanted, 1, 0) != 0) {
        ssize_t more = write(ends[0], data, sizeof data);
        if (more <= 0) {
            SAY(more);
            break;
        }
        total += more;
    }
    long read_back = 0;
    while (read_back < total) {
        ssize_t got = read(ends[1], data, sizeof data);
        if (got <= 0)
            break;
        read_back += got;
    }
    SAY(read_back == total);
    SAY(wait_for(ends[0], POLLOUT) & POLLOUT);
    SAY(write(ends[0], data, 1));
}

static void files(void)
{
    int ends[2];
    char path[] = "/tmp/scenario-XXXXXX";
    char buf[32] = {0};
    off_t at = 3;
    connected(ends);
    int file = MUST(mkstemp(path));
    unlink(path);
    MUST(write(file, "0123456789", 10));
    SAY(sendfile(ends[0], file, &at, 4));
    SAY(at);
    SAY(sendfile(ends[0], file, &at, 100));
    SAY(sendfile(ends[0], file, &at, 100));
    SAY(read_all(ends[1], buf, 7));
    printf("%s\n", buf);
    int tube[2];
    MUST(pipe(tube));
    MUST(write(tube[1], "through the pipe", 16));
    SAY(splice(tube[0], NULL, ends[0], NULL, 100, 0));
    SAY(splice(tube[0], NULL, ends[0], NULL, 100, SPLICE_F_NONBLOCK));
    SAY(splice(ends[0], NULL, ends[1], NULL, 100, 0));
    SAY(splice(tube[0], &at, ends[0], NULL, 100, 0));
    SAY(wait_for(ends[1], POLLIN) & POLLIN);
    SAY(splice(ends[1], NULL, tube[1], NULL, 100, 0));
    MUST(fcntl(ends[1], F_SETFL, O_NONBLOCK));
    SAY(splice(ends[1], NULL, tube[1], NULL, 100, 0));
    memset(buf, 0, sizeof buf);
    SAY(read(tube[0], buf, sizeof buf));
    printf("%s\n", buf);
}

static void refused(void)
{
    struct sockaddr_in name;
    int error = 0;
    socklen_t length = sizeof error;
    int fd = listener(&name, 0);
    MUST(close(fd));
    fd = MUST(socket(AF_INET, SOCK_STREAM, 0));
    SAY(connect(fd, (struct sockaddr *)&name, sizeof name));
    SAY(close(fd));
    fd = MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    int result = connect(fd, (struct sockaddr *)&name, sizeof name);
    SAY(result < 0 && (errno == EINPROGRESS || errno == ECONNREFUSED));
    say_events("refused", (unsigned)wait_for(fd, POLLOUT));
    SAY(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length));
    SAY(error == ECONNREFUSED);
    SAY(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length));
    SAY(error);
}

static void reset(void)
{
    int ends[2];
    char buf[8];
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    connected(ends);
    SAY(setsockopt(ends[0], SOL_SOCKET, SO_LINGER, &hard, sizeof hard));
    SAY(close(ends[0]));
    say_events("reset", (unsigned)wait_for(ends[1], POLLIN));
    SAY(read(ends[1], buf, sizeof buf));
    SAY(read(ends[1], buf, sizeof buf));
    SAY(send(ends[1], buf, 1, MSG_NOSIGNAL));
    connected(ends); // unread data at close reset, too
    MUST(write(ends[1], "unread", 6));
    SAY(wait_for(ends[0], POLLIN) & POLLIN);
    SAY(close(ends[0]));
    say_events("reset", (unsigned)wait_for(ends[1], POLLIN));
    SAY(read(ends[1], buf, sizeof buf));
    struct linger soft = {.l_onoff = 1, .l_linger = 5};
    connected(ends);
    SAY(setsockopt(ends[0], SOL_SOCKET, SO_LINGER, &soft, sizeof soft));
    MUST(write(ends[0], "last", 4));
    SAY(close(ends[0]));
    SAY(read(ends[1], buf, sizeof buf));
    SAY(read(ends[1], buf, sizeof buf));
}

static void streams(void)
{
    int ends[2];
    char line[32];
    struct iovec iov = {line, sizeof line};
    connected(ends);
    FILE *client = fdopen(ends[0], "r+");
    FILE *server = fdopen(dup(ends[1]), "r");
    SAY(client != NULL && server != NULL);
    SAY(fileno(client) == ends[0]);
    SAY(fprintf(client, "%s %d\n", "line", 1));
    SAY(fflush(client));
    SAY(fgets(line, sizeof line, server) != NULL);
    printf("%s", line);
    SAY(dprintf(ends[1], "back %d\n", 2));
    SAY(fgets(line, sizeof line, client) != NULL);
    printf("%s", line);
    SAY(preadv2(ends[1], &iov, 1, 0, 0));
    SAY(fputs("rest", client));
    SAY(fclose(client));
    SAY(fcntl(ends[0], F_GETFD));
    SAY(preadv2(ends[1], &iov, 1, -1, 0));
    SAY(fgets(line, sizeof line, server) == NULL);
    SAY(feof(server));
    SAY(fclose(server));
    SAY(fdopen(ends[0], "r") == NULL);
    SAY(socket(AF_INET, SOCK_STREAM, 0) == ends[0]);
}

const struct scenario stream_scenarios[] = {
    {"basic", basic},     {"wrong", wrong},     {"pipe_signal", pipe_signal},
    {"vectors", vectors}, {"big", big},         {"full", full},
    {"files", files},     {"refused", refused}, {"reset", reset},
    {"streams", streams}, {NULL, NULL},
};
