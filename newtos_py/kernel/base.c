// base.c: how a process of ours says its last words.
#include "newtos_py/kernel/base.h"

#include <stdlib.h>
#include <unistd.h>

struct message {
    char text[256];
    size_t len;
};

// Cut short rather than left out: the file and line stand first.
static void say(struct message *message, const char *text)
{
    size_t len = strlen(text);
    size_t room = sizeof(message->text) - message->len;
    len = len < room ? len : room;
    memcpy(message->text + message->len, text, len);
    message->len += len;
}

static void say_number(struct message *message, unsigned number)
{
    char digits[12] = {0};
    size_t at = sizeof(digits) - 1;
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    say(message, digits + at);
}

_Noreturn void nt_panic(const char *file, int line, const char *what)
{
    struct message message = {.len = 0};
    say(&message, "newtos: ");
    say(&message, file);
    say(&message, ":");
    say_number(&message, (unsigned)line);
    say(&message, ": ");
    say(&message, what);
    say(&message, "\n");
    // Nothing can be done about a closed standard error.
    ssize_t written = write(STDERR_FILENO, message.text, message.len);
    (void)written;
    abort();
}
