// accept.c: accept(): takes a connection that waits, or waits for one.
//
// The number is taken before the connection, which could not be given back.

#include "libc_shim/preload/connection.h"

#include "libc_shim/preload/blocking.h"
#include "libc_shim/preload/numbers.h"
#include "libc_shim/preload/process.h"
#include "libc_shim/preload/watch.h"

#include <errno.h>

struct accepting {
    struct nt_file *listener;
    struct nt_file *file; // what is accepted, and its number
    int number;
};

static void take_back(const struct accepting *accepting)
{
    nt_fd_set(accepting->number, NT_FD_CLOSED);
    nt_number_give(accepting->number);
}

// The thread never comes back from its wait.
static void give_up_accepting(void *held)
{
    const struct accepting *accepting = held;
    take_back(accepting);
    nt_connection_discard(accepting->file);
    nt_file_drop(accepting->listener);
}

static int accept_into(struct accepting *accepting, struct sockaddr *address, socklen_t *length)
{
    struct nt_file *listener = accepting->listener;
    struct nt_file *file = accepting->file;
    struct nt_thread *self = nt_thread_self();
    uint64_t deadline_ns = 0;
    for (;;) {
        int result =
            nt_sock_accept(&nt_context, &listener->sock, &file->sock, address, length, &self->wake);
        if (result != -EAGAIN) {
            self->fruitless = 0;
            self->count[NT_COUNT_ACCEPT] += result == 0;
            if (result == 0)
                nt_process_look_at_room(&file->sock);
            nt_connection_called(self);
            return result;
        }
        if (listener->nonblocking) {
            self->count[NT_COUNT_ACCEPT_EMPTY]++;
            nt_connection_called(self);
            return nt_fruitless(self);
        }
        if (deadline_ns == 0)
            deadline_ns = nt_deadline_option(listener->sock.rcvtimeo_ns);
        result = nt_wait_holding(listener, POLLIN, deadline_ns, give_up_accepting, accepting);
        if (result != 0)
            return result;
    }
}

static int accept_held(struct nt_file *listener, struct sockaddr *address, socklen_t *length,
                       int flags)
{
    struct nt_file *file = nt_file_new(NT_FILE_SOCKET);
    if (file == NULL)
        return -ENOMEM;
    int number = nt_number_take();
    int result = number;
    if (number >= 0) {
        file->nonblocking = (flags & SOCK_NONBLOCK) != 0;
        struct accepting accepting = {.listener = listener, .file = file, .number = number};
        result = accept_into(&accepting, address, length);
        if (result >= 0)
            return nt_connection_publish(file, number, (flags & SOCK_CLOEXEC) != 0);
        take_back(&accepting);
    }
    nt_connection_discard(file);
    return result;
}

int nt_accept(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
    struct nt_file *listener;
    if ((flags & ~NT_TYPE_FLAGS) != 0)
        return -EINVAL;
    if (address != NULL && length == NULL)
        return -EFAULT;
    int result = nt_socket_hold(fd, "accept", &listener);
    if (result != 0)
        return result;
    int saved = errno;
    result = accept_held(listener, address, length, flags);
    nt_file_drop(listener);
    errno = saved;
    return result;
}
