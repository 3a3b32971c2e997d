/* SPDX-License-Identifier: Apache-2.0 */
/* Namespaces: their names, making and joining them, and id maps of user namespaces (namespaces(7)). */
#pragma once

#include "base/err.h"

#include <sched.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

/* The CLONE_NEW* flag of a runtime-spec name ("network", "mount", ...), 0 if there is none. */
int namespace_flag(const char *name);
/* The i-th name that is known, NULL behind the last. */
const char *namespace_name(size_t i);
/* The name under /proc/<pid>/ns ("net", "mnt", ...). */
const char *namespace_file(int flag);
#define NAMESPACE_ALL                                                                                        \
	(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS |           \
	 CLONE_NEWCGROUP | CLONE_NEWTIME)

/* True if this process lives in a user namespace that is not the machine's first. */
bool namespace_in_user(void);

typedef struct NamespaceFork {
	uint64_t flags; /* CLONE_NEW*, CLONE_PARENT */
	int cgroup_fd;  /* directory of the cgroup v2 tree to be born in, or -1 */
	int *ret_pidfd; /* or NULL */
} NamespaceFork;
/* fork(2) with these. 0 in the child, the pid in the parent, or -errno. The process must have one thread. */
pid_t namespace_fork(const NamespaceFork *f);

typedef struct NamespaceIdMap {
	uint32_t inside, outside, count;
} NamespaceIdMap;
/* Write /proc/<pid>/uid_map and gid_map. Without CAP_SETGID outside, the kernel takes a gid_map only after setgroups(2) was given up
 * in there for good (user_namespaces(7)): `deny_setgroups`. */
int namespace_write_uid_map(pid_t pid, const NamespaceIdMap *map, size_t n, Err *e);
int namespace_write_gid_map(pid_t pid, const NamespaceIdMap *map, size_t n, bool deny_setgroups, Err *e);
/* Both, giving up setgroups unless we are root. */
int namespace_write_maps(pid_t pid, const NamespaceIdMap *uids, size_t n_uids, const NamespaceIdMap *gids,
			 size_t n_gids, Err *e);
/* A user namespace with these maps that no process lives in, as an fd (for idmapped mounts). */
int namespace_new_user(const NamespaceIdMap *uids, size_t n_uids, const NamespaceIdMap *gids, size_t n_gids,
		       int *ret_fd, Err *e);
/* The same, with a network namespace that belongs to it (ret_net may be NULL: none). From any thread. */
int namespace_new_user_net(const NamespaceIdMap *uids, size_t n_uids, const NamespaceIdMap *gids,
			   size_t n_gids, int *ret_user, int *ret_net, Err *e);
/* Brings up "lo" in the current network namespace. 0 or -errno. */
int namespace_loopback_up(void);
