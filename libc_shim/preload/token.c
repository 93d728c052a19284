// token.c: see token.h. What a process tells of its sockets, so that others may hold them.

#include "libc_shim/preload/token.h"

#include "libc_shim/preload/control.h"
#include "libc_shim/preload/log.h"
#include "libc_shim/preload/numbers.h"
#include "libc_shim/preload/process.h"
#include "libc_shim/preload/share.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

enum {
    LISTED = NT_CTL_TEXT_BYTES / sizeof(struct nt_shared_socket), // in one message
    HIGH_NUMBER = 512, // out of the way of what the next program opens
};

static int token = -1; // ours during fork()

uint64_t nt_share_inode_of(int fd)
{
    struct stat st;
    return nt_real.fstat(fd, &st) == 0 ? st.st_ino : 0;
}

void nt_share_identify(const struct nt_file *file, struct nt_shared_socket *named)
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

void nt_share_append(struct nt_control_call *call, const struct nt_shared_socket *named)
{
    memcpy(call->message.text + call->message.text_bytes, named, sizeof *named);
    call->message.text_bytes += (uint32_t)sizeof *named;
}

// What the next image needs to know of a socket.
void nt_share_put_image(struct nt_control_call *call, const struct nt_file *file)
{
    struct nt_sock_image image;
    nt_sock_save(&file->sock, &image);
    image.nonblocking = file->nonblocking;
    memcpy(call->message.text + call->message.text_bytes, &image, sizeof image);
    call->message.text_bytes += (uint32_t)sizeof image;
}

// -- Tokens ----------------------------------------------------------------------------------

// Leaves out those that another thread has closed meanwhile; true: there were such.
static bool drop_closed(struct nt_control_call *call)
{
    struct nt_shared_socket named;
    int count = call->shown_count;
    char *text = call->message.text;
    call->shown_count = 0;
    call->message.text_bytes = 0;
    for (int i = 0; i < count; i++) {
        memcpy(&named, text + (size_t)i * sizeof named, sizeof named);
        if (nt_share_inode_of(call->shown[i]) != named.inode)
            continue;
        call->shown[call->shown_count++] = call->shown[i];
        nt_share_append(call, &named);
    }
    return call->shown_count != count;
}

// What is listed is new, all of it.
static void tell_new(struct nt_control_call *call, uint32_t flags)
{
    call->message.arg = flags;
    do
        call->message.options = (uint32_t)call->shown_count;
    while (nt_control_tell(call) == -EBADF && drop_closed(call));
}

// Adds the socket at `fd` to the list, if the syscall server doesn't know it.
static void list_new(struct nt_control_call *call, int fd, struct nt_file *file)
{
    struct nt_shared_socket named;
    if (file->kind != NT_FILE_SOCKET)
        return;
    file->inode = nt_share_inode_of(fd);
    if (file->inode == 0)
        return;
    nt_share_identify(file, &named);
    nt_share_append(call, &named);
    call->shown[call->shown_count++] = fd;
    nt_sock_share(&file->sock); // from its next call on, and none is under way
    file->kind = NT_FILE_LENT;
    if (call->shown_count == NT_TOKEN_NEW_MAX) {
        tell_new(call, NT_TOKEN_MORE);
        nt_control_prepare(call, NT_CTL_TOKEN);
    }
}

void nt_share_register(int fd, struct nt_file *file)
{
    struct nt_control_call call;
    nt_control_prepare(&call, NT_CTL_TOKEN);
    list_new(&call, fd, file);
    if (call.shown_count != 0)
        tell_new(&call, NT_TOKEN_MORE);
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
        tell_new(&call, NT_TOKEN_MORE); // what is LENT here must be known
    } else {
        call.send_fd = pair[1];
        tell_new(&call, 0);
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

void nt_share_no_token(void) { token = -1; }

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

static void keep_state(const struct nt_file *file, const struct nt_shared_socket *named,
                       uint32_t arg, int (*say)(struct nt_control_call *call))
{
    struct nt_control_call call;
    nt_control_prepare(&call, NT_CTL_STATE);
    call.message.arg = arg;
    nt_share_append(&call, named);
    nt_share_put_image(&call, file);
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
        nt_share_identify(file, &named);
        keep_state(file, &named, 0, nt_control_tell);
        if (!all && call->message.text_bytes < LISTED * sizeof named)
            nt_share_append(call, &named);
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
    if (list_all(&call) && call.shown_count != 0)
        tell_new(&call, NT_TOKEN_MORE);
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

// -- SCM_RIGHTS ------------------------------------------------------------------------------

int nt_share_send(int fd)
{
    struct nt_shared_socket named;
    struct nt_file *file = nt_file_hold(fd);
    if (file == NULL)
        return -EBADF;
    if (nt_file_may_be_shared(file)) {
        nt_share_register(fd, file);
        nt_process_flush(nt_thread_self());
        nt_share_identify(file, &named);
        keep_state(file, &named, NT_STATE_SENT, nt_control_tell);
        // The receiver asks over a connection of its own: not before what was told here is known.
        // Said twice: what is waited for may be done twice, and each message must count once.
        keep_state(file, &named, 0, nt_control_do);
    }
    nt_file_drop(file);
    return 0;
}
