// stats.h: how many socket calls were answered in user space; written at exit.
//
// NEWTOS_STATS=path: each process appends one line of JSON when it ends by exit, _exit or a return
// from main (not when it is killed), so that a program's children have lines of their own.
#ifndef NT_PRELOAD_STATS_H
#define NT_PRELOAD_STATS_H

void nt_stats_open(void);
// Once a process; nothing happens at a second call, or without NEWTOS_STATS.
void nt_stats_write(void);
// In a child of fork(): it has counted nothing yet.
void nt_stats_child(void);

#endif
