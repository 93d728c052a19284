// sockopt.c: getsockopt() and setsockopt() (connection.h): the socket layer answers, but for the
// names of devices, and a refused option is told once.

#include "libc_shim/preload/connection.h"
#include "libc_shim/preload/interfaces.h"
#include "libc_shim/preload/log.h"
#include "libc_shim/preload/numbers.h"
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
    if (length > 0) // of none, there may be no value either
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

// -- Of a pumped socket ----------------------------------------------------------------------

// How calls on it wait is its stand-in's business; everything else is the socket's behind it.
static bool is_stand_ins(int level, int name)
{
    return level == SOL_SOCKET &&
           (name == SO_RCVTIMEO || name == SO_SNDTIMEO || name == SO_RCVLOWAT);
}

// A program's own linger is the pump's, too: that must not wait, for others' sakes.
static bool is_too_patient(int level, int name, const void *value, socklen_t length)
{
    struct linger linger;
    if (level != SOL_SOCKET || name != SO_LINGER || length < sizeof linger)
        return false;
    memcpy(&linger, value, sizeof linger);
    return linger.l_onoff != 0 && linger.l_linger != 0;
}

static void prepare_pumped(struct nt_control_call *call, int fd, uint32_t how, int level, int name)
{
    nt_control_prepare(call, NT_CTL_OPTION);
    call->message.arg = how;
    call->message.slot = (uint32_t)level;
    call->message.generation = (uint32_t)name;
    call->send_fd = fd;
    nt_numbers_yield(1);
}

static int get_pumped(int fd, int level, int name, void *value, socklen_t *length)
{
    struct nt_control_call call;
    if (value == NULL || length == NULL)
        return -EFAULT;
    if (is_stand_ins(level, name))
        return nt_real.getsockopt(fd, level, name, value, length) == 0 ? 0 : -errno;
    prepare_pumped(&call, fd, NT_OPTION_GET, level, name);
    call.message.options = *length;
    int result = nt_control_do(&call);
    if (result != 0)
        return result;
    if (call.message.text_bytes < *length)
        *length = call.message.text_bytes;
    memcpy(value, call.message.text, *length);
    return 0;
}

static int set_pumped(int fd, int level, int name, const void *value, socklen_t length)
{
    struct nt_control_call call;
    if (value == NULL && length != 0)
        return -EFAULT;
    if (is_stand_ins(level, name))
        return nt_real.setsockopt(fd, level, name, value, length) == 0 ? 0 : -errno;
    if (is_too_patient(level, name, value, length)) {
        nt_log_once("SO_LINGER: close() of a socket that two processes use does not wait");
        return 0;
    }
    prepare_pumped(&call, fd, NT_OPTION_SET, level, name);
    call.message.text_bytes = length < NT_CTL_TEXT_BYTES / 2 ? length : NT_CTL_TEXT_BYTES / 2;
    if (length > 0)
        memcpy(call.message.text, value, call.message.text_bytes);
    return nt_control_do(&call);
}

// --------------------------------------------------------------------------------------------

int nt_getsockopt(int fd, int level, int name, void *value, socklen_t *length)
{
    struct nt_file *file;
    if (nt_share_is_pumped(fd))
        return get_pumped(fd, level, name, value, length);
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
    } while (nt_share_end_call(file, result));
    return result;
}

int nt_setsockopt(int fd, int level, int name, const void *value, socklen_t length)
{
    struct nt_file *file;
    if (nt_share_is_pumped(fd))
        return set_pumped(fd, level, name, value, length);
    struct nt_thread *self = nt_thread_self();
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
    } while (nt_share_end_call(file, result));
    return result;
}
