// stdio.c: see stdio.h.

#include "libc_shim/preload/stdio.h"

#include "libc_shim/preload/connection.h"
#include "libc_shim/preload/data.h"
#include "libc_shim/preload/numbers.h"
#include "libc_shim/preload/share.h"
#include "libc_shim/preload/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

static int number_of(void *cookie) { return (int)(intptr_t)cookie; }

static ssize_t answer(struct nt_thread *self, ssize_t result)
{
    nt_leave(self);
    if (result >= 0)
        return result;
    errno = (int)-result;
    return -1;
}

static ssize_t read_stream(void *cookie, char *buf, size_t bytes)
{
    struct nt_thread *self = nt_enter();
    ssize_t done = nt_data_read(number_of(cookie), buf, bytes);
    if (done == NT_IS_KERNELS) {
        nt_leave(self);
        return nt_real.read(number_of(cookie), buf, bytes);
    }
    return answer(self, done);
}

// A write function of fopencookie says 0, not -1, for an error.
static ssize_t write_stream(void *cookie, const char *buf, size_t bytes)
{
    struct nt_thread *self = nt_enter();
    ssize_t done = nt_data_write(number_of(cookie), buf, bytes);
    if (done == NT_IS_KERNELS) {
        nt_leave(self);
        done = nt_real.write(number_of(cookie), buf, bytes);
    } else {
        done = answer(self, done);
    }
    return done < 0 ? 0 : done;
}

static int close_stream(void *cookie)
{
    struct nt_thread *self = nt_enter();
    return (int)answer(self, nt_file_close(number_of(cookie)));
}

static FILE *open_stream(int fd, const char *mode)
{
    const cookie_io_functions_t functions = {
        .read = read_stream, .write = write_stream, .close = close_stream};
    void *cookie = NULL;
    const intptr_t number = fd;
    memcpy(&cookie, &number, sizeof number);
    FILE *file = fopencookie(cookie, mode, functions);
    if (file != NULL)
        file->_fileno = fd; // fileno() reads this; nothing else of a cookie's stream does
    return file;
}

FILE *nt_fdopen(int fd, const char *mode)
{
    struct nt_file *held;
    int error = nt_socket_hold(fd, "fdopen", &held);
    if (error == (int)NT_IS_KERNELS)
        return nt_real.fdopen(fd, mode);
    if (error != 0) {
        errno = -error;
        return NULL;
    }
    nt_file_drop(held);
    return open_stream(fd, mode);
}

static FILE *streams[3]; // ours
static FILE *libc_streams[3];

void nt_stdio_follow_number(int fd)
{
    static const char *const modes[3] = {"r", "w", "w"};
    FILE **const standard[3] = {&stdin, &stdout, &stderr};
    if (fd < 0)
        return;
    const struct nt_file *file = nt_fd_get(fd);
    int saved = errno;
    if (file >= NT_FD_FIRST && nt_file_may_be_shared(file)) {
        if (streams[fd] == NULL) {
            streams[fd] = open_stream(fd, modes[fd]);
            if (streams[fd] != NULL && fd == 2)
                (void)setvbuf(streams[fd], NULL, _IONBF, 0);
        }
        if (streams[fd] != NULL && *standard[fd] != streams[fd]) {
            libc_streams[fd] = *standard[fd];
            *standard[fd] = streams[fd];
        }
    } else if (streams[fd] != NULL && *standard[fd] == streams[fd]) {
        *standard[fd] = libc_streams[fd];
    }
    errno = saved;
}

int nt_vdprintf(int fd, const char *format, va_list args)
{
    char *text;
    int bytes = vasprintf(&text, format, args);
    if (bytes < 0)
        return -1;
    struct nt_thread *self = nt_enter();
    ssize_t done = nt_data_write(fd, text, (size_t)bytes);
    if (done == NT_IS_KERNELS) {
        nt_leave(self);
        bytes = (int)nt_real.write(fd, text, (size_t)bytes);
    } else {
        bytes = (int)answer(self, done);
    }
    free(text);
    return bytes;
}

int nt_fclose(FILE *file)
{
    int saved = errno;
    int fd = fileno(file);
    struct nt_file *before = fd >= 0 ? nt_fd_get(fd) : NULL;
    errno = saved;
    int result = nt_real.fclose(file);
    saved = errno;
    for (int i = 0; i < 3; i++)
        if (streams[i] == file)
            streams[i] = NULL;
    if (fd >= 0 && before == NULL)
        nt_numbers_kernel_closed(fd);
    else if (before >= NT_FD_FIRST && nt_fd_get(fd) == before && nt_real.fcntl(fd, F_GETFD) < 0)
        nt_file_replace(fd, NULL, false); // a newtos socket at, say, 0 goes with stdin
    errno = saved;
    return result;
}
