/* SPDX-License-Identifier: Apache-2.0 */
/* Processes by pidfd, their start time, resource limits, and this program's own executable. */
#pragma once

#include "base/err.h"

#include <sys/resource.h>
#include <sys/wait.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

/* A pidfd (CLOEXEC) or -errno. */
int process_pidfd(pid_t pid);
/* 0 or -errno; -ESRCH once it is gone. */
int process_signal(int pidfd, int signal);
typedef struct ProcessStat {
	char state;     /* 'Z' and 'X': it has ended */
	uint64_t start; /* field 22 of /proc/pid/stat, in ticks since boot */
} ProcessStat;
/* 0 or -errno (-ESRCH if there is no such process). */
int process_stat(pid_t pid, ProcessStat *ret);
/* What tells the process from all that had or will have its number until the next boot: the inode number of its pidfd where
 * those are never used again (Linux 6.9), else the time that it started. Less than INT64_MAX. 0 or -errno. */
int process_identity(pid_t pid, int pidfd, uint64_t *ret);
/* Opens a pidfd and makes sure that it is the process of that identity. -ESRCH if it is gone or a zombie. */
int process_pidfd_checked(pid_t pid, uint64_t identity);
/* Waits for a child and returns its wait status, or -errno. */
int process_reap(pid_t pid);
/* The same for at most `ms`, then -ETIMEDOUT. A child that was killed need not end soon: the freezer of cgroup v1 or a FUSE server
 * holds it, or it has ended and is first for whoever traces it. */
int process_reap_within(pid_t pid, int pidfd, int ms);
/* Kills and reaps a child that nobody can hold; pid <= 0 does nothing. */
void process_kill_child(pid_t pid);

/* "RLIMIT_NOFILE" to its number, -1 if unknown. */
int process_rlimit_by_name(const char *name);
/* Sets a limit of process pid (0: this one). The error says what to do if the hard limit may not be raised. */
int process_set_rlimit(pid_t pid, const char *name, uint64_t soft, uint64_t hard, Err *e);
/* close_range(2) from fd up: closes, or marks close-on-exec. 0 or -errno. */
int process_close_from(int fd, bool only_mark);

/*
 * Makes the running program unwritable through /proc/<pid>/exe: if its executable is not on a read-only mount
 * already, executes it again from a private read-only copy of its mount (or a sealed memory file
 * where mounting is not allowed). To be called first in main() of a program whose process image may be seen from
 * inside a container: an image whose command is /proc/self/exe gets to run, and then to open, our
 * executable (CVE-2019-5736). Returns 0 if it is safe now, or -errno.
 */
int process_protect_exe(char **argv, Err *e);
