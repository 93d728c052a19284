// log.h: what the shim has to say to the person who runs the program.
//
// NEWTOS_LOG=stderr or NEWTOS_LOG=path, either with ",error", ",warn" or ",debug" behind it: where
// to, and from which level on (debug, if only the place is given). Without it, errors and warnings
// go to standard error, as long as descriptor 2 is still the file it was at the start: a daemon
// that has put something else there must not find our text in it.
//
// One write(2) a line, formatted on the stack: may be called anywhere, also in a child of fork().
#ifndef NT_PRELOAD_LOG_H
#define NT_PRELOAD_LOG_H

#include <stdbool.h>

enum nt_log_level {
    NT_LOG_ERROR = 0,
    NT_LOG_WARN = 1,
    NT_LOG_DEBUG = 2,
};

extern int nt_log_level;

void nt_log_open(void);
int nt_log_descriptor(void); // of the shim's own; -1: none
void nt_log_write(enum nt_log_level level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#define nt_log(level, ...)                    \
    do {                                      \
        if ((int)(level) <= nt_log_level)     \
            nt_log_write(level, __VA_ARGS__); \
    } while (0)

// Warns once a place in the code: for what a program may do thousands of times.
#define nt_log_once(...)                      \
    do {                                      \
        static bool said;                     \
        if (!said) {                          \
            said = true;                      \
            nt_log(NT_LOG_WARN, __VA_ARGS__); \
        }                                     \
    } while (0)

#endif
