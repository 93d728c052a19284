// sockopt.c: getsockopt() and setsockopt() (connection.h): the socket layer answers, but for the
// names of devices, and a refused option is told once.

#include "libc_shim/preload/connection.h"
#include "libc_shim/preload/interfaces.h"
#include "libc_shim/preload/log.h"
#include "libc_shim/preload/process.h"
#include "libc_shim/preload/share.h"

#include <errno.h>
#include <net/if.h>

static void called(struct nt_thread *self)
{
    self->count[NT_COUNT_USER]++;
    nt_process_flush(self);
}

// SO_BINDTODEVICE: a device by its name, which the socket layer keeps as a number.
static int bind_to_device(struct nt_file *file, const void *value, socklen_t length)
{
    char name[IFNAMSIZ] = {0};
    memcpy(name, value, length < IFNAMSIZ ? length : IFNAMSIZ - 1);
    int index = name[0] == '\0' ? 0 : (int)nt_if_nametoindex(name);
    if (name[0] != '\0' && index == 0)
        return -ENODEV;
    if (index != 0)
        nt_log_once("SO_BINDTODEVICE: kept, but routes are not restricted to %s", name);
    return nt_sock_setsockopt(&file->sock, SOL_SOCKET, NT_SO_BINDTOIFINDEX, &index, sizeof index,
                              &nt_thread_self()->wake);
}

static int bound_device(struct nt_file *file, void *value, socklen_t *length)
{
    char name[IFNAMSIZ] = {0};
    int index = 0;
    socklen_t bytes = sizeof index;
    int result = nt_sock_getsockopt(&file->sock, SOL_SOCKET, NT_SO_BINDTOIFINDEX, &index, &bytes);
    if (result != 0 || index == 0 || nt_if_indextoname((unsigned)index, name) == NULL) {
        *length = 0;
        return result;
    }
    bytes = (socklen_t)strlen(name) + 1;
    if (*length < IFNAMSIZ)
        return -EINVAL;
    memcpy(value, name, bytes);
    *length = bytes;
    return 0;
}

// An option of a pumped socket that its stand-in does not have: it stays at what it is.
static int pumped_option(void *value, socklen_t *length)
{
    if (value != NULL && length != NULL)
        memset(value, 0, *length);
    return 0;
}

int nt_getsockopt(int fd, int level, int name, void *value, socklen_t *length)
{
    struct nt_file *file;
    if (level != SOL_SOCKET && nt_share_is_pumped(fd))
        return pumped_option(value, length);
    bool moved;
    int result;
    do {
        result = nt_socket_hold(fd, "getsockopt", &file);
        if (result != 0)
            return result;
        result = value == NULL || length == NULL ? -EFAULT
                 : level == SOL_SOCKET && name == SO_BINDTODEVICE
                     ? bound_device(file, value, length)
                     : nt_sock_getsockopt(&file->sock, level, name, value, length);
        if (result == -ENOPROTOOPT)
            nt_log_once("getsockopt: level %d, option %d is not supported", level, name);
        called(nt_thread_self());
        moved = nt_share_is_elsewhere(file);
        nt_file_drop(file);
    } while (moved);
    return result;
}

int nt_setsockopt(int fd, int level, int name, const void *value, socklen_t length)
{
    struct nt_file *file;
    if (level != SOL_SOCKET && nt_share_is_pumped(fd))
        return pumped_option(NULL, NULL);
    struct nt_thread *self = nt_thread_self();
    bool moved;
    int result;
    do {
        result = nt_socket_hold(fd, "setsockopt", &file);
        if (result != 0)
            return result;
        result = value == NULL && length != 0 ? -EFAULT
                 : level == SOL_SOCKET && name == SO_BINDTODEVICE
                     ? bind_to_device(file, value, length)
                     : nt_sock_setsockopt(&file->sock, level, name, value, length, &self->wake);
        if (result == -ENOPROTOOPT)
            nt_log_once("setsockopt: level %d, option %d is not supported", level, name);
        called(self);
        moved = nt_share_is_elsewhere(file);
        nt_file_drop(file);
    } while (moved);
    return result;
}
