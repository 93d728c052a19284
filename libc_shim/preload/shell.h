// shell.h: system(3) with an environment of its own.
//
// libc's takes the environment that there is. Putting another there for the time of the command
// would change it for all threads: they read it (localtime() does), set it, and run shells of their
// own.
#ifndef NT_PRELOAD_SHELL_H
#define NT_PRELOAD_SHELL_H

// What system() returns for `command`, run with `environment`. A cancellation point, as that is.
int nt_shell_run(const char *command, char *const environment[]);

#endif
