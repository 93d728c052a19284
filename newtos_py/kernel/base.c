// base.c: how a process of ours says its last words.
#include "newtos_py/kernel/base.h"

#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

// Decimal digits of `line`, written backwards into the end of `buffer`.
static struct iovec line_number(char *buffer, size_t bytes, int line)
{
    size_t at = bytes;
    unsigned rest = line > 0 ? (unsigned)line : 0;
    do {
        buffer[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest != 0 && at > 0);
    return (struct iovec){.iov_base = buffer + at, .iov_len = bytes - at};
}

_Noreturn void nt_panic(const char *file, int line, const char *what)
{
    char digits[12];
    struct iovec words[] = {
        {.iov_base = (void *)"newtos: ", .iov_len = 8},
        {.iov_base = (void *)(uintptr_t)file, .iov_len = strlen(file)},
        {.iov_base = (void *)":", .iov_len = 1},
        line_number(digits, sizeof(digits), line),
        {.iov_base = (void *)": ", .iov_len = 2},
        {.iov_base = (void *)(uintptr_t)what, .iov_len = strlen(what)},
        {.iov_base = (void *)"\n", .iov_len = 1},
    };
    // Nothing can be done about a closed standard error.
    ssize_t written = writev(STDERR_FILENO, words, sizeof(words) / sizeof(words[0]));
    (void)written;
    abort();
}
