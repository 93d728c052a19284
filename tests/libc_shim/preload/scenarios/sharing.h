// sharing.h: what scenarios with several processes share.
#ifndef SHARING_H
#define SHARING_H

#include "scenario.h"

enum { MANY = 300000 };

// Runs `child` in a child; SAYs of it come before anything that the parent says afterwards.
pid_t in_child(void (*child)(int ends[2]), int ends[2]);
void say_end_of(pid_t pid);
void say_read(int fd, size_t bytes);
// The byte at a place of a stream, and MANY of them from there on.
uint8_t byte_at(size_t i);
void write_many(int fd, size_t from);
// A word each way between two ends.
void both_ways(int ends[2]);
// SCM_RIGHTS: descriptors beside one byte.
ssize_t send_numbers(int to, const int *fds, int count);
int receive_numbers(int from, int *fds);
// exec: this program is the one that was started again; starts it, in this process.
bool is_second(void);
void start_again(const char *scenario);

#endif
