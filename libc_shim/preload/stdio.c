// stdio.c: see stdio.h.

#include "libc_shim/preload/stdio.h"

#include "libc_shim/preload/connection.h"
#include "libc_shim/preload/data.h"
#include "libc_shim/preload/numbers.h"
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
    return answer(self, nt_data_read(number_of(cookie), buf, bytes));
}

// A write function of fopencookie says 0, not -1, for an error.
static ssize_t write_stream(void *cookie, const char *buf, size_t bytes)
{
    struct nt_thread *self = nt_enter();
    ssize_t done = answer(self, nt_data_write(number_of(cookie), buf, bytes));
    return done < 0 ? 0 : done;
}

static int close_stream(void *cookie)
{
    struct nt_thread *self = nt_enter();
    return (int)answer(self, nt_file_close(number_of(cookie)));
}

FILE *nt_fdopen(int fd, const char *mode)
{
    struct nt_file *held;
    int error = nt_socket_hold(fd, "fdopen", &held);
    if (error != 0) {
        errno = -error;
        return NULL;
    }
    nt_file_drop(held);
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

int nt_vdprintf(int fd, const char *format, va_list args)
{
    char *text;
    int bytes = vasprintf(&text, format, args);
    if (bytes < 0)
        return -1;
    struct nt_thread *self = nt_enter();
    bytes = (int)answer(self, nt_data_write(fd, text, (size_t)bytes));
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
    if (fd >= 0 && before == NULL)
        nt_numbers_kernel_closed(fd);
    else if (before >= NT_FD_FIRST && nt_fd_get(fd) == before && nt_real.fcntl(fd, F_GETFD) < 0)
        nt_file_replace(fd, NULL, false); // a newtos socket at, say, 0 goes with stdin
    errno = saved;
    return result;
}
