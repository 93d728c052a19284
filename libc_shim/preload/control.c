// control.c: see control.h.

#include "libc_shim/preload/control.h"

#include "libc_shim/preload/log.h"
#include "libc_shim/preload/numbers.h"
#include "libc_shim/preload/real.h"
#include "libc_shim/preload/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct sockaddr_un server; // from NEWTOS_CONTROL, when the shim was loaded
static socklen_t server_bytes;
static int control_fd = -1;
static int door_fd = -1; // the parent's connection, in a child without one of its own
static bool by_token;    // the connection came from the parent
static bool greeted;
static uint32_t last_number;
static bool unreachable; // nothing to connect to, or it went away

bool nt_host_gone;

bool nt_control_configured(void)
{
    if (server_bytes != 0)
        return true;
    const char *path = getenv("NEWTOS_CONTROL");
    if (path == NULL || *path == '\0')
        return false;
    size_t bytes = strlen(path);
    server.sun_family = AF_UNIX;
    if (bytes >= sizeof server.sun_path) {
        nt_log(NT_LOG_ERROR, "NEWTOS_CONTROL is too long: %s", path);
        bytes = sizeof server.sun_path - 1; // no such path: the host counts as gone
    }
    memcpy(server.sun_path, path, bytes);
    server_bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + bytes);
    if (path[0] == '@')
        server.sun_path[0] = '\0'; // an abstract name: no end mark
    else
        server_bytes++;
    return true;
}

static char gone_why[160];
static int gone_error = ENETDOWN; // what calls answer then

static int gone(const char *what)
{
    bool abstract = server.sun_path[0] == '\0';
    (void)snprintf(gone_why, sizeof gone_why, "%s %s%s: %s", what, abstract ? "@" : "",
                   server.sun_path + abstract, errno != 0 ? strerror(errno) : "closed");
    unreachable = true;
    // Attached sockets stand or fall with the connection; it stays, so that sleepers wake up by it.
    // Who was refused has attached none.
    if (control_fd >= 0 && gone_error == ENETDOWN)
        nt_store_release(&nt_host_gone, true);
    return -gone_error;
}

// Not said before the program wants something of the host.
static void say_gone(void)
{
    static bool said;
    if (!said)
        nt_log(NT_LOG_ERROR, "the host %s (%s): sockets answer %s",
               gone_error == ENETDOWN ? "is gone" : "takes no more processes", gone_why,
               strerrorname_np(gone_error));
    said = true;
}

// All descriptors that go beside a request: how many.
static int list_fds(const struct nt_control_call *call, int *fds)
{
    int count = call->shown_count;
    memcpy(fds, call->shown, (size_t)count * sizeof *fds);
    if (call->send_fd >= 0)
        fds[count++] = call->send_fd;
    if (call->send_fd >= 0 && call->list_fd >= 0)
        fds[count++] = call->list_fd;
    return count;
}

// sendmsg(2): ETOOMANYREFS until the server has read what others of this user sent before.
static bool is_passing(int error, int *tries)
{
    if (error == EINTR)
        return true;
    if (error != ETOOMANYREFS || (*tries)++ == NT_CONTROL_TRIES * NT_CONTROL_RETRY_MS)
        return false;
    (void)nt_real.poll(NULL, 0, 1);
    return true;
}

static int send_request(int to, struct nt_control_call *call)
{
    struct iovec iov = {.iov_base = &call->message, .iov_len = sizeof call->message};
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(NT_CTL_SENT_FDS_MAX * sizeof(int))];
    } control;
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    int fds[NT_CTL_SENT_FDS_MAX];
    size_t bytes = (size_t)list_fds(call, fds) * sizeof *fds;
    if (bytes != 0) {
        memset(control.room, 0, CMSG_SPACE(bytes));
        msg.msg_control = control.room;
        msg.msg_controllen = CMSG_SPACE(bytes);
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(bytes);
        memcpy(CMSG_DATA(&control.header), fds, bytes);
    }
    int tries = 0;
    while (nt_real.sendmsg(to, &msg, MSG_NOSIGNAL) < 0)
        if (!is_passing(errno, &tries))
            return -1;
    return 0;
}

static void prepare_number(struct nt_control_call *call, uint32_t number)
{
    call->message.magic = NT_CTL_MAGIC;
    call->message.version = NT_CTL_VERSION;
    call->message.number = number;
}

int nt_control_token_pair(int pair[2])
{
    int on = 1;
    if (nt_real.socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return -1;
    (void)nt_real.setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
    return 0;
}

// Through the parent's connection; false: the parent had none, or the host is gone.
static bool enter_by_door(void)
{
    struct nt_control_call call;
    int pair[2];
    if (door_fd < 0)
        return false;
    nt_numbers_yield(2);
    if (nt_control_token_pair(pair) != 0)
        return false;
    nt_control_prepare(&call, NT_CTL_TOKEN);
    prepare_number(&call, 0);
    call.message.arg = NT_TOKEN_ONLY;
    call.send_fd = pair[1];
    bool sent = send_request(door_fd, &call) == 0;
    nt_real.close(pair[1]);
    nt_number_release(door_fd);
    door_fd = -1;
    if (sent) {
        by_token = true;
        nt_store_release(&control_fd, nt_number_reserve(pair[0]));
    } else {
        nt_real.close(pair[0]);
    }
    return sent;
}

static int connect_locked(void)
{
    if (unreachable)
        return -gone_error;
    if (control_fd >= 0 || enter_by_door())
        return 0;
    nt_numbers_yield(1);
    int fd = nt_real.socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return gone("socket for");
    fd = nt_number_reserve(fd);
    while (nt_real.connect(fd, (struct sockaddr *)&server, server_bytes) != 0) {
        if (errno == EINTR)
            continue;
        int saved = errno;
        nt_number_release(fd);
        errno = saved;
        return gone("connect to");
    }
    nt_store_release(&control_fd, fd);
    return 0;
}

static void take_fds(struct nt_control_call *call, struct msghdr *msg)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
            if (call->fd_count < NT_CTL_FDS_MAX)
                call->fds[call->fd_count++] = fd;
            else
                nt_real.close(fd);
        }
    }
}

// 1: a reply is there; 0: none within the time; -1: the host is gone.
static int receive_reply(struct nt_control_call *call)
{
    struct pollfd wanted = {.fd = control_fd, .events = POLLIN};
    int ready;
    do
        ready = nt_real.poll(&wanted, 1, NT_CONTROL_RETRY_MS);
    while (ready < 0 && errno == EINTR);
    if (ready <= 0)
        return ready;
    struct iovec iov = {.iov_base = &call->message, .iov_len = sizeof call->message};
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(NT_CTL_FDS_MAX * sizeof(int))];
    } control;
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.room,
                         .msg_controllen = sizeof control.room};
    ssize_t got = nt_real.recvmsg(control_fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (got < 0 && errno == ECONNRESET) // once, and then what was said before
        got = nt_real.recvmsg(control_fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (got < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    errno = 0;
    if (got == 0)
        return -1;
    take_fds(call, &msg);
    return got == (ssize_t)sizeof call->message ? 1 : -1;
}

static void drop_fds(struct nt_control_call *call)
{
    while (call->fd_count > 0)
        nt_real.close(call->fds[--call->fd_count]);
}

static bool is_refusal(const struct nt_control_message *message)
{
    if (message->magic != NT_CTL_MAGIC || message->kind != NT_CTL_REFUSED)
        return false;
    gone_error = (int)message->error;
    errno = gone_error;
    return true;
}

static int exchange(struct nt_control_call *call)
{
    const struct nt_control_message request = call->message;
    for (int attempt = 0; attempt < NT_CONTROL_TRIES; attempt++) {
        call->message = request;
        bool sent = send_request(control_fd, call) == 0;
        int error = errno, got;
        while ((got = receive_reply(call)) > 0) {
            if (is_refusal(&call->message))
                return gone("refused by");
            if (call->message.magic == NT_CTL_MAGIC && call->message.number == request.number)
                return -(int)call->message.error;
            drop_fds(call); // the answer to an earlier attempt
        }
        if (!sent) {
            errno = error;
            return gone("request to");
        }
        if (got < 0)
            return gone("answer from");
    }
    nt_log(NT_LOG_ERROR, "the syscall server does not answer");
    return -ETIMEDOUT;
}

void nt_control_prepare(struct nt_control_call *call, enum nt_control_kind kind)
{
    memset(&call->message, 0, sizeof call->message); // nothing of our stack goes to the server
    call->message.kind = (uint16_t)kind;
    call->shown_count = 0;
    call->send_fd = -1;
    call->list_fd = -1;
    call->fd_count = 0;
}

static int do_locked(struct nt_control_call *call)
{
    last_number += last_number == UINT32_MAX ? 2 : 1; // 0 is for what has no reply
    prepare_number(call, last_number);
    int result = exchange(call);
    if (result != 0)
        drop_fds(call);
    return result;
}

static int open_locked(void)
{
    int result = connect_locked();
    if (result != 0 || greeted)
        return result;
    struct nt_control_call hello;
    nt_control_prepare(&hello, NT_CTL_HELLO);
    if (by_token) { // a socket pair of the parent's says nothing of who we are
        hello.message.arg = (uint32_t)getpid();
        hello.send_fd = (int)nt_real.syscall(SYS_pidfd_open, getpid(), 0);
    }
    result = do_locked(&hello);
    if (hello.send_fd >= 0)
        nt_real.close(hello.send_fd);
    if (unreachable)
        return -gone_error;
    if (result != 0) {
        errno = -result;
        return gone("refused by");
    }
    greeted = true;
    hello.message.text[NT_CTL_TEXT_BYTES - 1] = '\0';
    nt_log(NT_LOG_DEBUG, "on host %s", hello.message.text);
    return 0;
}

static int locked(int (*step)(void), struct nt_control_call *call)
{
    int saved = errno;
    int cancel;
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    (void)pthread_mutex_lock(&lock);
    int result = step();
    if (result == 0 && call != NULL) {
        nt_thread_self()->count[NT_COUNT_SERVER]++;
        result = do_locked(call);
    }
    if (unreachable && call != NULL)
        say_gone();
    (void)pthread_mutex_unlock(&lock);
    (void)pthread_setcancelstate(cancel, NULL);
    errno = saved;
    return result;
}

int nt_control_door(void) { return control_fd >= 0 ? control_fd : door_fd; }

bool nt_control_has_token(void) { return by_token && control_fd >= 0; }

// What the program before us left (exec.h): "token:N" or "door:N".
static void take_token(void)
{
    const char *text = getenv("NEWTOS_TOKEN");
    if (text == NULL)
        return;
    const char *colon = strchr(text, ':');
    int type = 0;
    socklen_t length = sizeof type;
    int fd = colon != NULL ? (int)strtol(colon + 1, NULL, 10) : -1;
    if (fd > 2 && nt_real.getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 &&
        type == SOCK_SEQPACKET) {
        fd = nt_number_reserve(fd);
        (void)nt_real.fcntl(fd, F_SETFD, (void *)FD_CLOEXEC);
        by_token = *text == 't';
        if (by_token)
            control_fd = fd;
        else
            door_fd = fd;
    }
    (void)unsetenv("NEWTOS_TOKEN");
}

int nt_control_open(void)
{
    take_token();
    return door_fd >= 0 ? 0 : locked(open_locked, NULL); // by the door when it first needs to
}

int nt_control_do(struct nt_control_call *call) { return locked(open_locked, call); }

int nt_control_tell(struct nt_control_call *call)
{
    int saved = errno;
    (void)pthread_mutex_lock(&lock);
    int result = connect_locked();
    prepare_number(call, 0);
    if (result == 0 && send_request(control_fd, call) != 0)
        result = errno == EBADF ? -EBADF : gone("message to");
    (void)pthread_mutex_unlock(&lock);
    errno = saved;
    return result;
}

int nt_control_descriptor(void) { return nt_load_relaxed(&nt_host_gone) ? -1 : control_fd; }

void nt_control_hung_up(void)
{
    int saved = errno;
    (void)pthread_mutex_lock(&lock);
    if (!unreachable) {
        errno = 0;
        (void)gone("it left");
    }
    nt_store_release(&nt_host_gone, true);
    say_gone();
    (void)pthread_mutex_unlock(&lock);
    errno = saved;
}

void nt_control_before_fork(void) { (void)pthread_mutex_lock(&lock); }

void nt_control_after_fork(void) { (void)pthread_mutex_unlock(&lock); }

bool nt_control_is_kept(int fd) { return fd == control_fd || fd == door_fd; }

void nt_control_child(int token)
{
    if (token >= 0) {
        door_fd = -1;
    } else if (control_fd >= 0) {
        door_fd = control_fd;
    }
    control_fd = token;
    by_token = token >= 0;
    greeted = false;
    unreachable = false;
    nt_host_gone = false;
    gone_error = ENETDOWN;
    (void)pthread_mutex_init(&lock, NULL);
}
