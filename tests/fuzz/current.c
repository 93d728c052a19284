// current.c: names the input that brought the process down, on its way out.
#include <signal.h>
#include <unistd.h>

#include "tests/fuzz/samples.h"

static char line[64];
static size_t line_bytes;

static void tell(int number)
{
    ssize_t written = write(STDERR_FILENO, line, line_bytes);
    (void)written;
    (void)signal(number, SIG_DFL);
    (void)raise(number);
}

void fuzz_current(uint64_t seed, uint32_t number)
{
    if (line_bytes == 0)
        (void)signal(SIGABRT, tell);
    line_bytes = (size_t)snprintf(line, sizeof line, "replay: %llu 1 %u\n",
                                  (unsigned long long)seed, number);
}
