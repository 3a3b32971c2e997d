/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Control groups of one container, whatever the machine has: the unified tree (v2), the old
 * controllers (v1), or both side by side (hybrid, where the unified tree only tracks, freezes and kills).
 *
 * A Cgroup is a set of directories, one a hierarchy. It is resolved once, from the runtime-spec's
 * cgroupsPath, at creation; afterwards it is known by the absolute directories, which the owner
 * keeps (cgroup_to_strv) and gives back (cgroup_from_strv): what /proc/self/cgroup says may have changed.
 *
 * How a process is placed matters more than anything else for the speed of a start: moving another process by
 * writing its pid to a v1 cgroup.procs waits for an RCU grace period (up to 15 ms). A process that moves
 * itself, writing "0" to "tasks", does not wait; and in v2 it is born in place (CLONE_INTO_CGROUP). So
 * the child moves itself, through descriptors opened before it was cloned: CgroupSeat.
 */
#pragma once

#include "base/err.h"

#define CGROUP_UNSET INT64_MIN /* a limit that is not given */
#define CGROUP_MAX   24        /* hierarchies */

typedef struct CgroupDeviceRule {
	bool allow;
	char type;            /* a, b, c */
	int64_t major, minor; /* -1: any */
	const char *access;   /* of r, w, m */
} CgroupDeviceRule;

typedef struct CgroupThrottle {
	int64_t major, minor;
	uint64_t rate;
} CgroupThrottle;

typedef struct CgroupHugepage {
	const char *page_size;
	uint64_t limit;
} CgroupHugepage;

typedef struct CgroupWeightDevice {
	int64_t major, minor;
	int64_t weight, leaf_weight; /* 0: not given */
} CgroupWeightDevice;

typedef struct CgroupInterfacePriority {
	const char *name;
	uint32_t priority;
} CgroupInterfacePriority;

typedef struct CgroupRdma {
	const char *device;
	int64_t handles, objects;
} CgroupRdma;

typedef struct CgroupLimits {
	int64_t memory_limit, memory_reservation, memory_swap, memory_swappiness, disable_oom_killer;
	bool memory_check; /* refuse limits below what is in use, which would kill */
	int64_t cpu_shares, cpu_quota, cpu_period, cpu_rt_runtime, cpu_rt_period, cpu_burst, cpu_idle;
	const char *cpus, *mems; /* or NULL */
	int64_t pids_limit;      /* <= 0: none */
	int64_t blkio_weight, blkio_leaf_weight;
	const CgroupWeightDevice *weight_devices;
	size_t n_weight_devices;
	const CgroupThrottle *read_bps, *write_bps, *read_iops, *write_iops;
	size_t n_read_bps, n_write_bps, n_read_iops, n_write_iops;
	const CgroupHugepage *hugepages;
	size_t n_hugepages;
	int64_t network_class; /* v1 only, like the priorities */
	const CgroupInterfacePriority *network_priorities;
	size_t n_network_priorities;
	const CgroupRdma *rdma;
	size_t n_rdma;
	char *const *unified; /* FILE=VALUE, v2 only */
	/* NULL: device access is left as it is. Else the default is to deny, and a later rule wins. */
	const CgroupDeviceRule *devices;
	size_t n_devices;
} CgroupLimits;
#define CGROUP_LIMITS_NONE                                                                                   \
	((CgroupLimits){.memory_limit = CGROUP_UNSET,                                                        \
			.memory_reservation = CGROUP_UNSET,                                                  \
			.memory_swap = CGROUP_UNSET,                                                         \
			.memory_swappiness = CGROUP_UNSET,                                                   \
			.disable_oom_killer = CGROUP_UNSET,                                                  \
			.cpu_shares = CGROUP_UNSET,                                                          \
			.cpu_quota = CGROUP_UNSET,                                                           \
			.cpu_period = CGROUP_UNSET,                                                          \
			.cpu_rt_runtime = CGROUP_UNSET,                                                      \
			.cpu_rt_period = CGROUP_UNSET,                                                       \
			.cpu_burst = CGROUP_UNSET,                                                           \
			.cpu_idle = CGROUP_UNSET,                                                            \
			.pids_limit = CGROUP_UNSET,                                                          \
			.blkio_weight = CGROUP_UNSET,                                                        \
			.blkio_leaf_weight = CGROUP_UNSET,                                                   \
			.network_class = CGROUP_UNSET})

typedef struct CgroupDir {
	char name[48]; /* "memory", "cpu,cpuacct", "name=systemd"; "" is the unified tree */
	char *path;    /* absolute directory */
	bool made;     /* by cgroup_create of this process */
} CgroupDir;

typedef struct CgroupOps CgroupOps;
typedef struct Cgroup {
	const CgroupOps *ops;
	CgroupDir dirs[CGROUP_MAX];
	size_t n;
} Cgroup;

/* Finds the hierarchies and the directory in each. An absolute path counts from the root of the hierarchy, a
 * relative one from this process's own cgroup; on v2 from that one's parent, because a cgroup with processes in it cannot
 * give controllers on. "/", ".." and empty paths are refused. */
int cgroup_resolve(const char *path, Cgroup *ret, Err *e);
void cgroup_done(Cgroup *c);
/* "memory=/sys/fs/cgroup/memory/x"; the unified tree has the empty name. And back. */
char **cgroup_to_strv(const Cgroup *c);
int cgroup_from_strv(char *const *v, Cgroup *ret, Err *e);

/* Takes out the hierarchies in which this process has no right to make (or to use) its directory and to enter it. Their
 * names ("" is the unified tree) are returned, to be freed. */
int cgroup_drop_denied(Cgroup *c, char ***ret_denied, Err *e);

/* Makes the directories (an existing one is used if it is not frozen, and nobody but process `known` is in it), enabling
 * controllers on the way. What was made is undone on failure. */
int cgroup_create(Cgroup *c, pid_t known, Err *e);
/* Fills in what limits of a live cgroup mean only together (quota and period, memory and swap) from what it has. */
int cgroup_complete(const Cgroup *c, CgroupLimits *l, Err *e);
/* Sets the limits that are given. */
int cgroup_apply(const Cgroup *c, const CgroupLimits *l, Err *e);

/* Descriptors by which a process seats itself. */
typedef struct CgroupSeat {
	int tasks[CGROUP_MAX]; /* to write "0" to */
	size_t n;
	int born_fd; /* for NamespaceFork.cgroup_fd; -1 if there is no unified tree */
} CgroupSeat;
/* `subs`: sub-cgroups that exist, "a/b" or "memory,cpu:a/b" (cgroup-seat.c), or NULL. */
int cgroup_seat_open(const Cgroup *c, char *const *subs, CgroupSeat *ret, Err *e);
/* For a process that joins another: where the cgroup takes no process any more, because `pid` has made sub-cgroups in it and
 * given them controllers, the seat is moved to that process's own one. */
int cgroup_seat_follow(const Cgroup *c, pid_t pid, CgroupSeat *seat, Err *e);
/* Lets a user change the tree below it (v2 only): the directory and the files in it that the kernel says are to be given. */
int cgroup_delegate(const Cgroup *c, uid_t uid, Err *e);
void cgroup_seat_done(CgroupSeat *s);
/* Called by the process itself, before it does anything else. */
int cgroup_seat_take(const CgroupSeat *s, Err *e);

int cgroup_freeze(const Cgroup *c, bool freeze, Err *e);
bool cgroup_is_frozen(const Cgroup *c);
/* Every process in it and below; malloc'ed. */
int cgroup_pids(const Cgroup *c, pid_t **ret, size_t *ret_n, Err *e);
/* Sends a signal to every process in it; with SIGKILL it is sure that none is left to fork. Without hierarchies there is none. */
int cgroup_signal(const Cgroup *c, int signal, Err *e);
/* Removes it and everything below; waits up to a second for the last process to be gone. A missing one is success. */
int cgroup_remove(Cgroup *c, Err *e);
/* True if nobody was in it: then its directory is gone where processes are counted, and there is nobody to signal. */
bool cgroup_remove_empty(const Cgroup *c);
/* Removes only what cgroup_create of this process made. */
void cgroup_undo(Cgroup *c);
/* Reads a file; controller is a v1 name and is ignored on v2. malloc'ed text. */
int cgroup_read(const Cgroup *c, const char *controller, const char *file, char **ret, Err *e);
/* Times the OOM killer took a process of it or, of cgroups that are still there, below it; 0 if unknown. */
uint64_t cgroup_oom_kills(const Cgroup *c);
/* poll(2) tells *ret_events of *ret_fd when memory has run out in it (cgroup-oom.c), until it is drained. */
int cgroup_watch_oom(const Cgroup *c, int *ret_fd, short *ret_events, Err *e);
void cgroup_oom_drain(int fd);
/* True if this machine has nothing but the unified tree. */
bool cgroup_machine_is_unified(void);
/* True if the controllers are those of v2. */
bool cgroup_is_unified(const Cgroup *c);
/* The directory of the hierarchy that holds this controller, or NULL. */
const char *cgroup_dir(const Cgroup *c, const char *controller);
