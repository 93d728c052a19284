// share.c: see share.h.

#include "libc_shim/preload/share.h"

#include "libc_shim/preload/connection.h"
#include "libc_shim/preload/control.h"
#include "libc_shim/preload/epoll.h"
#include "libc_shim/preload/log.h"
#include "libc_shim/preload/numbers.h"
#include "libc_shim/preload/process.h"
#include "libc_shim/preload/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>

enum {
    WAIT_PATIENCE_MS = 30, // other descriptors of the call wait, too
    LISTED = NT_CTL_TEXT_BYTES / sizeof(struct nt_shared_socket), // in one message
    HIGH_NUMBER = 512,    // out of the way of what the next program opens
    ADOPT_AT_ONCE = 1024, // numbers at which sockets that came along are looked for
};

static pthread_mutex_t use_lock = PTHREAD_MUTEX_INITIALIZER;
static int token = -1; // ours during fork()

static uint64_t inode_of(int fd)
{
    struct stat st;
    return nt_real.fstat(fd, &st) == 0 ? st.st_ino : 0;
}

static void identify(const struct nt_file *file, struct nt_shared_socket *named)
{
    memset(named, 0, sizeof *named);
    named->inode = file->inode;
    if (file->sock.area == NULL)
        return;
    struct nt_sock_identity identity;
    nt_sock_identify(&file->sock, &identity);
    named->protocol = identity.protocol;
    named->area = identity.area;
    named->slot = identity.slot;
    named->generation = identity.generation;
}

static void append(struct nt_control_call *call, const struct nt_shared_socket *named)
{
    memcpy(call->message.text + call->message.text_bytes, named, sizeof *named);
    call->message.text_bytes += (uint32_t)sizeof *named;
}

// -- Tokens ----------------------------------------------------------------------------------

// Adds the socket at `fd` to the list, if the syscall server doesn't know it.
static void list_new(struct nt_control_call *call, int fd, struct nt_file *file)
{
    struct nt_shared_socket named;
    if (file->kind != NT_FILE_SOCKET)
        return;
    file->inode = inode_of(fd);
    if (file->inode == 0)
        return;
    identify(file, &named);
    append(call, &named);
    nt_sock_share(&file->sock); // from its next call on, and none is under way
    file->kind = NT_FILE_LENT;
    if (call->message.text_bytes == LISTED * sizeof named) {
        call->message.arg = NT_TOKEN_MORE;
        (void)nt_control_tell(call);
        nt_control_prepare(call, NT_CTL_TOKEN);
    }
}

// Whether there is any socket that the child will hold. Those the server doesn't know are told.
static bool list_all(struct nt_control_call *call)
{
    bool any = false;
    int highest = nt_load_relaxed(&nt_fd_highest);
    for (int fd = 0; nt_fd_limit != 0 && fd <= highest; fd++) {
        if (nt_fd_get(fd) < NT_FD_FIRST)
            continue;
        struct nt_file *file = nt_file_hold(fd);
        if (file == NULL)
            continue;
        if (nt_file_may_be_shared(file)) {
            any = true;
            list_new(call, fd, file);
        }
        nt_file_drop(file);
    }
    return any;
}

void nt_share_before_fork(void)
{
    struct nt_control_call call;
    int pair[2];
    int saved = errno;
    token = -1;
    nt_control_prepare(&call, NT_CTL_TOKEN);
    if (!list_all(&call))
        return;
    nt_numbers_yield(2);
    if (nt_control_token_pair(pair) != 0) {
        nt_log(NT_LOG_ERROR, "fork: no descriptor left to share sockets: %s", strerror(errno));
        call.message.arg = NT_TOKEN_MORE; // what is LENT here must be known
        (void)nt_control_tell(&call);
    } else {
        call.send_fd = pair[1];
        (void)nt_control_tell(&call);
        nt_real.close(pair[1]);
        token = nt_number_reserve(pair[0]);
    }
    errno = saved;
}

void nt_share_in_parent(void)
{
    int saved = errno;
    if (token >= 0)
        nt_number_release(token);
    token = -1;
    errno = saved;
}

int nt_share_token(void) { return token; }

void nt_share_in_child(void)
{
    token = -1;
    (void)pthread_mutex_init(&use_lock, NULL);
}

// -- exec ------------------------------------------------------------------------------------

bool nt_share_holds_any(void)
{
    int highest = nt_load_relaxed(&nt_fd_highest);
    for (int fd = 0; nt_fd_limit != 0 && fd <= highest; fd++) {
        const struct nt_file *file = nt_fd_get(fd);
        if (file >= NT_FD_FIRST && nt_file_may_be_shared(file))
            return true;
    }
    return nt_context.area_count != 0;
}

// What the next image needs to know of a socket.
static void put_image(struct nt_control_call *call, const struct nt_file *file)
{
    struct nt_sock_image image;
    nt_sock_save(&file->sock, &image);
    image.nonblocking = file->nonblocking;
    memcpy(call->message.text + call->message.text_bytes, &image, sizeof image);
    call->message.text_bytes += (uint32_t)sizeof image;
}

static void keep_state(const struct nt_file *file, const struct nt_shared_socket *named,
                       uint32_t arg, int (*say)(struct nt_control_call *call))
{
    struct nt_control_call call;
    nt_control_prepare(&call, NT_CTL_STATE);
    call.message.arg = arg;
    append(&call, named);
    put_image(&call, file);
    (void)say(&call);
}

// Memory for the list of what goes along, beyond what a message takes.
static void list_further(struct nt_control_call *call, const struct nt_shared_socket *named)
{
    if (call->list_fd < 0)
        call->list_fd = (int)nt_real.syscall(SYS_memfd_create, "newtos-list", MFD_CLOEXEC);
    if (call->list_fd < 0 || nt_real.write(call->list_fd, named, sizeof *named) != sizeof *named)
        nt_log_once("exec: a socket can't go along: %s", strerror(errno));
}

// Lists what goes along, and has its state kept.
static void list_for_exec(struct nt_control_call *call, bool all)
{
    uint32_t flags = all ? 0 : NT_TOKEN_ONLY;
    int highest = nt_load_relaxed(&nt_fd_highest);
    for (int fd = 0; fd <= highest; fd++) {
        struct nt_shared_socket named;
        const struct nt_file *file = nt_fd_get(fd);
        if (file < NT_FD_FIRST || !nt_file_may_be_shared(file) || file->inode == 0 ||
            (nt_fd_cloexec[fd] && !file->goes_along))
            continue;
        identify(file, &named);
        keep_state(file, &named, 0, nt_control_tell);
        if (!all && call->message.text_bytes < LISTED * sizeof named)
            append(call, &named);
        else if (!all)
            list_further(call, &named);
    }
    call->message.arg = flags;
}

int nt_share_token_for_exec(bool all)
{
    struct nt_control_call call;
    int pair[2];
    nt_process_flush(nt_thread_self());
    nt_control_prepare(&call, NT_CTL_TOKEN);
    if (list_all(&call) && call.message.text_bytes != 0) {
        call.message.arg = NT_TOKEN_MORE;
        (void)nt_control_tell(&call);
    }
    nt_numbers_yield(2);
    if (nt_control_token_pair(pair) != 0)
        return -1;
    nt_control_prepare(&call, NT_CTL_TOKEN);
    list_for_exec(&call, all);
    call.send_fd = pair[1];
    (void)nt_control_tell(&call);
    nt_real.close(pair[1]);
    if (call.list_fd >= 0)
        nt_real.close(call.list_fd);
    int high = nt_real.fcntl(pair[0], F_DUPFD_CLOEXEC, HIGH_NUMBER);
    if (high < 0)
        return pair[0];
    nt_real.close(pair[0]);
    return high;
}

static struct nt_file *find_inode(uint64_t inode)
{
    int highest = nt_load_relaxed(&nt_fd_highest);
    for (int fd = 0; fd <= highest; fd++) {
        struct nt_file *file = nt_fd_get(fd);
        if (file >= NT_FD_FIRST && nt_file_may_be_shared(file) && file->inode == inode)
            return nt_file_hold(fd);
    }
    return NULL;
}

// Asks what socket the placeholder at `fd` is; NULL: none.
static struct nt_file *look(int fd, uint64_t inode, uint32_t how)
{
    struct nt_control_call call;
    struct nt_sock_image image;
    nt_control_prepare(&call, NT_CTL_TAKE);
    call.message.arg = how;
    call.send_fd = fd;
    if (nt_control_do(&call) != 0 || call.message.text_bytes < sizeof image)
        return NULL;
    memcpy(&image, call.message.text, sizeof image);
    struct nt_file *file = nt_file_new(NT_FILE_INHERITED);
    if (file == NULL)
        return NULL;
    file->inode = inode;
    file->nonblocking = image.nonblocking;
    if (!nt_sock_restore(&file->sock, &image, call.message.text_bytes)) {
        file->kind = NT_FILE_FREE;
        nt_file_drop(file);
        return NULL;
    }
    return file;
}

// Placeholders are unconnected AF_UNIX sockets.
static bool may_be_placeholder(int fd)
{
    int type = 0, domain = 0, listens = 0;
    struct sockaddr_storage peer;
    socklen_t bytes = sizeof type, peer_bytes = sizeof peer;
    int saved = errno;
    bool may =
        nt_real.getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &bytes) == 0 && domain == AF_UNIX &&
        nt_real.getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &bytes) == 0 && type == SOCK_STREAM &&
        nt_real.getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &bytes) == 0 && !listens &&
        nt_real.getpeername(fd, (struct sockaddr *)&peer, &peer_bytes) != 0;
    errno = saved;
    return may;
}

static void adopt(int fd, bool cloexec, uint32_t how)
{
    uint64_t inode = inode_of(fd);
    if ((unsigned)fd >= nt_fd_limit || inode == 0)
        return;
    struct nt_file *file = find_inode(inode);
    if (file == NULL) {
        file = look(fd, inode, how);
    } else {
        file->several_placeholders = 1;
        if (how == NT_TAKE_RECEIVED) { // it came back to whom it came from
            struct nt_control_call call;
            nt_control_prepare(&call, NT_CTL_TAKE);
            call.message.arg = how;
            call.send_fd = fd;
            (void)nt_control_tell(&call);
        }
    }
    if (file == NULL)
        return;
    (void)nt_real.fcntl(fd, F_SETFD, (void *)FD_CLOEXEC);
    nt_fd_install(fd, file, cloexec);
}

void nt_share_received(int fd, bool cloexec)
{
    if (may_be_placeholder(fd))
        adopt(fd, cloexec, NT_TAKE_RECEIVED);
}

int nt_share_send(int fd)
{
    struct nt_control_call call;
    struct nt_shared_socket named;
    struct nt_file *file = nt_file_hold(fd);
    if (file == NULL)
        return -EBADF;
    if (nt_file_may_be_shared(file)) {
        nt_control_prepare(&call, NT_CTL_TOKEN);
        list_new(&call, fd, file);
        if (call.message.text_bytes != 0) {
            call.message.arg = NT_TOKEN_MORE;
            (void)nt_control_tell(&call);
        }
        nt_process_flush(nt_thread_self());
        identify(file, &named);
        keep_state(file, &named, NT_STATE_SENT, nt_control_tell);
        // The receiver asks over a connection of its own: not before what was told here is known.
        // Said twice: what is waited for may be done twice, and each message must count once.
        keep_state(file, &named, 0, nt_control_do);
    }
    nt_file_drop(file);
    return 0;
}

void nt_share_adopt(void)
{
    struct pollfd wanted[ADOPT_AT_ONCE];
    for (unsigned first = 0; first < nt_fd_limit; first += ADOPT_AT_ONCE) {
        unsigned count = nt_min_u32(ADOPT_AT_ONCE, nt_fd_limit - first);
        for (unsigned i = 0; i < count; i++)
            wanted[i] = (struct pollfd){.fd = (int)(first + i)};
        if (nt_real.poll(wanted, count, 0) < 0)
            return;
        for (unsigned i = 0; i < count; i++)
            if ((wanted[i].revents & POLLNVAL) == 0 && may_be_placeholder(wanted[i].fd))
                adopt(wanted[i].fd, false, NT_TAKE_LOOK);
    }
}

// -- Using -----------------------------------------------------------------------------------

static uint32_t protocol_of(const struct nt_file *file)
{
    return file->sock.type == SOCK_DGRAM ? IPPROTO_UDP : IPPROTO_TCP;
}

// It was moved to a slot of ours.
static int go_on_in_slot(struct nt_file *file, const struct nt_control_message *taken)
{
    nt_sock_abandon(&file->sock, &nt_thread_self()->wake);
    nt_process_flush(nt_thread_self());
    int result = nt_sock_resume(&nt_context, &file->sock, taken->protocol, taken->area, taken->slot,
                                taken->generation);
    if (result != 0)
        return result;
    file->kind = NT_FILE_LENT;
    nt_watch_moved(file);
    nt_process_look_at_room(&file->sock);
    return 0;
}

static void close_fds(const struct nt_control_call *call)
{
    for (int i = 0; i < call->fd_count; i++)
        nt_real.close(call->fds[i]);
}

// It listens; this process accepts from it from now on.
static int join(struct nt_file *file, uint32_t listener)
{
    struct nt_control_call call;
    nt_control_prepare(&call, NT_CTL_JOIN);
    call.message.protocol = IPPROTO_TCP;
    call.message.slot = listener;
    nt_numbers_yield(2 * nt_load_relaxed(&nt_context.lanes));
    int result = nt_control_do(&call);
    if (result != 0)
        return result;
    result = nt_connection_join(file, &call);
    close_fds(&call);
    if (result == 0)
        file->kind = NT_FILE_LENT;
    return result;
}

// It is pumped: the kernel's socket takes the place of the placeholder, at all its numbers.
static int become_kernels(struct nt_file *file, const struct nt_control_call *call)
{
    int kernels = call->fds[0];
    if (file->nonblocking)
        (void)nt_real.fcntl(kernels, F_SETFL, (void *)O_NONBLOCK);
    nt_sock_name(&file->sock, &call->message.endpoint);
    nt_sock_abandon(&file->sock, &nt_thread_self()->wake);
    nt_process_flush(nt_thread_self());
    file->kind = NT_FILE_PUMPED;
    int highest = nt_load_relaxed(&nt_fd_highest);
    for (int fd = 0; fd <= highest; fd++)
        if (nt_fd_get(fd) == file)
            (void)nt_real.dup3(kernels, fd, O_CLOEXEC);
    nt_epoll_become_kernels(file);
    return (int)NT_IS_KERNELS;
}

bool nt_share_is_pumped(int fd)
{
    const struct nt_file *file = nt_fd_get(fd);
    return file >= NT_FD_FIRST && file->kind == NT_FILE_PUMPED;
}

static int take(int fd, struct nt_file *file, uint32_t how, uint32_t patience_ms)
{
    struct nt_control_call call;
    int result = how == NT_TAKE_PUMP ? 0 : nt_process_attach(protocol_of(file));
    if (result != 0)
        return result;
    nt_control_prepare(&call, NT_CTL_TAKE);
    call.message.arg = how;
    call.message.options = patience_ms;
    call.message.protocol = protocol_of(file);
    call.send_fd = fd;
    put_image(&call, file); // for the pump
    nt_numbers_yield(1);
    result = nt_control_do(&call);
    if (result != 0)
        return result;
    result = -EPROTO;
    if (call.message.arg == NT_TAKEN_PUMPED && call.fd_count == 1)
        result = become_kernels(file, &call);
    else if (call.message.arg == NT_TAKEN_SLOT)
        result = go_on_in_slot(file, &call.message);
    else if (call.message.arg == NT_TAKEN_LISTENER)
        result = join(file, call.message.slot);
    close_fds(&call);
    return result;
}

static int use(int fd, struct nt_file *file, uint32_t how, uint32_t patience_ms)
{
    int result = 0;
    int saved = errno;
    if (file->kind == NT_FILE_PUMPED)
        return (int)NT_IS_KERNELS;
    (void)pthread_mutex_lock(&use_lock);
    switch ((enum nt_file_kind)file->kind) {
    case NT_FILE_SOCKET:
        break;
    case NT_FILE_LENT: // another thread was quicker, or its server lost it
        if (file->sock.phase != NT_SOCK_LISTENING && nt_sock_was_moved(&file->sock))
            result = take(fd, file, how, patience_ms);
        break;
    case NT_FILE_INHERITED:
        result = file->inode != 0 ? take(fd, file, how, patience_ms) : -EOPNOTSUPP;
        break;
    case NT_FILE_PUMPED:
        result = (int)NT_IS_KERNELS;
        break;
    case NT_FILE_EPOLL:
    case NT_FILE_FREE:
        result = -ENOTSOCK;
        break;
    }
    (void)pthread_mutex_unlock(&use_lock);
    errno = saved;
    return result;
}

int nt_share_use(int fd, struct nt_file *file) { return use(fd, file, 0, 0); }

int nt_share_use_to_read(int fd, struct nt_file *file, uint32_t patience_ms)
{
    return use(fd, file, NT_TAKE_READ, patience_ms);
}

int nt_share_use_to_wait(int fd, struct nt_file *file)
{
    return file->sock.type == SOCK_DGRAM ? nt_share_use_to_read(fd, file, WAIT_PATIENCE_MS)
                                         : nt_share_use(fd, file);
}

// A connection that this process can go on with in a sandbox: not one that nobody connected.
static bool is_connection(const struct nt_file *file)
{
    uint8_t phase = file->kind == NT_FILE_INHERITED ? file->sock.phase_before : file->sock.phase;
    return file->sock.type == SOCK_STREAM && phase == NT_SOCK_CONNECTED;
}

void nt_share_before_sandbox(void)
{
    int saved = errno;
    int highest = nt_load_relaxed(&nt_fd_highest);
    for (int fd = 0; nt_fd_limit != 0 && fd <= highest; fd++) {
        struct nt_file *file = nt_fd_get(fd) < NT_FD_FIRST ? NULL : nt_file_hold(fd);
        if (file == NULL)
            continue;
        if (nt_file_may_be_shared(file) && is_connection(file)) {
            struct nt_control_call call;
            nt_control_prepare(&call, NT_CTL_TOKEN);
            call.message.arg = NT_TOKEN_MORE;
            list_new(&call, fd, file);
            if (call.message.text_bytes != 0)
                (void)nt_control_tell(&call);
            nt_process_flush(nt_thread_self());
            (void)pthread_mutex_lock(&use_lock);
            (void)take(fd, file, NT_TAKE_PUMP, 0);
            (void)pthread_mutex_unlock(&use_lock);
        }
        nt_file_drop(file);
    }
    errno = saved;
}

int nt_file_hold_any(int fd, struct nt_file **file)
{
    *file = nt_file_hold(fd);
    if (*file == NULL)
        return -EBADF;
    if ((*file)->kind == NT_FILE_SOCKET || (*file)->kind == NT_FILE_EPOLL)
        return 0;
    if (nt_share_use(fd, *file) != NT_IS_KERNELS)
        return 0; // what cannot be used says so when it is
    nt_file_drop(*file);
    *file = NULL;
    return (int)NT_IS_KERNELS;
}

// -- Leaving ---------------------------------------------------------------------------------

bool nt_share_leave(const struct nt_file *file)
{
    struct nt_control_call call;
    struct nt_shared_socket named;
    if (file->inode == 0)
        return true;
    identify(file, &named);
    nt_control_prepare(&call, NT_CTL_LEAVE);
    append(&call, &named);
    return nt_control_do(&call) != 0 || call.message.arg == 1;
}

void nt_share_drop(const struct nt_file *file)
{
    struct nt_control_call call;
    struct nt_shared_socket named;
    if (file->inode == 0)
        return;
    identify(file, &named);
    nt_control_prepare(&call, NT_CTL_LEAVE);
    append(&call, &named);
    (void)nt_control_tell(&call);
}
