/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a process gets at CPUs, disks and memory nodes, and how it sees the kernel: scheduling policy, I/O
 * priority, CPU affinity, memory policy, execution domain.
 *
 * Everything is given by the runtime-spec's names, parsed into numbers before anything is made (the parse
 * functions, which name the wrong word and those that are possible), and set later, some by the process itself and
 * some for another one (pid; 0 is the caller). All of it survives execve and is inherited by children.
 */
#pragma once

#include "base/err.h"

/* The kernel's struct sched_attr (sched_setattr(2)); C libraries of 2022 have none. */
typedef struct SchedulingAttr {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
	uint32_t util_min, util_max;
} SchedulingAttr;

typedef struct SchedulingWords {
	const char *policy;                 /* "SCHED_OTHER" ... */
	char *const *flags;                 /* "SCHED_FLAG_..." or NULL */
	int64_t nice, priority;             /* nice: -20 to 19 */
	uint64_t runtime, deadline, period; /* nanoseconds */
} SchedulingWords;
int scheduling_parse(const SchedulingWords *w, SchedulingAttr *ret, Err *e);
/* True if a child does not get it, or the process may not fork under it. */
bool scheduling_is_reset_by_fork(const SchedulingAttr *a);
/* ERR_DENIED if it takes CAP_SYS_NICE that this process lacks. */
int scheduling_set(pid_t pid, const SchedulingAttr *a, Err *e);

/* "IOPRIO_CLASS_BE" and 0 to 7 into the number that ioprio_set(2) takes. */
int scheduling_parse_io(const char *class, int64_t priority, int *ret, Err *e);
int scheduling_set_io(pid_t pid, int ioprio, Err *e);

#define SCHEDULING_SET_MAX 8192 /* CPUs or memory nodes */
typedef struct SchedulingSet {
	unsigned long bits[SCHEDULING_SET_MAX / (8 * sizeof(unsigned long))];
	size_t n; /* one more than the highest member; 0: empty */
} SchedulingSet;
/* "0-3,8" as cpuset(7) has it; `what` names the member in errors. */
int scheduling_parse_set(const char *list, const char *what, SchedulingSet *ret, Err *e);
int scheduling_set_affinity(pid_t pid, const SchedulingSet *cpus, Err *e);
/* Every CPU that its cgroup allows: what was inherited from us is not meant for it. */
void scheduling_reset_affinity(pid_t pid);

typedef struct SchedulingMemory {
	int mode; /* MPOL_* with its flags */
	SchedulingSet nodes;
} SchedulingMemory;
int scheduling_parse_memory(const char *mode, char *const *flags, const char *nodes, SchedulingMemory *ret,
			    Err *e);
/* The i-th mode or flag, NULL behind the last. */
const char *scheduling_memory_mode_name(size_t i);
const char *scheduling_memory_flag_name(size_t i);
int scheduling_set_memory(const SchedulingMemory *m, Err *e);

/* "LINUX" or "LINUX32" for personality(2). */
int scheduling_parse_domain(const char *domain, unsigned long *ret, Err *e);
int scheduling_set_domain(unsigned long domain, Err *e);
